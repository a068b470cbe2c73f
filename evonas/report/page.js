"use strict";
for (const slider of document.querySelectorAll(".slider")) {
  const range = slider.querySelector("input");
  const said = slider.querySelector("output");
  const labels = JSON.parse(slider.dataset.labels);
  const charts = slider.parentElement.querySelector(".charts");
  const frames = [...charts.querySelectorAll(".frame")];
  const show = () => {
    const now = Number(range.value);
    for (const frame of frames) {
      const place = Number(frame.dataset.frame);
      frame.classList.toggle("now", place === now);
      frame.classList.toggle("later", place > now);
    }
    said.textContent = labels[now];
    range.setAttribute("aria-valuetext", labels[now]);
  };
  range.addEventListener("input", show);
  slider.hidden = false;
  show();
}
