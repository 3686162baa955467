"""Token-Selective Attention (2026): a learned router skips blocks token by token."""

from satlens.claims.claim import Claim, Paper, verdict

PAPER = Paper("Mohammed 2026", "Token-Selective Attention", "arXiv 2605.05222")


def _sparse(name: str, batch: str, found: str) -> Claim:
    """The claim on time, for one size of the batch."""
    return Claim(
        id=name,
        statement=f"Blocks that a trained router skips are saved time, {batch}.",
        paper=PAPER,
        section="sparse execution",
        protocol="Milliseconds of untrained networks with made-up routers, by batch size; no test.",
        test=(
            "The routers trained on the model decide, on held-out documents; seconds of the sparse "
            "and the dense forward in turns, the routers' own cost counted."
        ),
        controls=("the same plain functions, every token in every block",),
        study="sparse",
        evidence=verdict(found),
        takes=("text",),
    )


CLAIMS = (
    Claim(
        id="routing_keeps_the_loss",
        statement="A router saves layer operations without losing quality.",
        paper=PAPER,
        section="saving at matched loss",
        protocol=(
            "Soft gates (an update counts as saved by the share that is taken off), one seed."
        ),
        test=(
            "Hard gates, which is what can be left out, on a frozen model and on held-out "
            "documents: less than 0.01 nats a token are added."
        ),
        controls=("every token in every block",),
        study="route",
        evidence=verdict("hard_gates_keep_the_loss"),
        published=verdict("soft_gates_keep_the_loss_as_published"),
        takes=("text",),
    ),
    Claim(
        id="router_knows_where",
        statement="The router knows which tokens can do without which blocks.",
        paper=PAPER,
        section="what is routed",
        protocol="Shares of blocks by task, no test.",
        test="Loss of as many skips at random, minus that of the router's.",
        controls=("skipping at random",),
        study="route",
        evidence=verdict("router_beats_chance"),
        takes=("text",),
    ),
    Claim(
        id="routing_beats_early_exit",
        statement="Skipping blocks beats leaving early, in a model that was trained for neither.",
        paper=PAPER,
        section="early-exit baseline",
        protocol="Against a model that leaves early, whose first block is counted twice.",
        test=(
            "Loss of early exit of the same model at as many blocks, its threshold chosen on "
            "other documents, minus that of the router's skips."
        ),
        controls=("early exit",),
        study="route",
        evidence=verdict("router_beats_early_exit"),
        takes=("text",),
    ),
    Claim(
        id="router_skips_the_fixed",
        statement="The router skips a token once its answer is fixed.",
        paper=PAPER,
        section="not in the paper: what its picture of routing comes to",
        protocol="Not tested there.",
        test=(
            "Partial rank correlation of skipping and of the blocks left after saturation, "
            "given frequency, loss and position, over the stricter path."
        ),
        controls=("path rotated", "path exchanged"),
        study="route",
        evidence=verdict("router_skips_the_fixed_beyond_converging"),
        takes=("text",),
    ),
    _sparse("sparse_saves_time", "for a batch of 16", "sparse_16"),
    _sparse("sparse_saves_time_alone", "for a single text", "sparse_1"),
)
"""Every claim of the paper that can be asked of a trained model."""
