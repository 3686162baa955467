"""The words beside every chart of a shortcut (see `satlens.report.chart.Caption`)."""

from satlens.report.chart import Caption, Charts
from satlens.report.shortcut import plots as shortcut_plots

CHARTS: Charts = {
    "shortcut_precision": shortcut_plots.precision,
    "shortcut_gain": shortcut_plots.gain,
    "shortcut_kl": shortcut_plots.kl,
    "shortcut_r2": shortcut_plots.r2,
    "shortcut_submodules": shortcut_plots.submodules,
    "shortcut_saturation": shortcut_plots.saturation,
}
"""Every chart of a shortcut by its place in the template."""

CAPTIONS = {
    "shortcut_precision": Caption(
        "How often is the final top-1 told?",
        "Precision@1 of every lens behind every layer, on documents that nothing was fitted on, with "
        "intervals over documents. Grey broken lines: lenses that know nothing of their token.",
        "agreement with the model is not being right: no next token is looked at. A lens that always says "
        "a frequent token is in agreement as often as that token is the answer.",
    ),
    "shortcut_gain": Caption(
        "Above the identity",
        "The same minus the logit lens's, on the same tokens. The shift only puts the mean of a state "
        "right: what lies above its line, the map reads from the state.",
        "the intervals take the fitted maps as given: they say how much hangs on which documents were "
        "read, not on which ones were fitted on.",
    ),
    "shortcut_kl": Caption(
        "How far from the final output?",
        "The divergence from the model's own next-token distribution to that of the lens, in nats: 0 is "
        "the same distribution.",
        "the tuned lens is trained on exactly this; a lens can be ahead here and behind in precision.",
    ),
    "shortcut_r2": Caption(
        "How much of the final state?",
        "The share of the final state's variance that is explained, mean over its coordinates. This is "
        "what a linear shortcut is fitted to.",
        "every coordinate weighs the same, however little it says about the output; and below 0 means "
        "worse than the mean state.",
    ),
    "shortcut_submodules": Caption(
        "Which sub-module tolerates a linear map?",
        "How often the model keeps its final top-1 when one kind of sub-module is replaced in all blocks "
        "behind a layer. Solid: by linear maps of what it reads; dotted: by the mean of what it writes.",
        "a part that does little is missed little, whatever stands in its place: hold each solid line "
        "against its dotted one. A linear map of attention sees its own position only.",
    ),
    "shortcut_saturation": Caption(
        "Saturation through each lens",
        "The mean saturation layer of each rank when the layers are read through another lens. The final "
        "ranking is the model's own in all of them.",
        "a lens that is nearer to the end earlier fixes the ranks earlier: when a token is fixed is a "
        "matter of model and lens together.",
    ),
}

MISSING = {
    "shortcut_precision": "The precision by layer is not available in these results.",
    "shortcut_gain": "No difference from the identity is available in these results.",
    "shortcut_kl": "The divergence by layer is not available in these results.",
    "shortcut_r2": "No share of the final state is available in these results.",
    "shortcut_submodules": "The sub-modules were not replaced in this run, or were not found in this model: "
    "see the notes.",
    "shortcut_saturation": "The saturation layers through each lens are not available in these results.",
}
