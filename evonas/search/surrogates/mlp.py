"""A small neural network as surrogate, trained by scikit-learn: searchers never import torch."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from evonas.search.surrogates.base import Predict


class MLP:
    """Hidden layers with ReLU; the epoch that is best on a fifth of the facts is kept.

    NSGANetV2 uses three layers of 300 and 2000 full batches; the smaller default ranks as well.

    Args:
        hidden: widths of the hidden layers.
        epochs: at most.
        rate: of learning, with Adam.
    """

    def __init__(self, hidden: Sequence[int] = (128, 128), epochs: int = 600, rate: float = 2e-3) -> None:
        self._hidden, self._epochs, self._rate = tuple(hidden), epochs, rate

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """Train on standardised values."""
        middle, spread = float(values.mean()), float(values.std())
        if spread == 0:
            return lambda asked: np.full(len(asked), middle)
        network = MLPRegressor(
            hidden_layer_sizes=self._hidden,
            learning_rate_init=self._rate,
            max_iter=self._epochs,
            # with a handful of facts none can be spared for validation
            early_stopping=len(values) >= 20,
            validation_fraction=0.2,
            n_iter_no_change=60,
            random_state=seed % 2**32,
        )
        # the budget of epochs is meant as a budget
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            network.fit(features, (values - middle) / spread)
        return lambda asked: np.asarray(network.predict(asked) * spread + middle)
