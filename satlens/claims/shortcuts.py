"""Yom Din et al. 2023: linear maps from early layers to the end tell the answer."""

from satlens.claims.claim import Claim, Paper, all_of, verdict

PAPER = Paper(
    "Yom Din et al. 2023",
    "Jump to Conclusions: Short-Cutting Transformers With Linear Transformations",
    "arXiv 2303.09435",
)

CLAIMS = (
    Claim(
        id="shortcut_tells_more",
        statement=("A linear map to the end tells the answer better than no map, at every depth."),
        paper=PAPER,
        section="precision@k and surprisal",
        protocol=(
            "Least squares without an intercept, one position a sentence, against the identity."
        ),
        test=(
            "precision@1 on held-out documents in the early, the middle and the late layers "
            "alike, over the better of the identity and the identity with its mean put right."
        ),
        controls=("identity", "mean put right"),
        study="shortcut",
        evidence=all_of("shortcut_early", "shortcut_middle", "shortcut_late", "shortcut_all"),
        published=verdict("shortcut_as_published"),
    ),
    Claim(
        id="shortcut_explains_more",
        statement="A linear map to the end explains more of the final state than no map, at every depth.",
        paper=PAPER,
        section="r2 of the final state",
        protocol="r2 over coordinates, side by side with the identity, by layer.",
        test=(
            "r2 on held-out documents in the early, the middle and the late layers alike, over the "
            "identity and over the identity with its mean put right."
        ),
        controls=("identity", "mean put right"),
        study="shortcut",
        evidence=verdict("shortcut_explains_more"),
    ),
    Claim(
        id="shortcut_saves_layers",
        statement=("Linear maps save more layers than no map, at 95 % of the decisions kept."),
        paper=PAPER,
        section="early exit",
        protocol=(
            "Softmax response with a threshold that falls with the position; 7.9 % of the "
            "layers more than with the identity (GPT-2), 5.4 % (BERT)."
        ),
        test=(
            "The same rule on documents that chose no threshold, over the better of the "
            "identity and the identity with its mean put right."
        ),
        controls=("identity", "mean put right"),
        study="exits",
        evidence=verdict("shortcut_saves_layers"),
        published=verdict("shortcut_saves_layers_as_published"),
        takes=("text", "pairs"),
    ),
    Claim(
        id="attention_tolerates_best",
        statement="Of all sub-modules, attention can best be replaced by a linear map.",
        paper=PAPER,
        section="linear maps of sub-modules",
        protocol=(
            "One map for each attention, feed-forward network and norm from a layer on; "
            "precision@k, side by side."
        ),
        test="precision@1 on held-out documents above that of the best other kind.",
        controls=("MLP", "norms"),
        study="shortcut",
        evidence=verdict("attention_tolerates_best"),
    ),
)
"""Every claim of the paper."""
