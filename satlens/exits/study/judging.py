"""What the papers say of exits, held against a study: the verdicts.

    stage_exit               agreement at equal compute: area of the stage probe - that of the best other
        _as_published        accuracy at equal layers: the same against softmax response and state saturation
    shortcut_saves_layers    layers saved at 95 % agreement: linear shortcut - logit lens, shifted or not
        _as_published        the same against the logit lens alone
                             (softmax response with a decaying threshold)

each judged by the rule of `satlens.verdicts`; the best other one is found anew in every draw.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from satlens.exits.frontier import Comparison, compare
from satlens.exits.halves import Entry
from satlens.exits.policies import SoftmaxResponse, StageExit, StateSaturation
from satlens.exits.result import Evaluation
from satlens.resampling import Estimate, finite
from satlens.verdicts import AS_PUBLISHED, HOLDS, UNKNOWN, rule

MARGIN = 0.02
"""Equivalence margin of every verdict: 2 of 100 tokens, or 2 % of the layers."""
COIN = "a coin between never and at once"
"""What the best other policy is called where it gains nothing over the line."""
STAGE, DECAYING, PER_LAYER = (
    StageExit.name, "softmax response, decaying", "classifier, one a layer",
)  # fmt: skip
PUBLISHED = (SoftmaxResponse.name, StateSaturation.name)
"""What the stage probe was compared with."""
LOGIT, SHORTCUT, UNTRAINED, SHIFT = "logit", "shortcut", "untrained", "shift"
LENSES = {LOGIT: "the logit lens", SHIFT: "the logit lens with its mean put right"}
LEVEL = 0.95
"""The agreement at which savings of layers are published."""


@dataclass(frozen=True, eq=False)
class Study:
    """All policies with one lens on held-out documents.

    Attributes:
        agreement, layers, accuracy: frontiers of agreement over compute saved, of agreement over layers
            saved, and of accuracy over layers saved.
    """

    evaluation: Evaluation
    agreement: Comparison
    layers: Comparison
    accuracy: Comparison


def judge(
    studies: Mapping[str, Study], shifted: Evaluation | None, margin: float = MARGIN
) -> list[dict[str, Any]]:
    """The four verdicts of the module."""
    main = _main(studies[LOGIT], margin)
    published = _as_published(studies[LOGIT], margin, main["verdict"])
    return [main, published, *_shortcut(studies, shifted, margin)]


def _main(study: Study, margin: float) -> dict[str, Any]:
    compared, other = study.agreement, None
    if STAGE in compared.names:
        effect = compared.lead[compared.names.index(STAGE)]
        other = compared.best_other(STAGE)
        if abs(compared.gain.value[compared.names.index(other)]) < 5e-4:
            other = COIN
        found, why = rule(
            effect, margin, f"the mean agreement above the best other policy ({other})"
        )
        why += f" Savings from 0 to {compared.at[-1]:.0%} of the compute are compared."
    else:
        effect, found, why = _nothing()
    return _verdict(
        "stage_exit",
        "Leaving where a probe says that stage 2 has begun agrees with the full model more often than every "
        "other policy does at equal compute.",
        found, "mean agreement at equal compute above the best other policy", effect, why, other,
    )  # fmt: skip


def _as_published(study: Study, margin: float, main: str) -> dict[str, Any]:
    accuracy, other = study.accuracy, None
    if STAGE in accuracy.names and np.isfinite(accuracy.area.value).all():
        how = {key: accuracy.settings[key] for key in ("draws", "seed")}
        entries = {name: Entry(study.evaluation, name) for name in (STAGE, *PUBLISHED)}
        made = compare(entries, quality="accuracy", saving="layers_saved", **how)
        effect, other = made.lead[0], made.best_other(STAGE)
        found, why = rule(effect, margin, f"the mean accuracy above {other}")
        if found == HOLDS and main != HOLDS:
            found = AS_PUBLISHED
            why += (
                " Layers are counted as if looking cost nothing, and other policies are left out."
            )
    else:
        effect, found, why = _nothing()
    return _verdict(
        "stage_exit_as_published",
        "At an equal number of layers the stage probe gives the next token right more often than softmax "
        "response and state saturation do.",
        found, "mean accuracy at equal layers above the better of the two", effect, why, other,
    )  # fmt: skip


def _shortcut(
    studies: Mapping[str, Study], shifted: Evaluation | None, margin: float
) -> list[dict[str, Any]]:
    """Against the better of the two lenses that learn no map, and against the logit lens alone."""
    nothing = Estimate(np.nan, np.nan, np.nan, note="no linear shortcut")
    main, published, other = (nothing, UNKNOWN, ""), (nothing, UNKNOWN, ""), LOGIT
    if SHORTCUT in studies and shifted is not None:
        entries = {SHORTCUT: studies[SHORTCUT].evaluation, LOGIT: studies[LOGIT].evaluation,
                   SHIFT: shifted}  # fmt: skip
        how = {key: studies[LOGIT].layers.settings[key] for key in ("draws", "seed")}
        made = compare(
            {name: Entry(one, DECAYING) for name, one in entries.items()},
            saving="layers_saved", levels=(LEVEL,), **how,
        )  # fmt: skip
        other = max((LOGIT, SHIFT), key=lambda name: made.saved.value[made.names.index(name), 0])
        effect = made.saved_lead[0, 0]
        main = (effect, *rule(effect, margin, f"the share of layers saved beyond {LENSES[other]}"))
        effect = made.saved_difference[0, 1, 0]
        published = (
            effect,
            *rule(effect, margin, f"the share of layers saved beyond {LENSES[LOGIT]}"),
        )
        if published[1] == HOLDS and main[1] != HOLDS:
            published = (effect, AS_PUBLISHED, published[2])
    says = "at 95 % agreement, softmax response with a decaying threshold"
    return [
        _verdict(
            name, f"Linear shortcuts save more layers than {against}{says}{more}.", found,
            f"share of layers saved beyond {over} at 95 % agreement", effect,
            why or "No linear shortcut could be fitted (see the notes).", null,
        )
        for name, against, more, over, null, (effect, found, why) in (
            ("shortcut_saves_layers", "the logit lens, its mean put right or not, ", "",
             "the better of the two", LENSES[other], main),
            ("shortcut_saves_layers_as_published", "the logit lens ",
             " (published: 7.9 % of the layers of GPT-2)", "the logit lens", LENSES[LOGIT], published),
        )
    ]  # fmt: skip


def _nothing() -> tuple[Estimate, str, str]:
    effect = Estimate(np.nan, np.nan, np.nan, note="no stage probe")
    return effect, UNKNOWN, "No stage probe could be evaluated (see the notes)."


def _verdict(
    name: str, statement: str, found: str, effect_name: str, effect: Estimate, why: str,
    null: str | None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "id": name, "statement": statement, "verdict": found,
        "effect": {"name": effect_name, **effect.to_dict()}, "p": finite(effect.p), "why": why, "null": null,
    }  # fmt: skip
