"""Permutation importance of genes for each objective.

Breiman 2001, "Random forests"; Fisher, Rudin and Dominici 2019; with a random forest of scikit-learn, on held-out
networks. It describes the evaluated networks rather than the whole space: a gene that the search hardly
varied has a small importance.
"""

from dataclasses import dataclass

import numpy as np

from evonas.metric import Metric
from evonas.report.analysis.gene_matrix import GeneMatrix, Layouts, to_vectors
from evonas.report.metrics.pareto import Values
from evonas.report.results import SearchResults

# minimum number of networks to fit a forest; more than the maximum only take longer
FEWEST, MOST = 40, 1800
TREES, SHUFFLES = 60, 8
# fixed seed: a report is a deterministic function of its results
_SEED = 0
# every third network is held out
_FOLDS = 3


@dataclass(frozen=True)
class Importance:
    """Importance of each gene for one objective.

    Args:
        metric: the objective as people read it.
        networks: number of training and of held-out networks.
        r2: coefficient of determination on the held-out networks.
        losses: gene -> mean and standard deviation of the decrease of `r2` when the gene is shuffled.
        signs: gene with ordered choices -> Spearman correlation of its choice with the metric.
    """

    metric: Metric
    networks: tuple[int, int]
    r2: float
    losses: dict[str, tuple[float, float]]
    signs: dict[str, float]

    def largest(self, count: int) -> list[str]:
        """The most important genes, in decreasing order."""
        return sorted(self.losses, key=lambda name: -self.losses[name][0])[:count]


def importances(results: SearchResults, gene_matrix: GeneMatrix) -> list[Importance]:
    """Importances for each objective that varies; empty for fewer than 40 networks."""
    if len(results.values) < FEWEST:
        return []
    kept = np.unique(np.linspace(0, len(results.values) - 1, MOST).astype(int))
    chosen = GeneMatrix(gene_matrix.space, gene_matrix.rows[kept])
    return [
        _importance(metric, chosen, column)
        for metric, column in zip(results.metrics, results.shown[kept].T, strict=True)
        if np.ptp(column[_FOLDS - 1 :: _FOLDS]) > 0
    ]


def _importance(metric: Metric, gene_matrix: GeneMatrix, values: Values) -> Importance:
    # scikit-learn imports slowly, and the live page does not need it
    from sklearn.ensemble import RandomForestRegressor

    codes, held_out = gene_matrix.codes(), np.arange(len(values)) % _FOLDS == _FOLDS - 1
    layouts, asked, truth = gene_matrix.rows[~held_out], codes[held_out], values[held_out]
    forest = RandomForestRegressor(n_estimators=TREES, min_samples_leaf=2, random_state=_SEED)
    forest.fit(layouts, values[~held_out])
    # a row of bits is shuffled as one gene, but trees split on single bits
    guesses = forest.predict(to_vectors(_shuffled(asked), gene_matrix.genes)).reshape(
        -1, SHUFFLES, len(truth)
    )
    whole = _r2(forest.predict(to_vectors(asked, gene_matrix.genes)), truth)
    losses = whole - _r2(guesses, truth)
    spread = zip(losses.mean(axis=1).tolist(), losses.std(axis=1).tolist(), strict=True)
    return Importance(
        metric,
        (len(layouts), len(truth)),
        float(whole),
        dict(zip([gene.name for gene in gene_matrix.genes], spread, strict=True)),
        {gene.name: _correlation(amount, values) for gene, amount in gene_matrix.amounts()},
    )


def _shuffled(codes: Layouts) -> Layouts:
    """(G S N, G) copies of (N, G) codes: for each of G genes, S copies with this gene shuffled."""
    rng, (size, genes) = np.random.default_rng(_SEED), codes.shape
    copies = np.tile(codes, (genes, SHUFFLES, 1, 1))
    for gene in range(genes):
        for shuffle in range(SHUFFLES):
            copies[gene, shuffle, :, gene] = codes[rng.permutation(size), gene]
    return copies.reshape(-1, genes)


def _r2(guesses: Values, truth: Values) -> Values:
    """Coefficient of determination over the last axis."""
    missed = ((guesses - truth) ** 2).mean(axis=-1)
    share: Values = 1.0 - missed / truth.var()
    return share


def _correlation(amount: Layouts, values: Values) -> float:
    """Spearman's rho; 0 if one side is constant."""
    from scipy.stats import spearmanr

    if np.ptp(amount) == 0 or np.ptp(values) == 0:
        return 0.0
    return float(spearmanr(amount, values).statistic)
