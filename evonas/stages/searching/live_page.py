"""search/live.html: a page about a running search, which a browser reloads."""

import logging
import threading
import time
from pathlib import Path

from evonas import files
from evonas.report.archive_reader import read
from evonas.report.page.html import render_live
from evonas.report.page.sources import Sources
from evonas.run import Run
from evonas.search.loop.generational import Generation
from evonas.stages.searching.reuse import ARCHIVE

_LOG = logging.getLogger(__name__)
# drawing takes at most this share of one core, however large the archive grows
_SHARE = 0.05


class LivePage:
    """Draws the page after generations, in a thread that only reads the archive.

    It can neither stop nor slow the search: its first error switches it off with one warning, and generations
    that complete while a page is drawn are left to the next page. Closing draws the last page, which does not
    reload.

    Args:
        run: whose archive is shown; the page lies beside it.
        patience: seconds that closing waits for the last page.
    """

    def __init__(self, run: Run, patience: float = 5.0) -> None:
        self._run, self._patience = run, patience
        self.path: Path = (run.directory / ARCHIVE).with_name("live.html")
        self._due, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._listen, name="live page", daemon=True)
        self._thread.start()

    def generation(self, _: Generation) -> None:
        """A generation is complete; returns at once."""
        self._due.set()

    def close(self) -> None:
        """Draw what the search ended with; may be called twice."""
        self._closing.set()
        self._due.set()
        self._thread.join(self._patience)

    def _listen(self) -> None:
        try:
            while not self._closing.is_set():
                self._due.wait()
                self._due.clear()
                if not self._closing.is_set():
                    began = time.monotonic()
                    self._draw(is_running=True)
                    self._closing.wait((time.monotonic() - began) / _SHARE)
            self._draw(is_running=False)
        except Exception as error:
            _LOG.warning("The live page is switched off: %s: %s", type(error).__name__, error)

    def _draw(self, is_running: bool) -> None:
        facts = read(self._run.directory / ARCHIVE)
        sources = Sources(self._run.name, self._run.task, self._run.command, facts)
        files.write_text(self.path, render_live(sources, is_running))
