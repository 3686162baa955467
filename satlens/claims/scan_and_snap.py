"""Tian et al. 2023: how one attention layer learns which tokens to read, and then freezes."""

from satlens.claims.claim import Claim, Paper, all_of, verdict

PAPER = Paper(
    "Tian et al. 2023",
    "Scan and Snap: Understanding Training Dynamics and Token Composition in 1-layer Transformer",
    "arXiv 2305.16380",
)
_PROTOCOL = (
    "Proved for long sequences and a decoder that learns faster than attention; curves of trainings of "
    "100 steps with momentum, by pairs of rates."
)

CLAIMS = (
    Claim(
        id="scan_leaves_common",
        statement=(
            "Attention moves from tokens that are common to all next tokens to distinct ones, under every "
            "pair of learning rates."
        ),
        paper=PAPER,
        section="scan",
        protocol=_PROTOCOL,
        test=(
            "Plain gradient steps from zero under 16 pairs of rates: the fall of attention on common tokens, "
            "over the same with next tokens drawn at random; the weakest pair decides."
        ),
        controls=("next tokens drawn at random",),
        study="scan_snap",
        evidence=verdict("scan_leaves_common"),
        published=verdict("scan_leaves_common_as_published"),
        takes=(),
    ),
    Claim(
        id="scan_order",
        statement="Of the distinct tokens the rare ones are left first, and the frequent ones gain most.",
        paper=PAPER,
        section="scan, from low to high co-occurrence",
        protocol=_PROTOCOL,
        test=(
            "Plain gradient steps from zero: over pairs of distinct tokens, how often the rarer one is left "
            "first, and how often the more frequent one gains more, above one half."
        ),
        controls=("one half",),
        study="scan_snap",
        evidence=all_of("scan_rare_dropped", "scan_frequent_first"),
        published=all_of("scan_rare_dropped_as_published", "scan_frequent_first_as_published"),
        takes=(),
    ),
    Claim(
        id="snap_freezes",
        statement="Attention then freezes, spread over several tokens.",
        paper=PAPER,
        section="snap",
        protocol=_PROTOCOL,
        test=(
            "Plain gradient steps from zero: more than half of the way of the attention logits lies before "
            "their speed stays below a tenth of its largest, and no token has 95 % of the attention."
        ),
        controls=("one half",),
        study="scan_snap",
        evidence=all_of("snap_freezes", "snap_no_winner"),
        published=all_of("snap_freezes_as_published", "snap_no_winner_as_published"),
        takes=(),
    ),
    Claim(
        id="snap_ratio_decides",
        statement="The ratio of the two learning rates decides where attention freezes.",
        paper=PAPER,
        section="phase transition",
        protocol=_PROTOCOL,
        test=(
            "Plain gradient steps from zero: with the ratio held, the attention left on common tokens at the "
            "freeze does not depend on the rates (an equivalence, within 0.02)."
        ),
        controls=("the rate of the attention",),
        study="scan_snap",
        evidence=verdict("snap_ratio_decides"),
        published=verdict("snap_ratio_decides_as_published"),
        takes=(),
    ),
)
"""What its experiments show; trained here, in a few minutes, without any given model."""
