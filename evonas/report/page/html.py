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


def render_sections(
    title: str, lead: str, figures: Sequence[tuple[str, str]], shown: Sequence[Section]
) -> str:
    """A page about something else than a run, in the style of the report.

    Args:
        title: its title.
        lead: the line below it.
        figures: (name, value) of the numbers below that.
        shown: its sections.
    """
    return _filled(title, lead, figures, [], shown, None)


def _page(sources: Sources, shown: Sequence[Section], refresh: int | None) -> str:
    warnings = [sentence for sentence in (sources.shortened, *sources.verdicts) if sentence]
    return _filled(sources.run, lead(sources), figures(sources), warnings, shown, refresh)


def _filled(
    title: str,
    lead: str,
    figures: Sequence[tuple[str, str]],
    warnings: Sequence[str],
    shown: Sequence[Section],
    refresh: int | None,
) -> str:
    folder = package_files("evonas.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    moves = any(section.slider for section in shown)
    script = (folder / "page.js").read_text(encoding="utf-8") if moves else ""
    return template.render(
        run=title,
        css=(folder / "page.css").read_text(encoding="utf-8"),
        warnings=warnings,
        lead=lead,
        figures=figures,
        sections=shown,
        refresh=refresh,
        script=script,
        seal=_script_hash(script),
    )


def _script_hash(script: str) -> str:
    """Hash of the only script that the content security policy allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
