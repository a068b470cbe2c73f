"""Sections of the report about the search: front over time, architectures, gene importance, genealogy."""

from evonas.report.analysis.gene_importance import FEWEST, Importance, importances
from evonas.report.charts import architecture
from evonas.report.charts.bars import Bar, bars
from evonas.report.charts.front_slider import front_slider
from evonas.report.charts.plots import Figure, stars
from evonas.report.charts.svg import key
from evonas.report.page.genealogy_section import genealogy
from evonas.report.page.sources import Section, Sources

MAX_DRAWN = 8
MAX_BARS = 12
# below this R2 the importances are unreliable
MIN_R2 = 0.3
# weaker rank correlations get no sign
_MIN_RHO = 0.1


def front_over_time(sources: Sources) -> Section | None:
    """Pareto front over the search, with a slider."""
    found = (
        front_slider(sources.results) if sources.results is not None and len(sources.results.values) else None
    )
    if found is None:
        return None
    text = f"The Pareto front at {len(found.labels)} snapshots of the search."
    return Section("Pareto front over the search", texts=[text], slider=found.labels, figures=found.figures)


def architectures(sources: Sources) -> Section | None:
    """Drawings of the selected networks."""
    plans = [architecture.NamedGenotype(net["name"], net["genotype"]) for net in sources.nets[:MAX_DRAWN]]
    if not plans or sources.space is None:
        return None
    figures = architecture.architecture_drawings(plans, sources.space, sources.family)
    if not figures:
        return None
    parts = architecture.parts(plans, sources.family)
    if not parts:
        return Section(
            "Architectures", texts=["Filled squares mark the choice of each gene."], figures=figures
        )
    text = (
        "Blocks from left to right; the height of a bar is its width in channels, on a common scale for all "
        "networks. The background is the width of the stage."
    )
    legend = [
        *((key("square", style), what) for what, style in parts),
        (key("square", "off"), "inactive block"),
    ]
    return Section("Architectures", texts=[text], legend=legend, figures=figures)


def gene_importance(sources: Sources) -> Section | None:
    """Permutation importance of the genes for each objective."""
    title, results = "Gene importance", sources.results
    if results is None or sources.space is None or not len(results.values):
        return None
    if len(results.values) < FEWEST:
        why = f"Gene importance needs at least {FEWEST} evaluated networks, got {len(results.values)}."
        return Section(title, texts=[why])
    if sources.gene_matrix is None:
        return Section(
            title, texts=[f"The networks of this search do not belong to the space {sources.space.name}."]
        )
    found = importances(results, sources.gene_matrix)
    if not found:
        return None
    return Section(
        title,
        texts=[_method(found[0])],
        figures=[_bars(each) for each in found],
    )


def _method(found: Importance) -> str:
    learnt, asked = found.networks
    return (
        f"Permutation importance: a random forest predicts each objective from the genes of {learnt} evaluated "
        f"networks; a bar is the decrease of R2 on {asked} held-out networks when one gene is shuffled. "
        "+ and - tell whether larger choices increase or decrease it (rank correlation). The "
        "importances hold for the evaluated networks, not for the whole space."
    )


def _bars(found: Importance) -> Figure:
    label = found.metric.label
    rows = [_bar(found, name) for name in found.largest(MAX_BARS)]
    svg = bars(rows, f"decrease of R2 of {label}", f"Gene importance for {found.metric.name}")
    doubt = " R2 is low, so the importances are unreliable." if found.r2 < MIN_R2 else ""
    hidden = len(found.losses) - len(rows)
    more = f" {hidden} less important genes are not shown." if hidden > 0 else ""
    return Figure(svg, f"{label}: R2 {found.r2:.2f} with all genes.{more}{doubt}")


def _bar(found: Importance, name: str) -> Bar:
    loss, spread = found.losses[name]
    rho = found.signs.get(name, 0.0)
    sign = "" if abs(rho) < _MIN_RHO else (" +" if rho > 0 else " -")
    style = {" +": "s1", " -": "s0"}.get(sign, "dot")
    title = f"{name}: decrease of R2 {loss:.3f} +- {spread:.3f}; rank correlation {rho:.2f}"
    return Bar(name, loss, style, f"{max(0.0, loss):.2f}{sign}", title)


def genealogy_of_selected(sources: Sources) -> Section | None:
    """Likeliest ancestors of the selected networks."""
    if sources.results is None or sources.gene_matrix is None or not sources.nets:
        return None
    keys = {star.name: key(star.shape, star.style) for star in stars(sources.nets)}
    found = genealogy(sources.results, sources.gene_matrix, sources.nets, keys)
    if found is None:
        return None
    text, figure, table = found
    return Section("Genealogy", texts=[text], figures=[figure], tables=[table])
