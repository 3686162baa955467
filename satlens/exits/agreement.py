"""A linear classifier that tells from a state whether the lens already has the final top-1: CALM's.

    p(h, l) = sigmoid(w_l . (h - mu_l) + b_l),        fitted to  y = [top-1 of lens(h_l) is the model's top-1]

one for all layers, or one a layer, by logistic regression on scaled states of training documents. Classes
keep their frequencies, so p is a probability there. The exit policy is `satlens.exits.Classifier`.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from satlens.errors import InputError
from satlens.exits.policies import Thresholded
from satlens.exits.policy import Peek
from satlens.exits.tables import top_one
from satlens.lenses import Lens, LogitLens, check_model
from satlens.models import Batches, wrap
from satlens.models.protocol import ResidualModel
from satlens.storage import Stored
from satlens.version import __version__

STORED = Stored("satlens.AgreementProbe/1", "exit classifier", "AgreementProbe.save")
TENSORS = ("weight", "bias", "mean")
TOKENS = 5_000
"""Tokens to fit on, when nothing else is said: each gives one state a layer."""
MAX_ITER = 500


@dataclass(frozen=True, eq=False)
class AgreementProbe:
    """``w``, ``b`` and ``mu``, one row a layer 0 .. L-2, or one row for all of them.

    Attributes:
        weight, bias, mean: in the coordinates of the states, float32.
        n_layers: L of the model.
        about: what it was fitted on: model, lens, states, and the share where the lens agrees,
            layer by layer.

    Example:
        >>> import satlens
        >>> model = satlens.load_model("tiny")
        >>> probe = AgreementProbe.fit(model, ["One day a dog ran.", "Lily had a red ball."])
        >>> probe.about["states"] % 15
        0
    """

    weight: Float[Tensor, "row d"]
    bias: Float[Tensor, " row"]
    mean: Float[Tensor, "row d"]
    n_layers: int
    about: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def fit(
        model: Any,
        inputs: Any,
        *,
        lens: Lens | None = None,
        per_layer: bool = False,
        tokens: int = TOKENS,
        C: float = 1.0,
        batch_size: int = 8,
    ) -> "AgreementProbe":
        """Fit on training documents; never on those that a policy is judged on.

        Args:
            model, inputs, batch_size: as in `satlens.detect`; inputs may be `Batches`.
            lens: the lens whose answer the exit will give; the logit lens by default.
            per_layer: one classifier a layer.
            tokens: whole windows are read, in order, until this many are reached.
            C: inverse strength of the penalty on the scaled weights.

        Raises:
            InputError: unusable settings or inputs, a lens of another model, or a model of one block.
        """
        if tokens < 1 or not C > 0:
            raise InputError(f"tokens and C must be above 0, got {tokens} and {C}.")
        model = wrap(model)
        batches = inputs if isinstance(inputs, Batches) else model.batches(inputs, batch_size)
        lens = lens or LogitLens(model)
        check_model(lens, model)
        read = Agreements.read(model, batches, lens, tokens)
        return AgreementProbe.of(read, per_layer=per_layer, C=C)

    @staticmethod
    def of(read: "Agreements", *, per_layer: bool = False, C: float = 1.0) -> "AgreementProbe":
        """Fit to states that were read before."""
        states, agrees = read.states, read.agrees
        if not per_layer:
            states, agrees = states.reshape(1, -1, states.shape[-1]), agrees.reshape(1, -1)
        fitted = [_fit(x, y, C) for x, y in zip(states, agrees, strict=True)]
        *rows, converged = zip(*fitted, strict=True)
        weight, bias, mean = (torch.tensor(np.stack(row), dtype=torch.float32) for row in rows)
        about = {"model": read.model, "lens": read.lens, "per_layer": per_layer, "C": C,
                 "states": agrees.size, "agreement": read.agrees.mean(1).tolist(),
                 "converged": all(converged)}  # fmt: skip
        return AgreementProbe(weight, bias, mean, len(read.states) + 1, about)

    def probability(self, resid: Float[Tensor, "token d"], layer: int) -> Float[Tensor, " token"]:
        """``p(h, l)``, float64.

        Raises:
            InputError: states of another width, or a layer of a deeper model.
        """
        width = self.weight.shape[1]
        if resid.shape[1] != width or not 0 <= layer < self.n_layers - 1:
            raise InputError(
                f"The classifier reads states of width {width} after blocks 0 to {self.n_layers - 2} "
                f"(of {self.about.get('model', 'another model')}); got width {resid.shape[1]} after block "
                f"{layer}."
            )
        own = layer if len(self.weight) > 1 else 0
        log_odds = (resid.float() - self.mean[own]) @ self.weight[own] + self.bias[own]
        return torch.sigmoid(log_odds.double())

    def to(self, device: torch.device | str) -> "AgreementProbe":
        """The same where the states are."""
        weight, bias, mean = (part.to(device) for part in (self.weight, self.bias, self.mean))
        return replace(self, weight=weight, bias=bias, mean=mean)

    def save(self, path: str | Path) -> None:
        """Write ``path.safetensors`` and ``path.json``, each complete or not at all.

        Raises:
            OutputError: the files cannot be written.
        """
        arrays = {name: getattr(self, name).cpu().numpy() for name in TENSORS}
        said = {"n_layers": self.n_layers, "rows": len(self.weight), "width": self.weight.shape[1],
                "about": dict(self.about), "versions": {"satlens": __version__}}  # fmt: skip
        STORED.save(path, arrays, said)

    @staticmethod
    def load(path: str | Path) -> "AgreementProbe":
        """The classifier that `save` wrote. Nothing is unpickled.

        Raises:
            InputError: no such files, or files that were changed, cut short or written by another.
        """
        said, raw = STORED.read(path)
        shape = (said["rows"], said["width"])
        kind = np.dtype(np.float32)
        wanted = {"weight": (kind, shape), "bias": (kind, shape[:1]), "mean": (kind, shape)}
        arrays = STORED.arrays(path, raw, wanted)
        tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
        return AgreementProbe(**tensors, n_layers=said["n_layers"], about=said["about"])


@dataclass(frozen=True, eq=False)
class Agreements:
    """States below the last layer, and whether the lens agrees with the model there.

    Attributes:
        model, lens: their names.
    """

    states: Float[ndarray, "layer token d"]
    agrees: Bool[ndarray, "layer token"]
    model: str
    lens: str

    @staticmethod
    @torch.no_grad()
    def read(model: ResidualModel, batches: Any, lens: Lens, tokens: int = TOKENS) -> "Agreements":
        """Whole windows, in order, until so many tokens are reached.

        Raises:
            InputError: no real position, or a model of one block.
        """
        if model.n_layers < 2:
            raise InputError(f"{model.name} has one block: there is nowhere to leave early.")
        states, agrees = [], []
        for batch in batches.first(tokens) if isinstance(batches, Batches) else batches:
            if not batch.real.any():
                continue
            found = model.states(batch)
            final, below = top_one(found.logits), found.resid[:-1]
            same = [top_one(lens.scores(h, layer)) == final for layer, h in enumerate(below)]
            states.append(below.float().cpu().numpy())
            agrees.append(torch.stack(same).cpu().numpy())
        if not states:
            raise InputError("The inputs gave no real position to fit the exit classifier on.")
        kept, same = (np.concatenate(one, axis=1) for one in (states, agrees))
        return Agreements(kept, same, model=model.name, lens=lens.name)


def _fit(
    x: Float[ndarray, "n d"], y: Bool[ndarray, " n"], C: float
) -> tuple[ndarray, float, ndarray, bool]:
    """Weights, bias and mean in state coordinates, and whether the solver got there.

    Where all states are of one class, the share alone is what is known.
    """
    scaler = cast(Any, StandardScaler().fit(x))
    positive = int(y.sum())
    if positive in (0, len(y)):
        odds = np.log((positive + 0.5) / (len(y) - positive + 0.5))
        return np.zeros(x.shape[1]), odds, scaler.mean_, True
    regression = cast(Any, LogisticRegression(C=C, max_iter=MAX_ITER))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said in ``about``
        regression.fit(scaler.transform(x).astype(np.float32), y)
    converged = int(np.max(regression.n_iter_)) < MAX_ITER
    bias = float(np.ravel(regression.intercept_)[0])
    return regression.coef_[0] / scaler.scale_, bias, scaler.mean_, converged


@dataclass(frozen=True)
class Classifier(Thresholded):
    """Leave when a classifier gives this probability that the lens already has the final top-1.

    Source: Schuster et al. 2022 (CALM).
    """

    probe: AgreementProbe
    threshold: float = 0.9
    name: str = "classifier"
    _where: dict[torch.device, AgreementProbe] = field(
        default_factory=dict, repr=False, compare=False
    )

    def signal(self, peek: Peek) -> Float[Tensor, " token"]:
        """The probability."""
        device = peek.resid.device
        if device not in self._where:
            self._where[device] = self.probe.to(device)
        return self._where[device].probability(peek.resid, peek.layer)

    def cost(self, d_model: int) -> int:
        """One inner product."""
        return d_model
