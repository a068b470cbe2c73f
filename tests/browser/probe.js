"use strict";
const settled = (frame) =>
  new Promise((done) => {
    if (frame.contentDocument.readyState === "complete" && frame.contentDocument.URL !== "about:blank") done();
    else frame.addEventListener("load", done);
  });

const moved = (page, view) => {
  const range = page.querySelector(".slider input");
  const layers = [...page.querySelectorAll(".frame")];
  const seen = () => layers.filter((layer) => view.getComputedStyle(layer).display !== "none").length;
  if (!range) return null;
  const before = { hidden: view.getComputedStyle(range.closest(".slider")).display === "none", seen: seen() };
  range.value = "0";
  range.dispatchEvent(new view.Event("input"));
  const said = page.querySelector(".slider output").textContent;
  return { ...before, layers: layers.length, seenAtFirst: seen(), said };
};

const looked = (frame) => {
  const view = frame.contentWindow;
  const page = view.document;
  return {
    width: view.innerWidth,
    scrollWidth: page.documentElement.scrollWidth,
    dark: view.matchMedia("(prefers-color-scheme: dark)").matches,
    ground: view.getComputedStyle(page.body).backgroundColor,
    ink: view.getComputedStyle(page.body).color,
    requests: view.performance.getEntriesByType("resource").map((entry) => entry.name),
    charts: [...page.querySelectorAll("figure svg")].filter((svg) => svg.getBoundingClientRect().height > 20).length,
    pictures: [...page.images].filter((image) => image.naturalWidth > 0).length,
    slider: moved(page, view),
  };
};

const probe = async () => {
  const frames = [...document.querySelectorAll("iframe")];
  await Promise.all(frames.map(settled));
  const found = Object.fromEntries(frames.map((frame) => [frame.id, looked(frame)]));
  document.querySelector("#found").textContent = JSON.stringify(found);
};

probe();
