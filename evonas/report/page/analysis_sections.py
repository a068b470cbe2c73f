"""The parts of the page that explain: how the front moved, what the genes do, how and whence networks are."""

from evonas.report.analysis.gene_importance import FEWEST, Importance, importances
from evonas.report.charts import architecture
from evonas.report.charts.bars import Bar, bars
from evonas.report.charts.front_slider import evolution
from evonas.report.charts.plots import Figure, stars
from evonas.report.charts.svg import key
from evonas.report.page.genealogy_section import pedigree
from evonas.report.page.sources import Section, Sources

MOST_DRAWN = 8
MOST_BARS = 12
# a forest that explains less says little about genes
LITTLE = 0.3
# weaker rank correlations have no direction
_CLEAR = 0.1


def evolved(sources: Sources) -> Section | None:
    """The front over the search, with a slider."""
    found = evolution(sources.facts) if sources.facts is not None and len(sources.facts.values) else None
    if found is None:
        return None
    text = f"The front at {len(found.labels)} moments of the search; the last is drawn strongest."
    return Section("How the front moved", texts=[text], slider=found.labels, figures=found.figures)


def drawn(sources: Sources) -> Section | None:
    """The chosen networks as drawings."""
    plans = [architecture.Plan(net["name"], net["genotype"]) for net in sources.nets[:MOST_DRAWN]]
    if not plans or sources.space is None:
        return None
    figures = architecture.blueprints(plans, sources.space, sources.family)
    if not figures:
        return None
    parts = architecture.parts(plans, sources.family)
    if not parts:
        return Section("What was chosen", texts=["Filled squares are what a network has."], figures=figures)
    text = (
        "Every block from left to right; the height of a bar is its width in channels, on one scale for all "
        "networks. Behind the blocks lies the width of their stage."
    )
    legend = [*((key("square", style), what) for what, style in parts), (key("square", "off"), "block off")]
    return Section("What was chosen", texts=[text], legend=legend, figures=figures)


def explained(sources: Sources) -> Section | None:
    """Which genes matter for which objective."""
    title, facts = "Which genes matter", sources.facts
    if facts is None or sources.space is None or not len(facts.values):
        return None
    if len(facts.values) < FEWEST:
        why = f"{len(facts.values)} networks are too few to learn from; this needs {FEWEST}."
        return Section(title, texts=[why])
    if sources.genome is None:
        return Section(title, texts=[f"The networks of this search are no points of {sources.space.name}."])
    found = importances(facts, sources.genome)
    if not found:
        return None
    return Section(
        title, texts=[_method(found[0])], figures=[_bars(each, facts.label(each.objective)) for each in found]
    )


def _method(found: Importance) -> str:
    learnt, asked = found.networks
    return (
        f"Permutation importance: a random forest learns each objective from the genes of {learnt} evaluated "
        f"networks; a bar is how much of R2, the share of variance explained on {asked} others, is lost when "
        "one gene is shuffled among them. + and - say whether larger choices raise or lower the objective "
        "(rank correlation). It speaks of the networks that the search looked at."
    )


def _bars(found: Importance, label: str) -> Figure:
    rows = [_bar(found, name) for name in found.largest(MOST_BARS)]
    svg = bars(rows, f"R2 of {label} lost", f"Importance of genes for {found.objective}")
    doubt = " The forest explains little here, so the bars say little." if found.r2 < LITTLE else ""
    hidden = len(found.losses) - len(rows)
    more = f" {hidden} genes matter less." if hidden > 0 else ""
    return Figure(svg, f"{label}: R2 {found.r2:.2f} with all genes.{more}{doubt}")


def _bar(found: Importance, name: str) -> Bar:
    loss, spread = found.losses[name]
    rho = found.signs.get(name, 0.0)
    sign = "" if abs(rho) < _CLEAR else (" +" if rho > 0 else " -")
    style = {" +": "s1", " -": "s0"}.get(sign, "dot")
    title = f"{name}: {loss:.3f} of R2, give or take {spread:.3f}; rank correlation {rho:.2f}"
    return Bar(name, loss, style, f"{max(0.0, loss):.2f}{sign}", title)


def related(sources: Sources) -> Section | None:
    """Which earlier networks the chosen ones are most like."""
    if sources.facts is None or sources.genome is None or not sources.nets:
        return None
    keys = {star.name: key(star.shape, star.style) for star in stars(sources.nets)}
    found = pedigree(sources.facts, sources.genome, sources.nets, keys)
    if found is None:
        return None
    text, figure, table = found
    return Section("Where the chosen networks come from", texts=[text], figures=[figure], tables=[table])
