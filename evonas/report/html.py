"""One HTML file that needs nothing else: style, charts and pictures are inside, and every text is escaped."""

from importlib.resources import files as package_files

from jinja2 import Environment, StrictUndefined

from evonas.report.page import Sources, figures, lead, sections


def render(sources: Sources) -> str:
    """The report as HTML text; equal sources give equal bytes."""
    folder = package_files("evonas.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    return template.render(
        run=sources.run,
        css=(folder / "page.css").read_text(encoding="utf-8"),
        lead=lead(sources),
        figures=figures(sources),
        sections=sections(sources),
    )
