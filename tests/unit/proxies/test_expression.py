"""Formulas over the tensors of layers: reading, computing, changing and discovering them."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import kendalltau

from evonas.errors import UserError
from evonas.proxies.discovery import FormulaEvaluator, Schedule, at_random, discover, minmax
from evonas.proxies.expression import MAX_DEPTH, Calculator, Node, NotFiniteError, is_formula, parse
from evonas.proxies.growth import crossed, mutated, random_formula
from evonas.proxies.operators import BINARY, LEAVES, OPERATORS, UNARY
from evonas.proxies.samples import LayerSamples, join, sample
from evonas.randomness import generator

RHO_MINUS = "sum(less(softmax(W), relu(G)))"
SHORT = Schedule(population=20, parents=5)


def layer(rng: np.random.Generator, weights: int = 6, outputs: int = 4, scale: float = 1.0) -> dict:
    return {
        "W": scale * rng.normal(size=weights),
        "G": rng.normal(size=weights),
        "A": rng.normal(size=outputs),
        "D": rng.normal(size=outputs),
    }


def some_networks(number: int = 24) -> LayerSamples:
    """Networks of one to four layers of different widths."""
    rng = generator(0, "test/networks")
    made = []
    for _ in range(number):
        widths = rng.integers(8, 200, size=rng.integers(1, 5))
        layers = [layer(rng, int(width), int(width) // 2 + 2, float(rng.uniform(0.3, 3))) for width in widths]
        made.append(sample(layers, 64, seed=0))
    return join(made)


def equal_networks(number: int) -> LayerSamples:
    """Networks of equal size, so that only what is in their tensors tells them apart."""
    rng = generator(0, "test/equal")
    scales = rng.uniform(0.3, 3, size=number)
    return join([sample([layer(rng, 60, 30, scale) for _ in range(3)], 60, 0) for scale in scales])


class TestText:
    @pytest.mark.parametrize(
        "text",
        [
            RHO_MINUS,
            "mean(G)",
            "sum(log(l2(G)))",
            "sum(add(mul(W, G), abs(W)))",
            "sum(mul(l1(A), average(G)))",
        ],
    )
    def test_is_read_and_written_alike(self, text: str) -> None:
        assert str(parse(text)) == text
        assert parse(text.replace(" ", "")) == parse(f"  {text} ")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "an end where more must come"),
            ("W", "not a formula"),
            ("sum(W", "an end where more must come"),
            ("sum(W))", "')' after its end"),
            ("sum(W;G)", "a character that has no meaning"),
            ("sum(shell(W))", "'shell'"),
            ("sum(Q)", "'Q'"),
            ("sum(add(W))", "not a formula"),
            ("sum(add(W, A))", "not a formula"),
            ("sum(softmax(l2(W)))", "not a formula"),
            ("abs(sum(W))", "not a formula"),
            ("sum(mean(W))", "not a formula"),
            ("__import__('os')", "a character that has no meaning"),
            ("sum(" + "abs(" * MAX_DEPTH + "W" + ")" * (MAX_DEPTH + 1), "levels"),
            ("sum(" + " " * 1000 + "W)", "characters"),
        ],
    )
    def test_what_is_no_formula_gets_one_sentence(self, text: str, said: str) -> None:
        with pytest.raises(UserError, match="formula") as caught:
            parse(text)
        assert said in caught.value.message
        assert caught.value.hint


class TestValues:
    def one(self, text: str, tensors: dict) -> float:
        size = len(tensors["W"])
        found = Calculator(sample([{"A": tensors["W"], "D": tensors["W"], **tensors}], size, 0))
        return float(found.score(parse(text))[0])

    W, G = np.array([1.0, -2.0, 0.5, 3.0]), np.array([0.2, 0.1, -1.0, 2.0])

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("sum(W)", 2.5),
            ("mean(W)", 0.625),
            ("sum(abs(mul(W, G)))", 0.2 + 0.2 + 0.5 + 6),
            (RHO_MINUS, float((softmax(W) < np.maximum(G, 0)).sum())),
            ("sum(log_softmax(W))", float(np.log(softmax(W)).sum())),
            ("sum(l2(W))", float(np.linalg.norm(W))),
            ("sum(l1(W))", 6.5),
            ("sum(std(W))", float(W.std())),
            ("sum(cosine(W, G))", float(W @ G / np.linalg.norm(W) / np.linalg.norm(G))),
            ("sum(hamming(W, G))", 0.5),
            ("sum(mse(W, G))", float(((W - G) ** 2).mean())),
            ("sum(distance(W, G))", float(np.abs(W - G).mean())),
            ("sum(kl(W, G))", float((softmax(W) * np.log(softmax(W) / softmax(G))).sum())),
            ("sum(minmax(W))", float(((W + 2) / 5).sum())),
            ("mean(square(normalize(W)))", 1.0),
            ("sum(sigmoid(W))", float((1 / (1 + np.exp(-W))).sum())),
            ("sum(invert(W))", float((1 / W).sum())),
            ("sum(neg(sign(W)))", -2.0),
            ("sum(heaviside(W))", 3.0),
            ("sum(sqrt(W))", float(np.sqrt(np.abs(W)).sum())),
            ("sum(log(exp(W)))", 2.5),
            ("sum(sub(W, average(W)))", 0.0),
        ],
    )
    def test_by_hand(self, text: str, expected: float) -> None:
        assert self.one(text, {"W": self.W, "G": self.G}) == pytest.approx(expected, abs=1e-9)

    def test_every_operator_is_computed_above(self) -> None:
        marks = TestValues.test_by_hand.pytestmark  # type: ignore[attr-defined]
        used = {node.name for text, _ in marks[0].args[1] for node in parse(text).walk()}
        assert used | {"add", "relu", "A", "D"} >= {*OPERATORS, *LEAVES}

    def test_layers_add_up(self) -> None:
        rng = generator(0, "test/two")
        first, second = layer(rng), layer(rng)
        both = Calculator(sample([first, second], 8, 0)).score(parse("sum(W)"))
        assert both[0] == pytest.approx(
            first["W"][np.arange(8) * 6 // 8].mean() * 6 + second["W"][np.arange(8) * 6 // 8].mean() * 6
        )

    def test_overflow_is_said(self) -> None:
        with pytest.raises(NotFiniteError):
            self.one("sum(exp(exp(square(W))))", {"W": 10 * self.W, "G": self.G})

    def test_what_is_remembered_changes_nothing(self) -> None:
        samples = some_networks()
        shared = Calculator(samples)
        rng = generator(0, "test/many")
        for formula in [random_formula(rng) for _ in range(60)] * 2:
            try:
                fresh = Calculator(samples).score(formula)
            except NotFiniteError:
                continue
            np.testing.assert_array_equal(shared.score(formula), fresh)


class TestSamples:
    def test_pairs_stay_paired(self) -> None:
        values = np.arange(5000.0)
        drawn = sample([{"W": values, "G": -values, "A": values[:9], "D": values[:9]}], 100, seed=3)
        np.testing.assert_array_equal(drawn.values["W"], -drawn.values["G"])
        assert len(set(drawn.values["W"][0])) == 100
        assert drawn.counts["weight"] == 5000
        assert drawn.counts["map"] == 9

    def test_sums_are_estimated_at_the_true_size(self) -> None:
        values = generator(0, "test/large").normal(1.0, 1.0, size=40_000)
        tensors = {"W": values, "G": values, "A": values, "D": values}
        found = Calculator(sample([tensors], 4000, 0)).score(parse("sum(W)"))[0]
        # four standard errors of the mean of 4000
        assert found / 40_000 == pytest.approx(values.mean(), abs=4 / np.sqrt(4000))

    def test_some_of_the_networks(self) -> None:
        samples, formula = some_networks(), parse(RHO_MINUS)
        everything = Calculator(samples).score(formula)
        few = Calculator(samples.some([5, 2, 11])).score(formula)
        np.testing.assert_array_equal(few, everything[[5, 2, 11]])


class TestGrowth:
    def test_all_that_grows_is_a_formula(self) -> None:
        rng = generator(0, "test/growth")
        formulas = [random_formula(rng) for _ in range(200)]
        formulas += [mutated(rng, formula) for formula in formulas]
        formulas += [crossed(rng, a, b) for a, b in zip(formulas, reversed(formulas), strict=True)]
        assert all(is_formula(formula) and parse(str(formula)) == formula for formula in formulas)

    def test_every_operator_is_drawn(self) -> None:
        rng = generator(0, "test/growth")
        drawn = {node.name for _ in range(2000) for node in random_formula(rng).walk()}
        assert drawn >= {*UNARY, *BINARY, *LEAVES}

    def test_a_child_differs_from_its_parents(self) -> None:
        rng = generator(0, "test/growth")
        parent = parse(RHO_MINUS)
        assert all(mutated(rng, parent) != parent for _ in range(200))
        assert all(crossed(rng, parent, parse("sum(abs(G))")) != parent for _ in range(50))


class TestDiscovery:
    def test_a_planted_formula_is_found(self) -> None:
        samples = some_networks(40)
        truth = Calculator(samples).score(parse("sum(log(l2(mul(W, G))))"))
        best = discover(FormulaEvaluator(samples, truth), 1500, seed=0, schedule=SHORT)[0]
        assert best.fitness is not None and best.fitness >= 0.9

    def test_evolution_beats_chance_where_size_says_nothing(self) -> None:
        samples = equal_networks(40)
        truth = Calculator(samples).score(parse("sum(less(softmax(W), mul(G, sigmoid(W))))"))
        found = [discover(FormulaEvaluator(samples, truth), 400, s, SHORT)[0].rank for s in range(3)]
        drawn = [at_random(FormulaEvaluator(samples, truth), 400, s)[0].rank for s in range(3)]
        assert np.mean(found) > np.mean(drawn)

    def test_the_fitness_is_the_tau_of_the_scores(self) -> None:
        samples = some_networks()
        quality = generator(0, "test/quality").normal(size=samples.num_networks)
        judged = FormulaEvaluator(samples, quality)(parse("sum(abs(G))"))
        expected = kendalltau(Calculator(samples).score(judged.formula), quality).statistic
        assert judged.fitness == pytest.approx(expected)

    @pytest.mark.parametrize("text", ["sum(sub(W, W))", "sum(exp(exp(exp(invert(W)))))"])
    def test_useless_formulas_are_rejected(self, text: str) -> None:
        samples = some_networks()
        judged = FormulaEvaluator(samples, np.arange(samples.num_networks, dtype=float))(parse(text))
        assert judged.fitness is None

    def test_the_budget_is_that_of_distinct_formulas(self) -> None:
        judge = FormulaEvaluator(some_networks(), np.arange(24.0))
        found = discover(judge, 150, seed=1, schedule=SHORT)
        assert len(found) == len({str(one.formula) for one in found}) == len(judge.known) == 150
        assert [one.rank for one in found] == sorted((one.rank for one in found), reverse=True)

    def test_resuming_repeats_the_same_draws(self) -> None:
        samples, quality = some_networks(), np.arange(24.0)
        whole, first = FormulaEvaluator(samples, quality), FormulaEvaluator(samples, quality)
        expected = discover(whole, 200, seed=2, schedule=SHORT)
        discover(first, 80, seed=2, schedule=SHORT)
        second = FormulaEvaluator(samples, quality, first.known)
        assert discover(second, 200, seed=2, schedule=SHORT) == expected
        assert second.known.items() >= whole.known.items()

    def test_seeds_differ(self) -> None:
        samples, quality = some_networks(), np.arange(24.0)
        runs = [discover(FormulaEvaluator(samples, quality), 60, seed, SHORT) for seed in (0, 1)]
        assert runs[0] != runs[1]

    def test_rounds_are_told(self) -> None:
        told: list[tuple[int, float]] = []
        judge = FormulaEvaluator(some_networks(), np.arange(24.0))
        discover(judge, 100, 0, SHORT, lambda count, best: told.append((count, best.rank)))
        assert told[-1][0] == 100
        assert [best for _, best in told] == sorted(best for _, best in told)


def test_shares_of_the_range() -> None:
    scores = np.array([2.0, 4.0, 3.0])
    np.testing.assert_allclose(minmax(scores), [0, 1, 0.5])
    np.testing.assert_allclose(minmax(scores, 0, 4), [0.5, 1, 0.75])
    np.testing.assert_allclose(minmax(np.ones(3)), np.zeros(3))


def test_a_node_counts_its_depth() -> None:
    assert Node("W").depth == 1
    assert parse(RHO_MINUS).depth == 4
