"""Multilayer perceptron surrogate, trained by scikit-learn since searchers must not import torch."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from evonas.search.surrogates.base import Predict


class MLP:
    """MLP with ReLU; keeps the epoch with the best score on 20 % of the observations.

    NSGANetV2 uses three layers of 300 units and 2000 full-batch steps; the smaller default ranks as well.

    Args:
        hidden: widths of the hidden layers.
        epochs: maximum number of epochs.
        rate: learning rate of Adam.
    """

    def __init__(self, hidden: Sequence[int] = (128, 128), epochs: int = 600, rate: float = 2e-3) -> None:
        self._hidden, self._epochs, self._rate = tuple(hidden), epochs, rate

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """See `Surrogate`; trains on standardised values."""
        mean, deviation = float(values.mean()), float(values.std())
        if deviation == 0:
            return lambda asked: np.full(len(asked), mean)
        network = MLPRegressor(
            hidden_layer_sizes=self._hidden,
            learning_rate_init=self._rate,
            max_iter=self._epochs,
            # too few observations for a validation split
            early_stopping=len(values) >= 20,
            validation_fraction=0.2,
            n_iter_no_change=60,
            random_state=seed % 2**32,
        )
        # reaching the maximum number of epochs is not an error
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            network.fit(features, (values - mean) / deviation)
        return lambda asked: np.asarray(network.predict(asked) * deviation + mean)
