"""What else could explain the accuracy of a probe: controls on the very rows of the probe.

Each gives other inputs X or other labels y for the same states, and goes through the same folds:

    layer          X: the layer number, one-hot
    shuffled       y: the stages shuffled among the states of each layer
    margin         X: final margins and entropy, and their logarithms, by layer; no state
    identity       X: the input token and the final top-1 token, one-hot
    control_task   y: a stage drawn for each input token type (Hewitt and Liang 2019); X: the states
    gaussian       X: for every stage N(mu, sigma) with ONE mean and ONE spread over all coordinates of all
                   its states: the control of the paper, which has lost what a state consists of

The layer is known to every one of them, but weighs nothing: each stage is as frequent as any other at every
layer (see `satlens.probes.probe.equal_weights`).
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from satlens.errors import InputError
from satlens.probes.probe import equal_weights
from satlens.probes.states import StageStates

Design = Callable[[StageStates, Generator], tuple[Any, Int[ndarray, " n"]]]
"""From states and a generator to (X, y): what a probe reads, and what it is to find."""


def layer_alone(data: StageStates, rng: Generator) -> tuple[Float[ndarray, "n layer"], ndarray]:
    """The layer number, one-hot: chance, if balancing did its work."""
    return _one_hot(data.layer), data.stage


def shuffled(data: StageStates, rng: Generator) -> tuple[ndarray, ndarray]:
    """Stages shuffled among the states of each layer: what fitting noise gives."""
    y = data.stage.copy()
    for layer in np.unique(data.layer):
        rows = np.flatnonzero(data.layer == layer)
        y[rows] = y[rng.permutation(rows)]
    return data.state, y


def margin(data: StageStates, rng: Generator) -> tuple[Float[ndarray, "n f"], ndarray]:
    """The final margins and entropy with their logarithms, alone and times each layer.

    Raises:
        InputError: the states were collected without features.
    """
    if data.features.shape[1] == 0:
        raise InputError("The states were collected without features of the final distribution.")
    f = data.features
    f = np.concatenate([f, np.log(f.clip(0) + 1e-3)], axis=1)
    layer = _one_hot(data.layer)
    crossed = (layer[:, :, None] * f[:, None, :]).reshape(len(f), -1)
    return np.concatenate([layer, f, crossed], axis=1), data.stage


def identity(data: StageStates, rng: Generator) -> tuple[sparse.csr_array, ndarray]:
    """The token that was read and the token that is answered, one-hot (a sparse matrix)."""
    columns, width = [], 0
    for ids in (data.input, data.top1):
        known, index = np.unique(ids, return_inverse=True)
        columns.append(width + index)
        width += len(known)
    n = len(data)
    rows = np.tile(np.arange(n), 2)
    ones = np.ones(2 * n, np.float64)
    return sparse.csr_array((ones, (rows, np.concatenate(columns))), (n, width)), data.stage


def control_task(data: StageStates, rng: Generator) -> tuple[ndarray, Int[ndarray, " n"]]:
    """A stage drawn once for every input token type, from the shares of the stages.

    Raises:
        InputError: the model reads no tokens, or fewer types than stages.
    """
    types, index = np.unique(data.input, return_inverse=True)
    stages, counts = np.unique(data.stage, return_counts=True)
    if len(types) < len(stages):
        raise InputError(
            f"The control task needs a token type for each of {len(stages)} stages; there are "
            f"{len(types)}."
        )
    drawn = rng.choice(stages, size=len(types), p=counts / counts.sum())
    return data.state, drawn[index]


def gaussian(data: StageStates, rng: Generator) -> tuple[Float[ndarray, "n d"], ndarray]:
    """Noise with the scalar mean and the scalar spread of the states of each stage, as published."""
    X = rng.standard_normal(data.state.shape, np.float32)
    for stage in np.unique(data.stage):
        rows = np.flatnonzero(data.stage == stage)
        mean, spread = scalar_moments(data.state, rows)
        X[rows] = X[rows] * np.float32(spread) + np.float32(mean)
    return X, data.stage


def scalar_moments(state: Float[ndarray, "n d"], rows: Int[ndarray, " m"]) -> tuple[float, float]:
    """Mean and spread over all coordinates of some states, summed in float64 without a copy of them."""
    size = len(rows) * state.shape[1]
    parts = np.array_split(rows, max(1, len(rows) // 4096))
    mean = sum(float(state[part].sum(dtype=np.float64)) for part in parts) / size
    square = sum(float(np.square(state[part] - mean, dtype=np.float64).sum()) for part in parts)
    return mean, float(np.sqrt(square / size))


SAME_ROWS: dict[str, Design] = {
    "layer": layer_alone,
    "shuffled": shuffled,
    "margin": margin,
    "identity": identity,
    "control_task": control_task,
    "gaussian": gaussian,
}
DRAWN = ("shuffled", "control_task", "gaussian")
"""Controls that hold chance, drawn several times."""
OTHER_STATES = ("untrained", "rotated", "exchanged")
"""Controls made of other states, labelled by their own events (`satlens.probes.collect`)."""
NAMES = (*SAME_ROWS, *OTHER_STATES)
"""Every control, in the order of results."""


class TokenProbe(BaseEstimator):
    """One-vs-rest logistic regression on a sparse one-hot matrix: the identity control's probe.

    Unscaled, so that a rare token stays near zero; weights as in `StageProbe`.
    """

    def __init__(self, C: float = 1.0, max_iter: int = 100) -> None:
        self.C = C
        self.max_iter = max_iter

    def fit(
        self, X: sparse.csr_array, y: Int[ndarray, " n"], layer: Int[ndarray, " n"]
    ) -> "TokenProbe":
        """Fit to one-hot rows and their stages."""
        weight = equal_weights(y, layer)
        self.models_, self.notes_ = [], []
        for stage in np.unique(y):
            model = LogisticRegression(C=self.C, max_iter=self.max_iter)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ConvergenceWarning)
                model.fit(X, y == stage, sample_weight=weight)
            if caught:
                self.notes_.append(f"stage {stage}: the solver stopped at {self.max_iter} steps")
            self.models_.append(model)
        return self

    def decision_function(
        self, X: sparse.csr_array, layer: Int[ndarray, " n"] | None = None
    ) -> Float[ndarray, "n stage"]:
        """The score of every stage against the rest."""
        return np.column_stack([model.decision_function(X) for model in self.models_])


def _one_hot(layer: Int[ndarray, " n"]) -> Float[ndarray, "n layer"]:
    known, index = np.unique(layer, return_inverse=True)
    return np.eye(len(known), dtype=np.float32)[index]
