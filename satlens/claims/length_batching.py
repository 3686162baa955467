"""Jin et al. 2023 (S3): requests are packed by what is predicted of them; here by depth."""

from satlens.claims.claim import Claim, Paper, all_of

PAPER = Paper(
    "Jin et al. 2023",
    "S3: Increasing GPU Utilization during Generative Inference for Higher Throughput",
    "arXiv 2306.06000",
)

CLAIMS = (
    Claim(
        id="packing_by_depth",
        statement="Packing requests by their predicted exit depth serves more tokens a second.",
        paper=PAPER,
        section="packing by predicted length, which is here the depth",
        protocol=(
            "Packing by predicted length, against reserving the maximum: up to 6.49 times the "
            "throughput. Depth is not tried there."
        ),
        test=(
            "Simulated with depths that were generated and predictions from other documents: the gain "
            "over first come and over predictions dealt to other requests, in every pattern of arrival."
        ),
        controls=("first come", "predictions dealt to other requests"),
        study="packing",
        evidence=all_of("packing_all_at_once", "packing_poisson", "packing_bursts"),
        takes=("text",),
    ),
)
"""What of the paper one model and its texts can answer."""
