"""The words beside every chart of a probe (see `satlens.report.chart.Caption`)."""

from satlens.report.chart import Caption, Charts
from satlens.report.probe import plots as probe_plots

CHARTS: Charts = {
    "probe_controls": probe_plots.controls,
    "probe_excess": probe_plots.excess,
    "probe_layers": probe_plots.layers,
    "probe_confusion": probe_plots.confusion,
    "probe_counts": probe_plots.counts,
}
"""Every chart of a probe by its place in the template."""

CAPTIONS = {
    "probe_controls": Caption(
        "Accuracy against every control",
        "Blue: the probe on the states, with its interval over documents. Below: what else reads the "
        "stage; each tick is one draw of a control, the square is a control that the verdict leaves "
        "out. The line is chance.",
        "far above chance is not yet a finding: hold the probe against the control furthest right. "
        "Accuracy says that the stage can be read from the state, not that the model reads it.",
    ),
    "probe_excess": Caption(
        "Accuracy above each control",
        "The probe's accuracy minus the control's, with its interval over documents: an interval "
        "right of 0 is something that this control does not explain.",
        "the published control (Gaussian noise) lacks everything that a state consists of, so the "
        "excess over it is large whatever the state holds. Untrained and path controls are cut to "
        "equal numbers of states first, so their bars do not stand for the difference of two points "
        "of the other chart.",
    ),
    "probe_layers": Caption(
        "Accuracy by layer",
        "Balanced accuracy of the states of one layer: of one probe for all layers, and of one probe "
        "for each.",
        "a probe of its own for each layer has more to fit with on fewer states; and layers differ in "
        "which tokens are left in each stage, so a rise need not mean that the state says more there.",
    ),
    "probe_confusion": Caption(
        "Which stage is taken for which",
        "A row is a true stage, a column what the probe says; rows sum to 1, the diagonal is right.",
        "neighbouring stages differ by one layer of the same token, so confusions beside the diagonal "
        "are close calls, and an even row is a stage that is not recognised at all.",
    ),
    "probe_counts": Caption(
        "States of each stage at each layer",
        "What there was to read before balancing. Layers whose rarest stage has too few states are "
        "shaded and not used; in the others every stage gives the same number.",
        "stages and layers go together by definition: without balancing inside each layer the layer "
        "number alone would read the stage.",
    ),
}

MISSING = {
    "probe_controls": "No control was available in this run: the accuracy has nothing to be held "
    "against.",
    "probe_excess": "No control was available in this run: there is nothing to be above of.",
    "probe_layers": "The accuracy by layer is not available in these results.",
    "probe_confusion": "The confusion of stages is not available in these results.",
    "probe_counts": "The counts by layer are not available in these results.",
}
