"""Levine et al. 2020: depth beyond log3 of the width is worth no more than width."""

from satlens.claims.claim import Claim, Paper, verdict

PAPER = Paper(
    "Levine et al. 2020", "Limits to Depth Efficiencies of Self-Attention", "arXiv 2006.12467"
)

CLAIMS = (
    Claim(
        id="depth_left_over",
        statement="More blocks are left after rank 1 is fixed than on a path into the same end.",
        paper=PAPER,
        section="limits to depth efficiency",
        protocol=(
            "Depth beyond the threshold of a width is no better than width: separation ranks in "
            "theory; losses of models of many shapes, fitted by a line. One model says nothing to either."
        ),
        test=(
            "The share of the blocks that come after rank 1 is fixed, over the stricter path: "
            "what one model can say of depth that is left over."
        ),
        controls=("path rotated", "path exchanged"),
        study="depth",
        evidence=verdict("depth_left_after_the_answer"),
    ),
)
"""What of the paper can be asked of one model; `satlens.theory.depth.grid` trains several."""
