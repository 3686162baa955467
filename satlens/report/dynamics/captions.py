"""The words beside every chart of a dynamics run (see `satlens.report.chart.Caption`)."""

from satlens.report.chart import Caption, Charts
from satlens.report.dynamics import plots as dynamics_plots

CHARTS: Charts = {
    "dynamics_loss": dynamics_plots.loss,
    "dynamics_layers": dynamics_plots.layers,
    "dynamics_excess": dynamics_plots.excess,
}
"""Every chart of a dynamics run by its place in the template."""

CAPTIONS = {
    "dynamics_loss": Caption(
        "Loss through training",
        "Of the next token, in nats, at every checkpoint, with intervals over documents. Steps stand by "
        "their logarithm, step 0 in front.",
        "the loss is that of the text read here, which need not be like the training's.",
    ),
    "dynamics_layers": Caption(
        "Where each rank is fixed",
        "The mean layer from which on a rank holds its final token, at every checkpoint.",
        "a rank seen fixed only at the output counts with the last layer. The final answer itself changes "
        "from checkpoint to checkpoint: a later layer is of another, mostly better, answer.",
    ),
    "dynamics_excess": Caption(
        "Order above other ways into the same end",
        "Concordance of the ranks minus that of paths that keep each token's end and its distances to it. "
        "Order beyond converging is where both lie above the line of zero.",
        "paths are drawn for the first documents only, and one step among many may lie above 0 by chance: "
        "what counts is a step from which on all do.",
    ),
}

MISSING = {
    "dynamics_loss": "The loss is not available in these results.",
    "dynamics_layers": "The saturation layers are not available in these results.",
    "dynamics_excess": "No path null could be drawn in this run (see the notes).",
}
