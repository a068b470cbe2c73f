"""Whatever Chromium is on the PATH, started once, without a window and without its own network traffic."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
    "--v=0",
)
_LONGEST_S = 120


@dataclass(frozen=True, slots=True)
class Shown:
    """What a browser printed: the page's document, and the lines that pages wrote to the console."""

    document: str
    console: Sequence[str]


def find() -> str | None:
    """The path of a browser, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def show(browser: str, url: str, *flags: str) -> Shown:
    """Open one page and wait until it has come to rest.

    Args:
        flags: what to do with it: `--dump-dom`, or `--screenshot=<file> --window-size=<width>,<height>`.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [browser, *_QUIET, f"--user-data-dir={profile}", *flags, url]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=_LONGEST_S, check=True)
    return Shown(ended.stdout, [line for line in ended.stderr.splitlines() if "CONSOLE" in line])
