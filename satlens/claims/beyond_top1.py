"""Lioubashevski et al. 2025: Transformers determine top tokens in order, task by task."""

from satlens.claims.claim import Claim, Paper, verdict

PAPER = Paper(
    "Lioubashevski et al. 2025",
    "Looking Beyond the Top-1: Transformers Determine Top Tokens in Order",
    "arXiv 2410.20210, ICML 2025",
)
PATHS = ("ranks permuted", "path rotated", "path exchanged")


def _order(name: str, models: str, takes: tuple[str, ...]) -> Claim:
    return Claim(
        id=name,
        statement=f"In {models} the ranks of the final answer are fixed one after the other.",
        paper=PAPER,
        section="order of saturation",
        protocol=(
            "Tokens whose top-1 is fixed in the first 85 % of the layers; strict Kendall tau of "
            "each, ranks fixed only at the end cut off; layers shuffled within tokens 1,000 "
            "times."
        ),
        test=(
            "Concordance of the comparable pairs of ranks, over all tokens, with ranks fixed "
            "only at the output censored; its excess over the stricter of two paths into the "
            "same final state."
        ),
        controls=PATHS,
        study="audit",
        evidence=verdict("order_beyond_convergence"),
        published=verdict("order_as_published"),
        takes=takes,
    )


CLAIMS = (
    _order("order", "decoders of text", ("text",)),
    _order(
        "order_in_encoders", "encoders, and encoder-decoders, of text", ("masked text", "pairs")
    ),
    _order("order_in_vision", "vision Transformers", ("images",)),
    _order("order_in_speech", "models of speech", ("recordings", "speech")),
    Claim(
        id="order_in_untrained",
        statement="In untrained models, too, the first ranks are fixed in order.",
        paper=PAPER,
        section="untrained models",
        protocol=(
            "The same as for the trained ones, on randomly initialised GPT2-XL and Llama3-8B; "
            "it is reported for about the first 3 ranks."
        ),
        test=("The same as for the trained ones, on the same shape with fresh weights."),
        controls=PATHS,
        study="untrained",
        evidence=verdict("order_beyond_convergence"),
        published=verdict("order_as_published"),
    ),
    Claim(
        id="mean_layer_rises",
        statement="The mean saturation layer rises with rank.",
        paper=PAPER,
        section="order of saturation",
        protocol=(
            "The mean place of each rank among the k of its token; t-tests between neighbouring "
            "ranks."
        ),
        test="Page's trend test, with documents as its units.",
        controls=("ranks permuted",),
        study="audit",
        evidence=verdict("mean_layer_rises"),
    ),
    Claim(
        id="order_is_learned",
        statement="Trained models fix their ranks more in order than untrained ones.",
        paper=PAPER,
        section="untrained models",
        protocol="Side by side, no test.",
        test="Concordance minus that of untrained models on the same tokens.",
        controls=("untrained model",),
        study="audit",
        evidence=verdict("more_than_untrained"),
    ),
    Claim(
        id="stage_decodable",
        statement="The residual state says which rank is being worked out.",
        paper=PAPER,
        section="task-transition probe",
        protocol=(
            "One-vs-rest logistic regression of the next rank to be fixed; 5 folds over rows; "
            "against noise with the mean and the spread of the class."
        ),
        test="The same, folds by document, over the strictest of the controls.",
        controls=(
            "layer number alone",
            "labels shuffled",
            "margins and entropy",
            "token identity",
            "control task",
            "untrained model",
            "path rotated",
            "path exchanged",
        ),
        study="probe",
        evidence=verdict("stage_decodable"),
        published=verdict("stage_decodable_as_published"),
    ),
    Claim(
        id="transition_by_patching",
        statement=("A state put in from a token that is a stage ahead starts the next stage."),
        paper=PAPER,
        section="intervention",
        protocol=(
            "The state of an early token into a late one with the same top-1; a success if the "
            "late one now saturates at the patched layer."
        ),
        test=(
            "Rank 2 is fixed earlier, with the token's own answer kept, over the strictest control."
        ),
        controls=(
            "its own state",
            "donor not yet saturated",
            "random donor",
            "pairs shuffled",
            "random direction",
        ),
        study="patch",
        evidence=verdict("transition_by_patching"),
        published=verdict("transition_by_patching_as_published"),
    ),
    Claim(
        id="transition_by_steering",
        statement="A direction leads from one stage to the next.",
        paper=PAPER,
        section="intervention",
        protocol="Not tested there: it follows from stages that a linear probe reads.",
        test=(
            "The mean difference of two stages, added: stage 2 starts, with the token's own "
            "answer kept, over the strictest other direction of the same length."
        ),
        controls=("labels shuffled", "random direction", "path rotated", "path exchanged"),
        study="patch",
        evidence=verdict("transition_by_steering"),
    ),
    Claim(
        id="stage_exit",
        statement="Leaving where stage 2 begins is better than other early exits.",
        paper=PAPER,
        section="early exit",
        protocol=(
            "The next token is right more often, at an equal number of layers, than with "
            "softmax response or saturated states."
        ),
        test=(
            "Agreement with the full model at equal compute, the policy's own cost counted, "
            "over the best of all other policies; on documents that chose no threshold."
        ),
        controls=(
            "softmax response",
            "state saturation",
            "classifier",
            "patience",
            "fixed layers",
            "random depth",
        ),
        study="exits",
        evidence=verdict("stage_exit"),
        published=verdict("stage_exit_as_published"),
        takes=("text", "pairs"),
    ),
    Claim(
        id="early_rank_right",
        statement=("Where top-1 is wrong, rank 2 is right more often if it was fixed early."),
        paper=PAPER,
        section="language modelling",
        protocol=(
            "Fixed 7 or more layers before the end, against fixed only at the last: a "
            "two-proportion test."
        ),
        test=(
            "Given what the final output says of rank 2 (its probability, the entropy, the "
            "margin), over layers shuffled among positions of like output, and over paths and "
            "an untrained model."
        ),
        controls=("layers shuffled", "path rotated", "path exchanged", "untrained model"),
        study="rerank",
        evidence=verdict("early_rank_right_beyond_converging"),
        published=verdict("early_rank_right_as_published"),
        takes=("text",),
    ),
)
"""Every claim of the paper."""
