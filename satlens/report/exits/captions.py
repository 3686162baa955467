"""The words beside every chart of exits (see `satlens.report.chart.Caption`)."""

from satlens.report.chart import Caption, Charts
from satlens.report.exits import plots as exits_plots

CHARTS: Charts = {
    "exits_compute": exits_plots.compute,
    "exits_gain": exits_plots.gain,
    "exits_layers": exits_plots.layers,
    "exits_excess": exits_plots.excess,
    "exits_accuracy": exits_plots.accuracy,
    "exits_lens": exits_plots.lens,
    "exits_depth": exits_plots.depth,
}
"""Every chart of exits by its place in the template."""

CAPTIONS = {
    "exits_compute": Caption(
        "Agreement at the compute that is saved",
        "Every threshold of every policy, with the policy's own looks counted. Dotted: a coin that never "
        "leaves or leaves after the first block, and knows nothing. Star: the oracle.",
        "points left of 0 cost more than the full model; those below -30 % are not shown. A coin can mix any "
        "two points, so a policy is worth what lies above the dotted line.",
    ),
    "exits_gain": Caption(
        "What each policy gains",
        "Mean agreement over all savings of compute, above the coin, with intervals over documents. "
        "Thresholds are chosen on one half of the documents and read on the other.",
        "0 means that no threshold of the policy was worth using at its cost, at any saving: the coin does "
        "as well. Below 0, thresholds that seemed worth it were not.",
    ),
    "exits_layers": Caption(
        "Agreement at the layers that are saved",
        "The same as if looking cost nothing: only blocks are counted.",
        "a policy that reads scores pays the whole vocabulary at every look; here it does so for free.",
    ),
    "exits_excess": Caption(
        "Does the policy know which token?",
        "Agreement above that of the same exit layers dealt to the tokens at random, with intervals over "
        "documents.",
        "exits in the middle leave the most room: where every token leaves at once or never, there is "
        "nothing to deal.",
    ),
    "exits_accuracy": Caption(
        "The next token right",
        "Accuracy against the text, at the layers that are saved: the published comparison.",
        "the full model is often wrong itself, so an early answer that differs may be right by chance; "
        "agreement with the full model is the finer measure.",
    ),
    "exits_lens": Caption(
        "Linear shortcut or identity",
        "Softmax response with a decaying threshold, answers and scores from each lens. The shift puts the "
        "mean of the states right and learns no map.",
        "at equal agreement, what is further right saves more layers; the map itself costs a product of the "
        "width squared at every look, which layers do not count.",
    ),
    "exits_depth": Caption(
        "After which block do tokens leave?",
        "The share of tokens that leave after each block, at the threshold of each policy nearest to 95 % "
        "agreement; 0.3 and more have one colour.",
        "a policy with one dark column knows the layer, and little of the token.",
    ),
}

MISSING = {
    "exits_compute": "No policy was evaluated in this run.",
    "exits_gain": "The frontiers are not available in these results.",
    "exits_layers": "No policy was evaluated in this run.",
    "exits_excess": "No policy was evaluated in this run.",
    "exits_accuracy": "There is no next token to be right about: the model does not read from left to right.",
    "exits_lens": "No linear shortcut was fitted in this run (see the notes).",
    "exits_depth": "The exit layers are not available in these results.",
}
