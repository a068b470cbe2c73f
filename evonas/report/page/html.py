"""Renders a report as one self-contained HTML file with inline style, charts and images; texts are escaped."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files as package_files

from jinja2 import Environment, StrictUndefined

from evonas.report.page.sections import figures, front_section, lead, progress_section, sections
from evonas.report.page.sources import Section, Sources

REFRESH_S = 5


def render(sources: Sources) -> str:
    """The report as HTML; deterministic."""
    return _page(sources, sections(sources), None)


def render_live(sources: Sources, is_running: bool) -> str:
    """Live page with the Pareto front and the hypervolume; it reloads while the search runs."""
    return _page(
        sources, [front_section(sources), progress_section(sources)], REFRESH_S if is_running else None
    )


def _page(sources: Sources, shown: Sequence[Section], refresh: int | None) -> str:
    folder = package_files("evonas.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    moves = any(section.slider for section in shown)
    script = (folder / "page.js").read_text(encoding="utf-8") if moves else ""
    return template.render(
        run=sources.run,
        css=(folder / "page.css").read_text(encoding="utf-8"),
        warnings=[sentence for sentence in (sources.shortened, *sources.verdicts) if sentence],
        lead=lead(sources),
        figures=figures(sources),
        sections=shown,
        refresh=refresh,
        script=script,
        seal=_script_hash(script),
    )


def _script_hash(script: str) -> str:
    """Hash of the only script that the content security policy allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
