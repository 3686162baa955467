"""The words beside every chart of a rerank (see `satlens.report.chart.Caption`)."""

from satlens.report.chart import Caption, Charts
from satlens.report.rerank import plots as rerank_plots

CHARTS: Charts = {
    "rerank_lead": rerank_plots.by_lead,
    "rerank_sweep": rerank_plots.sweep,
    "rerank_gains": rerank_plots.gains,
    "rerank_excess": rerank_plots.excess,
    "rerank_loss": rerank_plots.loss,
    "rerank_accuracy": rerank_plots.accuracy,
}
"""Every chart of a rerank by its place in the template."""

CAPTIONS = {
    "rerank_lead": Caption(
        "How often is rank 2 right?",
        "Positions whose top-1 is wrong, by how early rank 2 was fixed. Blue: how often it is the next "
        "token; dashed: how often it would be by the model's own final probability.",
        "a rise of the blue line by itself says only that likelier ranks are fixed earlier: hold it "
        "against the dashed one. The rightmost points are of few positions.",
    ),
    "rerank_sweep": Caption(
        "Early against fixed only at the last layer",
        "Dashed: the published difference of the two shares, at every gap in place of one. Blue: the same "
        "difference among positions of like final probability, entropy and margin.",
        "neighbouring gaps share most of their positions, so many intervals above 0 are not many "
        "findings. Large gaps rest on few positions.",
    ),
    "rerank_gains": Caption(
        "Right more often when early, given the final output?",
        "Share right per standard deviation (SD) of how early, once the final output's say is taken off "
        "both. Blue: rank 2, with its interval over documents; ticks: draws of layers that know nothing "
        "of the question.",
        "it is adjusted for what is listed, smoothly: something else of the final output may be left in it. "
        "Ranks below 2 are no part of the verdict.",
    ),
    "rerank_excess": Caption(
        "Gain of rank 2 above each null",
        "The real layers minus the null, at the same positions, with the interval over documents.",
        "path nulls keep the final state and all distances to it, so what they share with the real layers "
        "is what converging gives; they are drawn for the first documents only.",
    ),
    "rerank_loss": Caption(
        "Loss saved on held-out documents",
        "Beyond temperature, each against the one it is named with, at the same positions. Blue: the "
        "saturation layers against the same reranker without them, and with those of other positions.",
        "what temperature or the ranks themselves save is not the layers' merit: only the blue points are "
        "about them.",
    ),
    "rerank_accuracy": Caption(
        "Top-1 accuracy gained on held-out documents",
        "The same for the share of positions whose largest probability is the next token's.",
        "temperature cannot change it; and the fits lower the loss, which may cost accuracy.",
    ),
}

MISSING = {
    "rerank_lead": "Rank 2 was not followed, or top-1 was never wrong.",
    "rerank_sweep": "No gap has positions on both sides: ranks are fixed at one layer only.",
    "rerank_gains": "No rank is right often enough for a gain (see the notes).",
    "rerank_excess": "No null gave a number in this run: there is nothing to be above of.",
    "rerank_loss": "The losses are not available in these results.",
    "rerank_accuracy": "The accuracies are not available in these results.",
}
