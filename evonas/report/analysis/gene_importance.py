"""Which genes matter: how much worse a forest predicts an objective once one gene is shuffled.

Permutation importance (Breiman 2001, "Random forests"; Fisher, Rudin and Dominici 2019) of a forest of
scikit-learn, on networks that it did not see. It describes the networks that the search asked for, not the
whole space: genes that the search soon stopped varying count for little.
"""

from dataclasses import dataclass

import numpy as np

from evonas.report.analysis.gene_matrix import Genome, Layouts, spread_out
from evonas.report.metrics.pareto import Values
from evonas.report.results import Facts

# a forest on fewer networks knows nothing; more than these only take longer
FEWEST, MOST = 40, 1800
TREES, SHUFFLES = 60, 8
# a report is a function of its facts: the draws of the forest and of the shuffles are always the same
_DRAWS = 0
# every third network is held out
_FOLDS = 3


@dataclass(frozen=True)
class Importance:
    """How much each gene matters for one objective.

    Args:
        objective: its name.
        networks: how many the forest learnt from, and on how many it was asked.
        r2: share of the held-out variance that it explains with all genes, at most 1.
        losses: what of `r2` is lost when a gene is shuffled, by gene, and the standard deviation of it.
        signs: rank correlation of the objective with the size of a choice, where choices have one.
    """

    objective: str
    networks: tuple[int, int]
    r2: float
    losses: dict[str, tuple[float, float]]
    signs: dict[str, float]

    def largest(self, count: int) -> list[str]:
        """The genes that matter most, the most important first."""
        return sorted(self.losses, key=lambda name: -self.losses[name][0])[:count]


def importances(facts: Facts, genome: Genome) -> list[Importance]:
    """One for each objective that varies; none where there are too few networks to learn from."""
    if len(facts.values) < FEWEST:
        return []
    kept = np.unique(np.linspace(0, len(facts.values) - 1, MOST).astype(int))
    chosen = Genome(genome.space, genome.rows[kept])
    values = facts.values[kept]
    return [
        _importance(name, chosen, column)
        for name, column in zip(facts.names, values.T, strict=True)
        if np.ptp(column[_FOLDS - 1 :: _FOLDS]) > 0
    ]


def _importance(name: str, genome: Genome, values: Values) -> Importance:
    # a page about a running search must not wait for scikit-learn
    from sklearn.ensemble import RandomForestRegressor

    codes, held_out = genome.codes(), np.arange(len(values)) % _FOLDS == _FOLDS - 1
    layouts, asked, truth = genome.rows[~held_out], codes[held_out], values[held_out]
    forest = RandomForestRegressor(n_estimators=TREES, min_samples_leaf=2, random_state=_DRAWS)
    forest.fit(layouts, values[~held_out])
    # rows of bits are shuffled whole, but the trees split single bits
    guesses = forest.predict(spread_out(_shuffled(asked), genome.genes)).reshape(-1, SHUFFLES, len(truth))
    whole = _r2(forest.predict(spread_out(asked, genome.genes)), truth)
    losses = whole - _r2(guesses, truth)
    spread = zip(losses.mean(axis=1).tolist(), losses.std(axis=1).tolist(), strict=True)
    return Importance(
        name,
        (len(layouts), len(truth)),
        float(whole),
        dict(zip([gene.name for gene in genome.genes], spread, strict=True)),
        {gene.name: _correlation(amount, values) for gene, amount in genome.amounts()},
    )


def _shuffled(codes: Layouts) -> Layouts:
    """(G S N, G) copies of N networks: for each gene S times all of them, with that gene shuffled."""
    rng, (size, genes) = np.random.default_rng(_DRAWS), codes.shape
    copies = np.tile(codes, (genes, SHUFFLES, 1, 1))
    for gene in range(genes):
        for shuffle in range(SHUFFLES):
            copies[gene, shuffle, :, gene] = codes[rng.permutation(size), gene]
    return copies.reshape(-1, genes)


def _r2(guesses: Values, truth: Values) -> Values:
    """Share of the variance of the truth (last axis) that guesses explain."""
    missed = ((guesses - truth) ** 2).mean(axis=-1)
    share: Values = 1.0 - missed / truth.var()
    return share


def _correlation(amount: Layouts, values: Values) -> float:
    """Spearman's rho, 0 where one side is constant."""
    from scipy.stats import spearmanr

    if np.ptp(amount) == 0 or np.ptp(values) == 0:
        return 0.0
    return float(spearmanr(amount, values).statistic)
