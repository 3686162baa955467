"""The words beside every chart of an audit (see `satlens.report.chart.Caption`)."""

from satlens.report.audit import plots
from satlens.report.chart import Caption, Charts

CHARTS: Charts = {
    "survival": lambda results: plots.survival(results, "trained"),
    "histogram": plots.histogram,
    "rank_to_place": plots.rank_to_place,
    "pairs": plots.pairs,
    "concordance": lambda results: plots.against_nulls(results, "concordance"),
    "excess": plots.excess,
    "strict_tau": lambda results: plots.against_nulls(results, "strict_tau"),
    "mean_layers": plots.mean_layers,
    "survival_untrained": lambda results: plots.survival(results, "untrained"),
}
"""Every chart of an audit by its place in the template."""

CAPTIONS = {
    "survival": Caption(
        "Share of tokens fixed by each layer",
        "A curve further left is a rank fixed earlier; bands are intervals over documents.",
        "what is missing to 100 % before the output is censored, it is not known to be late.",
    ),
    "histogram": Caption(
        "Tokens per saturation layer",
        "Each bar counts the tokens whose rank is fixed from that layer on; the hatched bar holds the "
        "censored ones, seen fixed only at the output.",
        "a high hatched bar is the end of what can be seen, not a layer where much happens.",
    ),
    "rank_to_place": Caption(
        "Place of each rank's saturation layer",
        "As published: for each rank, the mean place of its saturation layer among the token's own; on "
        "the diagonal every token would be in perfect order.",
        "any path that converges rises here, so a rise alone is no finding; ranks fixed only at the output "
        "are left out and equal layers share the lowest place, which pulls every line down.",
    ),
    "pairs": Caption(
        "Concordance of each pair of ranks",
        "The share of tokens at which the upper rank is fixed before the lower one, ties counting half: "
        "above 0.5 the pair is in order, below it the pair is reversed.",
        "neighbouring ranks are often censored together, and then fewer tokens are behind a number.",
    ),
    "concordance": Caption(
        "Concordance against its nulls",
        "The point is this model with its interval over documents; each tick is one draw of a null, the "
        "bar its middle 95 %, an open circle this model on that null's own tokens. Concordance is the share "
        "of comparable pairs of ranks fixed in order, a tie counting half; pairs with both ranks censored "
        "are not comparable.",
        "a null far to the left only says that it is weak; hold the point against the path nulls.",
    ),
    "excess": Caption(
        "Excess over each null",
        "This model's concordance minus the null's, with its interval over documents: an interval right "
        "of 0 is order beyond what that null gives.",
        "the path nulls keep gaps and distances but no null keeps everything; the stricter one counts.",
    ),
    "strict_tau": Caption(
        "Strict tau against its nulls",
        "The same picture for the mean strict tau over all tokens, where a tie counts against the order.",
        "ranks censored together are ties here, so shallow models fall below 0 whatever their order.",
    ),
    "mean_layers": Caption(
        "Mean saturation layer per rank",
        "Filled: trained, with intervals over documents; open: untrained; lines: the path nulls.",
        "censored tokens count as the last layer, so every mean is a lower bound, most of all near the top.",
    ),
    "survival_untrained": Caption(
        "Share of tokens fixed by each layer, untrained",
        "The same curves for fresh weights of the same shape: what the architecture does by itself.",
        "an untrained model has nothing to decide, so early or late fixing there carries no meaning.",
    ),
}

_NO_FRESH = (
    "No untrained model was run beside this one, so there is nothing to hold it against here."
)
_NO_NULL = "No null was drawn in this run: the statistic has nothing to be held against."
MISSING = {
    "survival": "The saturation curves are not available in these results.",
    "histogram": "The counts per saturation layer are not available in these results.",
    "rank_to_place": "With fewer than two ranks followed there is no order of ranks to draw.",
    "pairs": "The concordance of single pairs of ranks is not available in these results.",
    "concordance": _NO_NULL,
    "excess": _NO_NULL,
    "strict_tau": _NO_NULL,
    "mean_layers": "The mean saturation layers are not available in these results.",
    "survival_untrained": _NO_FRESH,
    "heatmap": "No document was kept for the token heatmap in this run.",
}
