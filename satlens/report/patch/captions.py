"""The words beside every chart of a patch (see `satlens.report.chart.Caption`)."""

from satlens.report.chart import Caption, Charts
from satlens.report.patch import plots as patch_plots

CHARTS: Charts = {
    "patch_published": patch_plots.published,
    "patch_forced": patch_plots.forced,
    "patch_advance": patch_plots.advance,
    "patch_excess": patch_plots.excess,
    "patch_kept": patch_plots.kept,
    "steer_forced": patch_plots.dose_response,
    "steer_transition": patch_plots.transition,
    "steer_kept": patch_plots.dose_kept,
}
"""Every chart of a patch by its place in the template."""

_SIDE = (
    "Points of one offset are set side by side to be told apart; bars are intervals over documents."
)

CAPTIONS = {
    "patch_published": Caption(
        "Published success, with the controls in it",
        "As published: the share of pairs whose recipient saturates at the patched layer and keeps "
        f"its top-1. Offset 0 is the donor's own saturation layer. {_SIDE}",
        "the rule is near-circular. Before offset 0 the state put in does not decode to the answer, "
        "so success is almost impossible; from offset 0 on it decodes to the answer by construction, "
        "and only persistence is tested. Rank 2, the next task, is not looked at.",
    ),
    "patch_forced": Caption(
        "Is the next stage forced?",
        "What the claim is about: the share of pairs whose rank 2 settles earlier than without the patch, "
        "with ranks 1 and 2 the recipient's own. Left out are pairs where the state put in comes from a "
        f"token of that very rank 2. {_SIDE}",
        "a small random push also makes some ranks settle a little earlier and others a little later: "
        "what counts is the distance to the controls.",
    ),
    "patch_advance": Caption(
        "Does rank 2 settle earlier?",
        "Layers by which rank 2 settles before it would have without the patch, whichever token it then "
        f"is. Above 0 it comes earlier. {_SIDE}",
        "a whole state brings its own rank 2 along, and any state that drops the token into a surer "
        "context makes ranks settle earlier. Censored ranks count as the last layer, which makes every "
        "number smaller.",
    ),
    "patch_excess": Caption(
        "Forced, beyond each control",
        "The share forced by the paired donor minus that by the control, over the same recipients. "
        "The verdict is taken at offset 0, against the strictest.",
        "to be above one control is not enough: an effect has to be above all of them.",
    ),
    "patch_kept": Caption(
        "Is the top-1 kept?",
        "The share of pairs whose final top-1 is what it was.",
        "a patch that changes the answer measures another token's course; a rank that settles earlier "
        "there is no step of this token.",
    ),
    "steer_forced": Caption(
        "Dose and response",
        "The direction of the next stage, alpha times as long as the mean difference, is added to the "
        "state of a token with layers of its stage left. The share whose stage ends at the very next "
        "layer, with the model's own answer. Bars are intervals over documents; the directions come from "
        "other documents than the tokens.",
        "a push in any direction ends some stages: what counts is the distance to directions that know "
        "nothing of the stage. The verdict is taken at alpha 1, against the strictest.",
    ),
    "steer_transition": Caption(
        "The stage ends, with whatever answer",
        "The share whose stage ends at the very next layer, whichever token is then at the top.",
        "any strong push fixes some answer at once.",
    ),
    "steer_kept": Caption(
        "What the push costs",
        "The share of tokens whose final top-1 is what it was, by strength.",
        "where the answer is lost, an earlier end of the stage is the stage of another answer.",
    ),
}

_NO_PAIR = "No pair could be patched in this run."
MISSING = {
    "patch_published": _NO_PAIR,
    "patch_forced": "With fewer than two ranks followed there is no rank 2 to look at.",
    "patch_advance": "With fewer than two ranks followed there is no rank 2 to look at.",
    "patch_excess": "With no control, or with fewer than two ranks followed, there is nothing to "
    "compare.",
    "patch_kept": _NO_PAIR,
    "steer_forced": "No token was steered in this run.",
    "steer_transition": "No token was steered in this run.",
    "steer_kept": "No token was steered in this run.",
}
