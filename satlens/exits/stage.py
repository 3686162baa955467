"""A fitted probe of stages as an exit signal: ``sigmoid(max_{i >= 2} f_i - f_1)``.

A linear probe on scaled states is one linear map of the state itself: with mean mu, spread sigma, weights
w_i,

    f_i(h) - f_1(h) = (v_i - v_1) . (h - mu) + b_i - b_1,        v_i = w_i / sigma

so a look costs ``d * stages`` multiply-adds. (mu stays apart: a coordinate far from 0 with a small spread
would cost float32 its last digits.) Nothing of the probe's room is imported: its attributes say what it is.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from satlens.errors import InputError

ALL_LAYERS = -1
"""How a probe names the one regression that serves every layer."""


@dataclass(frozen=True, eq=False)
class LinearStage:
    """``v_i - v_1``, ``b_i - b_1`` (i >= 2) and mu of every regression: one a layer, or one for all.

    Attributes:
        layers: the layer of each regression, ``(-1,)`` for one over all.
    """

    weight: Float[Tensor, "regression d later"]
    bias: Float[Tensor, "regression later"]
    mean: Float[Tensor, "regression d"]
    layers: tuple[int, ...]

    @staticmethod
    def of(probe: Any) -> "LinearStage | None":
        """Read a probe; None for one that is not linear.

        Raises:
            InputError: not fitted, not a classifier, or fewer than two stages.
        """
        check_probe(probe)
        coef, intercept = (getattr(probe, name, None) for name in ("coef_", "intercept_"))
        if coef is None or intercept is None:
            return None
        coef, intercept = np.asarray(coef, float), np.asarray(intercept, float)
        layers = tuple(int(layer) for layer in getattr(probe, "layers_", (ALL_LAYERS,)))
        stages = len(probe.classes_)
        if coef.ndim == 2:
            coef, intercept = coef[None], intercept[None]
        if coef.shape[1] == 1 and stages == 2:  # scikit-learn keeps the second class only
            coef = np.concatenate([np.zeros_like(coef), coef], axis=1)
            intercept = np.concatenate([np.zeros_like(intercept), intercept], axis=1)
        if coef.shape[:2] != (len(layers), stages) or intercept.shape != coef.shape[:2]:
            raise InputError(
                f"The probe has {stages} stages and {len(layers)} regressions, but coef_ of shape "
                f"{coef.shape} and intercept_ of shape {intercept.shape}."
            )
        mean, scale = (
            np.broadcast_to(np.asarray(getattr(probe, name, usual), float), coef[:, 0].shape)
            for name, usual in (("mean_", 0.0), ("scale_", 1.0))
        )
        weight = ((coef[:, 1:] - coef[:, :1]) / scale[:, None]).swapaxes(1, 2)
        bias = intercept[:, 1:] - intercept[:, :1]
        arrays = (torch.tensor(part, dtype=torch.float32) for part in (weight, bias, mean))
        return LinearStage(*arrays, layers=layers)

    def to(self, device: torch.device) -> "LinearStage":
        """The same where the states are."""
        weight, bias, mean = (part.to(device) for part in (self.weight, self.bias, self.mean))
        return replace(self, weight=weight, bias=bias, mean=mean)

    def score(self, resid: Float[Tensor, "token d"], layer: int) -> Float[Tensor, " token"]:
        """The signal in float64; -inf at a layer without a regression."""
        width = self.weight.shape[1]
        if resid.shape[1] != width:
            raise InputError(
                f"The probe reads states of width {width}; this model's have {resid.shape[1]}."
            )
        if self.layers == (ALL_LAYERS,):
            own = 0
        elif layer in self.layers:
            own = self.layers.index(layer)
        else:
            return torch.full((len(resid),), -torch.inf, dtype=torch.float64, device=resid.device)
        over = torch.addmm(self.bias[own], resid.float() - self.mean[own], self.weight[own])
        return torch.sigmoid(over.amax(1).double())


def stage_score(probe: Any, resid: Float[Tensor, "token d"], layer: int) -> Float[Tensor, " token"]:
    """The same signal of any other classifier, asked on the CPU."""
    if not len(resid):  # scikit-learn refuses to predict for no rows
        return resid.new_zeros(0, dtype=torch.float64)
    x = resid.detach().float().cpu().numpy()
    more = {"layer": np.full(len(x), layer)} if getattr(probe, "per_layer", False) else {}
    if hasattr(probe, "decision_function"):
        f = np.asarray(probe.decision_function(x, **more), float)
        f = np.stack([np.zeros_like(f), f], axis=1) if f.ndim == 1 else f
        signal = torch.sigmoid(torch.from_numpy(f[:, 1:].max(1) - f[:, 0]))
    else:
        p = np.asarray(probe.predict_proba(x, **more), float)
        later = p[:, 1:].max(1)
        signal = torch.from_numpy(later / np.maximum(later + p[:, 0], np.finfo(float).tiny))
    return signal.to(resid.device)


def check_probe(probe: Any) -> None:
    """Refuse what cannot say which stage a state is in.

    Raises:
        InputError: not fitted, not a classifier, or fewer than two stages.
    """
    asks = any(hasattr(probe, name) for name in ("decision_function", "predict_proba"))
    if not asks:
        raise InputError(
            f"A stage exit needs a classifier with decision_function or predict_proba, such as "
            f"satlens.StageProbe; got {type(probe).__name__}."
        )
    classes = getattr(probe, "classes_", None)
    if classes is None:
        raise InputError(f"The {type(probe).__name__} is not fitted: it has no classes_.")
    if len(classes) < 2 or list(classes) != sorted(classes):
        raise InputError(
            f"A stage exit needs a probe of two stages or more, in ascending order; got {list(classes)}."
        )
