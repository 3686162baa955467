"""The words beside every chart of a depth run (see `satlens.report.chart.Caption`)."""

from satlens.report.chart import Caption, Charts
from satlens.report.depth import plots as depth_plots

CHARTS: Charts = {"depth_used": depth_plots.used, "depth_left": depth_plots.left}
"""Every chart of a depth run by its place in the template."""

CAPTIONS = {
    "depth_used": Caption(
        "Blocks used until a rank is fixed",
        "Blue: this model, with intervals over documents; dashed: an untrained model of the same shape; "
        "grey: other ways into the same end.",
        "a rank seen fixed only at the output counts as using every block, so the points are lower bounds. "
        "The theory's threshold holds up to constants and says nothing of when an answer is fixed.",
    ),
    "depth_left": Caption(
        "Depth left after a rank, above other paths",
        "The share of the blocks that comes after the rank is fixed, minus that of a path which keeps each "
        "token's end and its distances to it.",
        "below 0 the model fixes the rank later than such a path would. Blocks that come after rank 1 still "
        "move the probabilities and the other ranks.",
    ),
}

MISSING = {
    "depth_used": "The blocks used are not available in these results.",
    "depth_left": "No path null could be drawn in this run (see the notes).",
}
