"""Draw the pictures of the documents again: `make figures`.

demo/ is what the run of `make demo` left, without weights: its archive as text (192 facts about 96 networks),
and the small files of the later stages. The report is built from it as by any other run, and photographed by
whatever Chromium is on the PATH.
"""

import argparse
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import chromium
from PIL import Image

from evonas import files
from evonas.archive import Archive, Evaluation
from evonas.report.page.html import render
from evonas.run import Run
from evonas.stages.report import PAGE, gather

HERE = Path(__file__).parent
COLOURS = 256
# photographs of a page that is scrolled come out blank, so the page lies in a frame that is moved up
_AROUND = """<!doctype html><body style="margin: 0; overflow: hidden">
<iframe src="{source}" style="border: 0; height: {height}px; {style}"></iframe>
<script>
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {{
  const page = frame.contentDocument;
  const top = "{part}" ? page.getElementById("{part}").getBoundingClientRect().top : 0;
  frame.style.height = page.documentElement.scrollHeight + "px";
  frame.style.marginTop = -top + "px";
}});
</script></body>"""


@dataclass(frozen=True, slots=True)
class View:
    """What of the page is photographed: from which part on, in which window, and whether in the dark."""

    part: str
    size: tuple[int, int]
    is_dark: bool = False


PICTURES = {
    "report.png": View("", (1100, 1480)),
    "report-dark.png": View("architectures", (1100, 1240), is_dark=True),
    "report-phone.png": View("pareto-front-over-the-search", (390, 844)),
}


def restored(folder: Path) -> Run:
    """A run as it was, with its archive as a database again."""
    shutil.copytree(HERE / "demo", folder)
    kept = files.read_json(folder / "archive.json")
    run, prints = Run(folder, str(kept["meta"]["task"])), kept["meta"]["fingerprints"]
    with Archive.open(run.path("search/archive.sqlite"), kept["meta"], resume=False) as archive:
        for seq, part, genotype, state, objectives, extra, reason, seconds in kept["facts"]:
            fact = Evaluation(seq, prints[part], genotype, part, state, objectives, extra, reason)
            archive.record(fact, seconds)
    return run


def photographed(browser: str, page: Path, picture: Path, view: View) -> None:
    """One picture of a part of the page, in few colours."""
    shot, around = page.with_name(picture.name), page.with_name("around.html")
    width, height = view.size
    style = f"width: {width}px; color-scheme: {'dark' if view.is_dark else 'light'}"
    text = _AROUND.format(source=page.name, style=style, height=height, part=view.part)
    around.write_text(text, encoding="utf-8")
    flags = [f"--screenshot={shot}", f"--window-size={width},{height}"]
    flags += ["--allow-file-access-from-files", "--virtual-time-budget=4000"]
    chromium.show(browser, around.as_uri(), *flags)
    with Image.open(shot) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(picture, optimize=True)


def main() -> None:
    """Draw all pictures into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=HERE.parent / "images")
    folder = parser.parse_args().folder
    browser = chromium.find()
    if browser is None:
        raise SystemExit(f"The pictures need a browser on the PATH, one of: {', '.join(chromium.NAMES)}")
    with tempfile.TemporaryDirectory() as scratch:
        run = restored(Path(scratch) / "outputs" / "demo")
        page = run.path(PAGE)
        files.write_text(page, render(gather(run)))
        for name, view in PICTURES.items():
            photographed(browser, page, folder / name, view)
            print(f"{folder / name}: {(folder / name).stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
