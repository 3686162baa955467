"""A request's depth, told from its prompt before it runs.

    x = state of the prompt's last position after an early block     y = depth of the request, or its length
    y^ = b + w . (x - mu) / sigma       ridge regression, its penalty from leave-one-out on the training part

Judged on documents that it was not fitted on, against two baselines fitted on the same parts: the mean of y,
and a line through the prompt's length. With SSE summed over held-out requests,

    R2 = 1 - SSE(y^) / SSE(mean)          rho = rank correlation of y^ and y
    beyond the prompt's length = (SSE(length) - SSE(y^)) / SSE(mean)

Intervals draw documents again. The null gives every document the y of another one and fits anew.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.models.wrap import wrap
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap, by_document, finite
from satlens.significance import permutation_p
from satlens.verdicts import rule

FOLDS = 5
SHUFFLES = 20
MARGIN = 0.02
PENALTIES = np.logspace(-1, 6, 15)
"""Over scaled coordinates; the largest ones leave next to nothing but the mean."""


@torch.no_grad()
def prompt_states(
    model: Any, prompts: Any, layer: int, *, batch_size: int = 8
) -> Float[ndarray, "prompt d"]:
    """The state of each prompt's last position after block ``layer``, float64.

    Args:
        prompts: as `satlens.exits.generate` reads them, a BOS in front of text.

    Raises:
        InputError: no such layer, prompts that cannot be read or are longer than the context.

    Example:
        >>> import satlens
        >>> prompt_states(satlens.load_model("tiny"), ["Lily had", "One day a dog"], layer=3).shape
        (2, 128)
    """
    model = wrap(model)
    if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < model.n_layers:
        raise InputError(f"layer must be 0 .. {model.n_layers - 1} of {model.name}; got {layer!r}.")
    batches = model.batches(prompts, batch_size, include_bos=True, context=None)
    longest = max(len(row.ids) for row in batches.rows)
    if model.context is not None and longest > model.context:
        raise InputError(
            f"A prompt has {longest} tokens; the context of {model.name} is {model.context}. Shorten it."
        )
    found = np.empty((batches.n_documents, model.d_model))
    for batch in batches:
        states = model.states(batch, logits=False)
        doc, pos = states.doc.cpu().numpy(), states.pos.cpu().numpy()
        order = np.lexsort((pos, doc))
        last = order[np.append(np.diff(doc[order]) > 0, True)]
        found[doc[last]] = states.resid[layer][torch.from_numpy(last)].double().cpu().numpy()
    return found


@dataclass(frozen=True, eq=False)
class DepthPredictor:
    """A fitted line: ``predict(states)``.

    Attributes:
        penalty: the one that was chosen.
    """

    mean: Float[ndarray, " d"]
    scale: Float[ndarray, " d"]
    weight: Float[ndarray, " d"]
    bias: float
    penalty: float

    @staticmethod
    def fit(states: Float[ndarray, "request d"], y: Float[ndarray, " request"]) -> "DepthPredictor":
        """Fit to states and what is to be told of their requests.

        Raises:
            InputError: rows that do not match, fewer than 3, or values that are not finite.

        Example:
            >>> x = np.random.default_rng(0).normal(size=(50, 4))
            >>> found = DepthPredictor.fit(x, 3 + x[:, 0])
            >>> bool(abs(found.predict(x) - 3 - x[:, 0]).max() < 0.05)
            True
        """
        states, y = _checked(states, y)
        mean, scale = states.mean(0), states.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        line = cast(Any, RidgeCV(PENALTIES).fit((states - mean) / scale, y))
        return DepthPredictor(mean, scale, line.coef_, float(line.intercept_), float(line.alpha_))

    def predict(self, states: Float[ndarray, "request d"]) -> Float[ndarray, " request"]:
        """What is believed of these requests."""
        if np.ndim(states) != 2 or np.shape(states)[1] != len(self.mean):
            raise InputError(
                f"The predictor reads states of width {len(self.mean)}; got shape {np.shape(states)}."
            )
        return self.bias + (states - self.mean) / self.scale @ self.weight


@dataclass(frozen=True, eq=False)
class PredictionReport:
    """How well something is told of requests whose documents were not seen in fitting.

    Attributes:
        predicted: by document's fold, what the predictor of the other folds said of each request.
        r2, rho: of the state. length_r2, length_rho: of the prompt's length. beyond: as in the module.
        null_r2: of each shuffle. p: of r2 among them.
        verdict: whether the state tells more than the prompt's length.
    """

    predicted: Float[ndarray, " request"]
    r2: Estimate
    rho: Estimate
    length_r2: Estimate
    length_rho: Estimate
    beyond: Estimate
    null_r2: Float[ndarray, " shuffle"]
    p: float
    verdict: str
    why: str
    settings: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, without the predictions."""
        names = ("r2", "rho", "length_r2", "length_rho", "beyond")
        null = {"mean": self.null_r2.mean(), "most": self.null_r2.max(), "p": self.p}
        null = {name: finite(float(value)) for name, value in null.items()}
        return {
            **{name: getattr(self, name).to_dict() for name in names}, "null_r2": null,
            "verdict": self.verdict, "why": self.why, "settings": self.settings,
        }  # fmt: skip


def assess(
    states: Float[ndarray, "request d"],
    y: Float[ndarray, " request"],
    doc: Int[ndarray, " request"],
    prompt: Int[ndarray, " request"],
    *,
    folds: int = FOLDS,
    shuffles: int = SHUFFLES,
    seed: int = DEFAULT_SEED,
    draws: int = DRAWS,
    level: float = LEVEL,
    margin: float = MARGIN,
) -> PredictionReport:
    """Fit on the documents of all folds but one, predict those of that one, in turns.

    Args:
        states: from `prompt_states`. y: `Requests.depth` or `Requests.length`.
        doc: the document of each request; no document is on both sides.
        prompt: positions of each prompt.

    Raises:
        InputError: fewer documents than folds, rows that do not match, values that are not finite.
    """
    states, y = _checked(states, y)
    doc, prompt = np.asarray(doc), np.asarray(prompt, float)
    if shuffles < 1:
        raise InputError(f"shuffles must be 1 or more, got {shuffles}.")
    for name, values in (("doc", doc), ("prompt", prompt)):
        if values.shape != y.shape:
            raise InputError(f"{name} must have one entry a request, {len(y)}; got {values.shape}.")
    part = _folds(doc, folds, seed)
    fitted = lambda x: _held_out(x, y, part, DepthPredictor.fit)  # noqa: E731
    predicted, by_length = fitted(states), fitted(prompt[:, None])
    mean = _held_out(states, y, part, lambda x, own: _Mean(float(own.mean())))
    errors = np.stack([(y - own) ** 2 for own in (predicted, by_length, mean)], 1)
    how: dict[str, Any] = {"draws": draws, "level": level, "seed": seed}
    made = bootstrap(by_document(errors, doc), _r2, **how)
    rho = [_rank_correlation(own, y, doc, **how) for own in (predicted, by_length)]
    null = np.array([
        _r2_of(states, y[_exchanged(doc, seed + 1 + draw)], part) for draw in range(shuffles)
    ])  # fmt: skip
    found, why = rule(made[2], margin, "what the state tells beyond the prompt's length")
    settings = {"requests": len(y), "documents": len(np.unique(doc)), "folds": folds,
                "shuffles": shuffles, "margin": margin, **how}  # fmt: skip
    return PredictionReport(
        predicted, made[0], rho[0], made[1], rho[1], made[2], null,
        _p(float(made.value[0]), null), found, why, settings,
    )  # fmt: skip


def _p(r2: float, null: ndarray) -> float:
    """NaN where all are alike, and there is nothing to tell."""
    return float("nan") if np.isnan(r2) else permutation_p(r2, null, "greater")


@dataclass(frozen=True)
class _Mean:
    value: float

    def predict(self, states: ndarray) -> ndarray:
        return np.full(len(states), self.value)


def _held_out(
    x: ndarray, y: ndarray, part: ndarray, fit: Callable[[ndarray, ndarray], Any]
) -> Float[ndarray, " request"]:
    """For every request what the fit on the other parts says."""
    found = np.empty(len(y))
    for own in np.unique(part):
        there = part == own
        found[there] = fit(x[~there], y[~there]).predict(x[there])
    return found


def _r2(s: Float[ndarray, "... 3"]) -> Float[ndarray, "... 3"]:
    """R2 of both, and their difference, from summed squared errors."""
    own, length, mean = s[..., 0], s[..., 1], s[..., 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.stack([1 - own / mean, 1 - length / mean, (length - own) / mean], -1)
    return np.where(mean[..., None] > 0, found, np.nan)


def _r2_of(states: ndarray, y: ndarray, part: ndarray) -> float:
    own = _held_out(states, y, part, DepthPredictor.fit)
    mean = _held_out(states, y, part, lambda x, own: _Mean(float(own.mean())))
    total = float(((y - mean) ** 2).sum())
    return 1 - float(((y - own) ** 2).sum()) / total if total else float("nan")


def _rank_correlation(x: ndarray, y: ndarray, doc: ndarray, **how: Any) -> Estimate:
    """Spearman's; ranks are those among all requests, in every draw."""
    a, b = rankdata(x), rankdata(y)
    moments = np.stack([np.ones(len(a)), a, b, a * a, b * b, a * b], 1)

    def correlation(s: ndarray) -> ndarray:
        n, sa, sb, saa, sbb, sab = np.moveaxis(s, -1, 0)
        spread = (n * saa - sa**2) * (n * sbb - sb**2)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (n * sab - sa * sb) / np.sqrt(spread)
        return np.where(spread > 0, found, np.nan)[..., None]

    return bootstrap(by_document(moments, doc), correlation, **how)[0]


def _folds(doc: ndarray, folds: int, seed: int) -> Int[ndarray, " request"]:
    """A part for each document, the same for all its requests."""
    documents, index = np.unique(doc, return_inverse=True)
    if folds < 2 or len(documents) < max(folds, 3):
        raise InputError(
            f"{folds} folds of documents were asked for; there are {len(documents)} documents. No document "
            "is on both sides: give as many as folds, 3 or more, and 2 folds or more."
        )
    return np.random.default_rng(seed).permutation(np.arange(len(documents)) % folds)[index]


def _exchanged(doc: ndarray, seed: int) -> Int[ndarray, " request"]:
    """For every request one of another document: documents change places, what is inside stays together.

    Of documents with other numbers of requests the longer one is cut, the shorter one goes round.
    """
    rng = np.random.default_rng(seed)
    documents = np.unique(doc)
    rows = [np.flatnonzero(doc == own) for own in documents]
    found = np.empty(len(doc), int)
    for own, other in zip(rows, rng.permutation(len(rows)).tolist(), strict=True):
        found[own] = np.resize(rows[other], len(own))
    return found


def _checked(states: Any, y: Any) -> tuple[ndarray, ndarray]:
    states, y = np.asarray(states, float), np.asarray(y, float)
    if states.ndim != 2 or y.shape != states.shape[:1] or len(y) < 3:
        raise InputError(
            f"A predictor needs states [request, d] and one number a request, 3 requests or more; got shapes "
            f"{states.shape} and {y.shape}."
        )
    bad = int((~np.isfinite(states)).any(1).sum() + (~np.isfinite(y)).sum())
    if bad:
        raise InputError(f"{bad} of {len(y)} requests hold NaN or infinite values.")
    return states, y
