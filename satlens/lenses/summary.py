"""What early layers know of the final output through each lens, with its controls, in one table: `report`.

    shortcut_early, _middle, _late    shortcut - the better of identity and shift
    shortcut_as_published             shortcut - identity, all layers
    shortcut_explains_more            r2 of shortcut - r2 of identity, and of shift, in each run: the weakest
    attention_tolerates_best          linear maps in place of attention - of the best other part
    attention_map_beyond_mean         linear maps of attention - its mean output in their place

in precision@1 (but for r2) on held-out documents, each judged by the rule of `satlens.verdicts` in several
splits of the documents (one is one draw, which no interval knows of): where these do not agree, it cannot be
told. The layers 0 .. L - 2 are cut into three runs. The shift is the identity with its mean put right: what
is left over it, a linear map reads from the state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError, ModelError
from satlens.lenses.documents import FIRST_OF, SPLITS, split_several
from satlens.lenses.fitter import ShortcutFitter
from satlens.lenses.linear import LinearShortcut
from satlens.lenses.logit import LogitLens
from satlens.lenses.quality import Quality, measure
from satlens.lenses.regression import check_enough, check_rank, check_ridge
from satlens.lenses.submodule_maps import SubmoduleMaps
from satlens.lenses.submodules import WORDS
from satlens.lenses.summary_tables import to_dict
from satlens.lenses.tolerance import BY, method_name, tolerance
from satlens.lenses.trainer import TunedLensTrainer
from satlens.lenses.tuned import TunedLens
from satlens.models import Batches, wrap
from satlens.models.protocol import ResidualModel
from satlens.resampling import DRAWS, LEVEL
from satlens.verdicts import AS_PUBLISHED, HOLDS, agreed, judged

MARGIN = 0.02
"""Equivalence margin of every verdict: 2 of 100 tokens."""
LENSES = (
    "identity", "shift", "shortcut", "low_rank", "low_rank_residual", "one_map", "tuned", "mean",
    "shuffled",
)  # fmt: skip
"""In the order of the tables; "tuned" only where one was trained."""
RUNS = ("early", "middle", "late")
STEP_DOCUMENTS = 2
"""Windows in one training step of the tuned lens."""
STEP_TOKENS = 256


@dataclass(frozen=True, eq=False)
class ShortcutReport:
    """How well every lens reads the final output, by layer, and what a linear map may stand for.

    Attributes:
        test, train: the measures on held-out documents, and on as many of those that were fitted on.
        submodules: the measures with maps in place of sub-modules; None where they are not found.
        runs: layers by name: early, middle, late.
        verdicts: those of the module. by_split: the same of each split; all else is of the first.
        shortcut, tuned: the fitted lenses, ready to save; ``tuned`` None if none was trained.
        lenses: every lens that was measured.
        parts: documents and tokens of the two sides.
        notes: what a reader must know besides.
    """

    test: Quality
    train: Quality
    submodules: Quality | None
    runs: Mapping[str, tuple[int, ...]]
    verdicts: Sequence[dict[str, Any]]
    by_split: Sequence[Sequence[dict[str, Any]]]
    shortcut: LinearShortcut
    tuned: TunedLens | None
    lenses: Mapping[str, Any] = field(repr=False)
    parts: Mapping[str, Batches] = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: split, layers, runs, lenses, gains, submodules, verdicts, by_split,
        settings, notes.
        """
        return to_dict(self)


def report(
    model: Any,
    inputs: Any,
    *,
    test_share: float = 0.3,
    splits: int = SPLITS,
    ridge: float = 0.0,
    intercept: bool = False,
    rank: int | None = None,
    tuned_steps: int = 150,
    submodule_tokens: int = 1_000,
    submodule_layers: int = 8,
    batch_size: int = 8,
    seed: int = DEFAULT_SEED,
    margin: float = MARGIN,
    draws: int = DRAWS,
    progress: bool = False,
) -> ShortcutReport:
    """Fit every lens on some documents, and measure all of them on the others.

    Args:
        model, inputs, batch_size, progress: as in `satlens.detect`; inputs may be `Batches`.
        test_share: share of the documents that nothing is fitted on.
        splits: of the documents, whose verdicts must agree; everything else is of the first.
        ridge, intercept: of the shortcuts and of the maps of sub-modules.
        rank: of the maps of low rank; an eighth of the width if not given.
        tuned_steps: training steps of the tuned lens, of at most 256 tokens each; 0 for none.
        submodule_tokens: held-out documents are read with sub-modules replaced up to this many tokens;
            0 for none.
        submodule_layers: behind at most this many layers, evenly spread.
        margin: a difference in precision this small is too small to speak of.

    Raises:
        InputError: unusable settings, fewer than two documents, or fewer states than coordinates
            without ridge (with both numbers).

    Source: Yom Din et al. 2023, sections 3 and 6; the shift, the mean and the shuffled pairs are ours.

    Example:
        >>> import satlens
        >>> texts = ["Lily had a red ball. " * 9, "One day a dog ran away. " * 9, "Tom was sad. " * 9]
        >>> found = satlens.lenses.report(
        ...     satlens.load_model("tiny"), texts, splits=1, ridge=0.01, tuned_steps=0, submodule_tokens=0,
        ...     draws=50,
        ... )
        >>> [one["id"] for one in found.verdicts]  # doctest: +NORMALIZE_WHITESPACE
        ['shortcut_early', 'shortcut_middle', 'shortcut_late', 'shortcut_as_published',
         'shortcut_explains_more']
    """
    model = wrap(model)
    rank = max(1, model.d_model // 8) if rank is None else rank
    _check(model, ridge, rank, splits, tuned_steps, submodule_tokens, submodule_layers, margin)
    batches = inputs if isinstance(inputs, Batches) else model.batches(inputs, batch_size)
    (test, train), *others = split_several(batches, test_share, seed, splits)
    for part in (train, *(one for _, one in others)):
        check_enough(part.n_tokens, model.d_model, ridge, intercept, "one layer to the last")
    lenses, notes = _fitted(model, train, ridge, intercept, rank, seed, progress)
    if tuned_steps:
        trainer = TunedLensTrainer(model, tokens=STEP_TOKENS, seed=seed)
        few = replace(train, batch_size=STEP_DOCUMENTS)
        lenses["tuned"] = trainer.fit(few, steps=tuned_steps, progress=progress).lens()
    lenses = {name: lenses[name] for name in LENSES if name in lenses}
    how: dict[str, Any] = {"draws": draws, "seed": seed, "progress": progress}
    quality = measure(model, test, lenses, **how)
    seen = measure(model, train.first(test.n_tokens), lenses, **how)
    places = (submodule_tokens, submodule_layers, ridge, intercept)
    submodules, more = _submodules(model, train, test, *places, how)
    runs = runs_of(quality.layers)
    by_split = [_verdicts(quality, submodules, runs, margin)]
    for held_out, training in others:
        fitter = ShortcutFitter(model).fit(training)
        judging = {
            "identity": lenses["identity"],
            "shift": fitter.shift(),
            "shortcut": fitter.shortcut(ridge=ridge, intercept=intercept),
        }
        read = measure(model, held_out, judging, **how)
        replaced = _submodules(model, training, held_out, *places, how)[0]
        by_split.append(_verdicts(read, replaced, runs, margin))
    more += [FIRST_OF.format(splits)] if others else []
    verdicts = [agreed(same, "splits of the documents") for same in zip(*by_split, strict=True)]
    return ShortcutReport(
        test=quality, train=seen, submodules=submodules, runs=runs, verdicts=verdicts,
        by_split=by_split, shortcut=lenses["shortcut"], tuned=lenses.get("tuned"), lenses=lenses,
        parts={"train": train, "test": test}, notes=[*notes, *_overflowed(quality, "read"), *more],
        settings={
            "model": model.name, "test_share": test_share, "splits": splits, "ridge": ridge,
            "intercept": intercept, "rank": rank, "tuned_steps": tuned_steps,
            "submodule_tokens": submodule_tokens, "submodule_layers": submodule_layers,
            "seed": seed, "margin": margin, "bootstrap_draws": draws, "level": LEVEL,
        },
    )  # fmt: skip


def _fitted(
    model: ResidualModel, train: Batches, ridge: float, intercept: bool, rank: int, seed: int,
    progress: bool,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    """Every lens that needs moments alone, from one pass."""
    fitter, shuffled = ShortcutFitter(model), ShortcutFitter(model, shuffle=seed)
    with tqdm(
        total=train.n_tokens, desc=f"fit, {model.name}", unit=" tokens", disable=not progress
    ) as bar:
        for batch in train:
            if batch.real.any():
                states = model.states(batch, logits=False)
                fitter.update(states)
                shuffled.update(states)
                bar.update(len(states.pos))
    own: dict[str, Any] = {"ridge": ridge, "intercept": intercept}
    shortcut = fitter.shortcut(**own)
    lenses = {
        "identity": LogitLens(model),
        "shift": fitter.shift(),
        "shortcut": shortcut,
        "low_rank": fitter.shortcut(**own, rank=rank),
        "low_rank_residual": fitter.shortcut(**own, rank=rank, residual=True),
        "one_map": fitter.shortcut(**own, rank=rank, shared="map"),
        "mean": fitter.mean_state(),
        "shuffled": shuffled.shortcut(**own),
    }
    few = {k: n for k, n in shortcut.settings["directions"].items() if n < model.d_model}
    if not few:
        return lenses, []
    said = ", ".join(f"layer {layer}: {n}" for layer, n in list(few.items())[:5])
    return lenses, [
        f"States vary in fewer than d = {model.d_model} directions ({said}"
        f"{', ..' if len(few) > 5 else ''}); the maps give no weight to the others."
    ]


def _submodules(
    model: ResidualModel, train: Batches, test: Batches, tokens: int, layers: int, ridge: float,
    intercept: bool, how: Mapping[str, Any],
) -> tuple[Quality | None, list[str]]:  # fmt: skip
    if not tokens:
        return None, []
    try:
        maps = SubmoduleMaps.fit(
            model, train, ridge=ridge, intercept=intercept, progress=how["progress"]
        )
    except ModelError as missing:
        return None, [f"Sub-modules: not available. {missing}"]
    every = np.arange(model.n_layers - 1)
    at = every[np.linspace(0, len(every) - 1, min(layers, len(every))).round().astype(int)]
    part = test.first(tokens)
    quality = tolerance(model, part, maps, layers=at.tolist(), **how)
    return quality, _overflowed(quality, "replaced")


def _overflowed(quality: Quality, done: str) -> list[str]:
    """A note for every method whose states are not finite somewhere."""
    notes = []
    for name, lost in zip(quality.methods, quality.sums.lost, strict=True):
        layers = [str(layer) for layer, n in zip(quality.layers, lost.tolist(), strict=True) if n]
        if layers:
            notes.append(
                f"{name} {done} behind layer {', '.join(layers)}: the states of up to {int(lost.max()):,} "
                f"of {quality.tokens:,} tokens overflow. Such a token counts as not told, and has no KL."
            )
    return notes


def runs_of(layers: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The layers in three runs; in one, where there are fewer than three.

    >>> runs_of([0, 1, 2, 3])
    {'early': (0, 1), 'middle': (2,), 'late': (3,)}
    """
    if len(layers) < len(RUNS):
        return {"all": tuple(layers)}
    parts = np.array_split(np.array(layers), len(RUNS))
    return {name: tuple(part.tolist()) for name, part in zip(RUNS, parts, strict=True)}


def _verdicts(
    quality: Quality,
    submodules: Quality | None,
    runs: Mapping[str, tuple[int, ...]],
    margin: float,
) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for name, layers in runs.items():
        best, ahead = quality.over_best("shortcut", ("identity", "shift"), "precision@1", layers)
        first, last = layers[0], layers[-1]
        span = f"layer {first}" if len(layers) == 1 else f"layers {first} to {last}"
        effect = f"precision@1 above the {best}"
        made.append(judged(
            f"shortcut_{name}",
            f"A linear shortcut tells the final top-1 better than the logit lens, shifted or not, {span}.",
            (effect, ahead), margin, best,
        ))  # fmt: skip
    published = quality.difference("shortcut", "identity", "precision@1", quality.layers)[0]
    one = judged(
        "shortcut_as_published",
        "A linear shortcut tells the final top-1 better than the identity, all layers together.",
        ("precision@1 above the identity", published), margin, "identity",
    )  # fmt: skip
    if one["verdict"] == HOLDS and not any(v["verdict"] == HOLDS for v in made):
        one["verdict"] = AS_PUBLISHED
        one["why"] += " In no run of layers is it above the shift as well."
    made += [one, _explains_more(quality, runs, margin)]
    if submodules is not None:
        made += _submodule_verdicts(submodules, margin)
    return made


def _explains_more(
    quality: Quality, runs: Mapping[str, tuple[int, ...]], margin: float
) -> dict[str, Any]:
    """In every run and over both controls: the weakest effect, and the largest p (needs no correction)."""
    found = {
        (control, name): quality.difference("shortcut", control, "r2", layers)[0]
        for control in ("identity", "shift") for name, layers in runs.items()
    }  # fmt: skip
    (control, name), weakest = min(
        found.items(), key=lambda item: item[1].low if np.isfinite(item[1].low) else -np.inf
    )
    return judged(
        "shortcut_explains_more",
        "A linear shortcut explains more of the final state than the identity, shifted or not, everywhere.",
        (f"r2 above the {control}, {name} layers", weakest), margin, control,
        p=float(np.max([one.p for one in found.values()])),
    )  # fmt: skip


def _submodule_verdicts(quality: Quality, margin: float) -> list[dict[str, Any]]:
    others = [name for name in quality.methods if name in ("norm1", "norm2", "mlp")]
    best, ahead = quality.over_best("attention", others, "precision@1", quality.layers)
    beyond = quality.difference(
        "attention", method_name("attention", BY[1]), "precision@1", quality.layers
    )[0]
    return [
        judged(
            "attention_tolerates_best",
            "With linear maps in place of one kind of sub-module, the final top-1 is kept best where the "
            "kind is attention.",
            (f"precision@1 above that of the {WORDS[best]}", ahead), margin, WORDS[best],
        ),
        judged(
            "attention_map_beyond_mean",
            "A linear map stands for attention better than the mean of what attention writes.",
            ("precision@1 above the mean output", beyond), margin, "mean output",
        ),
    ]  # fmt: skip


def _check(
    model: ResidualModel, ridge: float, rank: int, splits: int, tuned_steps: int,
    submodule_tokens: int, submodule_layers: int, margin: float,
) -> None:  # fmt: skip
    """Everything cheap is refused before a forward pass is paid for."""
    if model.n_layers < 2:
        raise InputError(f"{model.name} has one block: there is no earlier layer to read.")
    check_ridge(ridge)
    check_rank(rank, model.d_model)
    least = {"splits": (splits, 1), "tuned_steps": (tuned_steps, 0),
             "submodule_tokens": (submodule_tokens, 0),
             "submodule_layers": (submodule_layers, 1)}  # fmt: skip
    for name, (value, low) in least.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise InputError(f"{name} must be a whole number of at least {low}, got {value!r}.")
    if not margin > 0:
        raise InputError(f"margin must be above 0, got {margin}.")
