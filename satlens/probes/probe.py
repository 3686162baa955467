"""A linear probe that reads the stage off a residual state: `StageProbe`.

With mu, sigma the mean and spread of every coordinate over the training states,

    z = (h - mu) / sigma
    f_i(h) = w_i . z + b_i          one logistic regression a stage, against the rest; penalty |w|^2 / (2 C)
    stage = argmax_i f_i(h),        p_i(h) = sigmoid(f_i) / sum_j sigmoid(f_j)

In training every stage has the same weight (given the layers: at every layer), whatever its number of
states, so that neither the share of a stage nor the layer number by itself helps.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from satlens.errors import InputError

NEWTON_WIDTH = 256
"""Up to this width the exact second-order solver is used. Measured on one core, 20,000 states, with
neighbouring coordinates correlated, Newton against L-BFGS: width 128 .06 and .03 s, 512 .51 and .09 s,
1,024 1.9 and .17 s; both keep float32."""
ROWS = 2048
"""States that are scaled and scored at a time."""
ALL_LAYERS = -1
"""The name of the one regression that serves every layer."""


class StageProbe(ClassifierMixin, BaseEstimator):
    """StandardScaler and one-vs-rest logistic regression on residual states.

    Args:
        C: inverse strength of the penalty on the scaled coefficients.
        per_layer: one regression a layer; then ``layer`` is needed wherever states are.
        max_iter: of the solver.

    Attributes:
        classes_: the stages seen in training, in ascending order.
        layers_: the layers seen in training, or ``[-1]`` for one regression over all.
        mean_, scale_: ``[layer, d]`` of the scaler.
        coef_, intercept_: ``[layer, stage, d]`` and ``[layer, stage]``, in scaled coordinates.
        notes_: what the solver complained of, if it did.

    Source: Lioubashevski et al. 2025, section 4; the equal weights are ours.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(1, 3, 200)
        >>> X = rng.normal(size=(200, 8)) + 3 * (y == 2)[:, None]
        >>> StageProbe().fit(X, y).score(X, y) > 0.95
        True
    """

    def __init__(self, C: float = 1.0, per_layer: bool = False, max_iter: int = 100) -> None:
        self.C = C
        self.per_layer = per_layer
        self.max_iter = max_iter

    def fit(
        self,
        X: Float[ndarray, "n d"],
        y: Int[ndarray, " n"],
        layer: Int[ndarray, " n"] | None = None,
    ) -> "StageProbe":
        """Fit to states X and their stages y.

        Args:
            layer: the layer of every state; every stage then weighs the same at each layer.

        Raises:
            InputError: fewer than two stages (at some layer, with per_layer), rows that do not
                match, values that are NaN, or no layers where they are needed.
        """
        x, target, layers = _checked(X, y, layer, self.per_layer)
        if not self.C > 0:
            raise InputError(f"C must be above 0, got {self.C}.")
        stages = cast(ndarray, target)
        self.classes_ = np.unique(stages)
        self.n_features_in_ = x.shape[1]
        self.layers_ = np.unique(layers) if self.per_layer else np.array([ALL_LAYERS])
        self.notes_: list[str] = []
        fitted = [self._fit_one(x, stages, layers, own) for own in self.layers_.tolist()]
        self.mean_, self.scale_, self.coef_, self.intercept_ = map(
            np.stack, zip(*fitted, strict=True)
        )
        return self

    def _fit_one(self, x: ndarray, y: ndarray, layer: ndarray, own: int) -> tuple[ndarray, ...]:
        """Scaler and regressions of one layer (or of all)."""
        if own != ALL_LAYERS:
            rows = layer == own
            x, y, layer = x[rows], y[rows], layer[rows]
        found = np.unique(y)
        if len(found) < 2 or len(found) < len(self.classes_):
            where = "" if own == ALL_LAYERS else f" at layer {own}"
            raise InputError(
                f"A probe of stages {_words(self.classes_)} was asked for; found only {_words(found)}"
                f"{where} ({len(y)} states). Give states of two stages or more."
            )
        scaler = cast(Any, StandardScaler())
        for rows in _chunks(len(x)):
            scaler.partial_fit(x[rows])
        scaled = np.empty(x.shape, np.float32)
        for rows in _chunks(len(x)):
            scaled[rows] = _scale(x[rows], scaler.mean_, scaler.scale_)
        weight = equal_weights(y, layer)
        fits = [
            self._against_rest(scaled, y == stage, weight, stage, own)
            for stage in self.classes_.tolist()
        ]
        coef, intercept = (np.concatenate(part) for part in zip(*fits, strict=True))
        return scaler.mean_, scaler.scale_, coef.astype(np.float32), intercept.astype(np.float32)

    def _against_rest(
        self, scaled: ndarray, target: ndarray, weight: ndarray | None, stage: int, own: int
    ) -> tuple[ndarray, ndarray]:
        solver = "newton-cholesky" if scaled.shape[1] <= NEWTON_WIDTH else "lbfgs"
        model = cast(Any, LogisticRegression(C=self.C, solver=solver, max_iter=self.max_iter))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(scaled, target, sample_weight=weight)
        for one in caught:
            if issubclass(one.category, ConvergenceWarning):
                where = "" if own == ALL_LAYERS else f", layer {own}"
                said = str(one.message).split(".")[0].split("\n")[0]
                self.notes_.append(f"stage {stage}{where}: {said}")
        return model.coef_, model.intercept_

    def decision_function(
        self, X: Float[ndarray, "n d"], layer: Int[ndarray, " n"] | None = None
    ) -> Float[ndarray, "n stage"]:
        """``f_i``: the score of every stage against the rest, columns as ``classes_``, float32.

        Raises:
            InputError: states of another width, no layers, or a layer that training had not.
        """
        check_is_fitted(self)
        x, _, layers = _checked(X, None, layer, self.per_layer)
        if x.shape[1] != self.n_features_in_:
            raise InputError(
                f"The probe reads states of width {self.n_features_in_}; got {x.shape[1]}."
            )
        scores = np.empty((len(x), len(self.classes_)), np.float32)
        for rows, own in self._parts(len(x), layers):
            z = _scale(x[rows], self.mean_[own], self.scale_[own])
            scores[rows] = z @ self.coef_[own].T + self.intercept_[own]
        return scores

    def _parts(self, n: int, layer: ndarray) -> Iterator[tuple[Any, int]]:
        """Rows, some at a time, and the number of the regression that serves them."""
        if not self.per_layer:
            yield from ((rows, 0) for rows in _chunks(n))
            return
        unseen = sorted(set(np.unique(layer).tolist()) - set(self.layers_.tolist()))
        if unseen:
            raise InputError(
                f"The probe has one regression a layer, for layers {_words(self.layers_)}; asked for "
                f"{_words(unseen)}. Fit it on states of those layers too, or use per_layer=False."
            )
        for number, own in enumerate(self.layers_):
            rows = np.flatnonzero(layer == own)
            yield from ((rows[part], number) for part in _chunks(len(rows)))

    def predict(
        self, X: Float[ndarray, "n d"], layer: Int[ndarray, " n"] | None = None
    ) -> Int[ndarray, " n"]:
        """The stage with the highest score; of equal scores the lower stage."""
        best = self.decision_function(X, layer).argmax(1)
        return self.classes_[best]

    def predict_proba(
        self, X: Float[ndarray, "n d"], layer: Int[ndarray, " n"] | None = None
    ) -> Float[ndarray, "n stage"]:
        """``p_i``: probabilities of the regressions, normalised over the stages."""
        return normalised(self.decision_function(X, layer))

    def score(  # pyright: ignore[reportIncompatibleMethodOverride]  (scikit-learn's takes weights there)
        self,
        X: Float[ndarray, "n d"],
        y: Int[ndarray, " n"],
        layer: Int[ndarray, " n"] | None = None,
    ) -> float:
        """Balanced accuracy: the mean over stages of the share of their states that is found."""
        return float(balanced_accuracy_score(y, self.predict(X, layer)))

    def normal(self, stage: int, layer: int | None = None) -> Float[ndarray, " d"]:
        """The unit vector along which the score of a stage grows fastest, in state coordinates.

        Raises:
            InputError: an unknown stage or layer, or no layer where there is one regression each.
        """
        check_is_fitted(self)
        if stage not in self.classes_:
            raise InputError(f"The probe tells stages {_words(self.classes_)} apart; got {stage}.")
        own = ALL_LAYERS if not self.per_layer else layer
        if own not in self.layers_:
            raise InputError(
                f"The probe has one regression a layer, for layers {_words(self.layers_)}; got "
                f"layer={layer}."
            )
        at = self.layers_.tolist().index(own)
        gradient = self.coef_[at, self.classes_.tolist().index(stage)] / self.scale_[at]
        return gradient / max(float(np.linalg.norm(gradient)), np.finfo(float).tiny)

    def save(self, path: str | Path) -> None:
        """Write ``path.safetensors`` and ``path.json``, each complete or not at all.

        Raises:
            OutputError: the files cannot be written.
        """
        from satlens.probes.storage import save

        check_is_fitted(self)
        save(self, path)

    @staticmethod
    def load(path: str | Path) -> "StageProbe":
        """The probe that `save` wrote; it predicts the same, bit for bit. Nothing is unpickled.

        Raises:
            InputError: no such files, or files that were changed, cut short or written by another.
        """
        from satlens.probes.storage import load

        return load(path)


def normalised(scores: Float[ndarray, "n stage"]) -> Float[ndarray, "n stage"]:
    """Sigmoids of one-vs-rest scores, made to sum to 1; in logs, so that none is 0 / 0."""
    log = np.minimum(scores, 0) - np.log1p(np.exp(-np.abs(scores)))  # log sigmoid
    share = np.exp(log - log.max(1, keepdims=True))
    return share / share.sum(1, keepdims=True)


def equal_weights(y: Int[ndarray, " n"], layer: Int[ndarray, " n"]) -> Float[ndarray, " n"] | None:
    """Weights that make every stage weigh the same at each layer, mean 1; None if they are all 1.

    >>> equal_weights(np.array([1, 1, 1, 1, 2, 2]), np.zeros(6)).tolist()
    [0.75, 0.75, 0.75, 0.75, 1.5, 1.5]
    """
    _, at, rows = np.unique(layer, return_inverse=True, return_counts=True)
    values, own = np.unique(y, return_inverse=True)
    cell = at * len(values) + own
    size = np.bincount(cell, minlength=len(rows) * len(values))
    stages = (size.reshape(len(rows), -1) > 0).sum(1)
    weight = rows[at] / (stages[at] * size[cell])
    return None if (weight == 1).all() else weight.astype(np.float32)


def _scale(X: ndarray, mean: ndarray, scale: ndarray) -> ndarray:
    z = X - mean
    z /= scale
    return z.astype(np.float32)


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, n, ROWS))


def _words(values: Any) -> str:
    return ", ".join(str(int(value)) for value in values) or "none"


def _checked(
    X: Any, y: Any, layer: Any, per_layer: bool
) -> tuple[ndarray, ndarray | None, ndarray]:
    """States, stages and layers of one length; NaN is refused."""
    x = np.asarray(X)
    if x.ndim != 2 or not np.issubdtype(x.dtype, np.number):
        raise InputError(f"A probe reads states [n, d]; got {x.dtype} of shape {x.shape}.")
    if per_layer and layer is None:
        raise InputError("With per_layer=True the layer of every state is needed: layer=[n].")
    y = None if y is None else np.asarray(y)
    layer = np.zeros(len(x), int) if layer is None else np.asarray(layer)
    for name, values in (("y", y), ("layer", layer)):
        if values is not None and values.shape != (len(x),):
            raise InputError(f"{name} must have one entry a state, {len(x)}; got {values.shape}.")
    bad = sum(int((~np.isfinite(x[rows])).any(1).sum()) for rows in _chunks(len(x)))
    if bad:
        raise InputError(f"{bad} of {len(x)} states hold NaN or infinite values.")
    return x, y, layer
