"""The words beside every chart of a route run (see `satlens.report.chart.Caption`)."""

from satlens.report.chart import Caption, Charts
from satlens.report.route import plots as route_plots

CHARTS: Charts = {
    "route_loss": route_plots.loss,
    "route_blocks": route_plots.blocks,
    "route_correlation": route_plots.correlation,
}
"""Every chart of a route run by its place in the template."""

CAPTIONS = {
    "route_loss": Caption(
        "Loss against what is saved",
        "Each lambda and seed four ways, at the saving of its hard gates, with intervals over "
        "held-out documents. Blue: tokens that skip are not computed; squares: as many skipped at "
        "random; diamonds: early exit at as many blocks.",
        "soft gates compute everything and save nothing: they stand at the saving of the hard "
        "ones. Operations saved are not time saved.",
    ),
    "route_blocks": Caption(
        "Who skips a block",
        "Blue: of the tokens whose rank 1 is fixed before the block, the share that skips it; "
        "dashed: of the others; dotted: how many are fixed.",
        "both kinds of token differ in much besides: in how frequent they are, in their loss, in "
        "where they stand.",
    ),
    "route_correlation": Caption(
        "Skipping and saturation",
        "Rank correlation of how much a token is told to skip and how many blocks come after its "
        "rank 1: plain, given frequency, loss and position, and that minus the same of other ways "
        "into the same end.",
        "a correlation is no cause: the router reads the state, and so does the lens.",
    ),
}

MISSING = {
    "route_loss": "The losses are not available in these results.",
    "route_blocks": "No block could be skipped in these results.",
    "route_correlation": "The correlation is not defined: the router says the same of every token, "
    "or all are fixed at one layer.",
}
