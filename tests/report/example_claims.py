"""Results of a claims run in the documented form, with plausible numbers and no model."""

from tests.report.example_parts import common, estimate

NOTHING = {"value": None, "ci": None}
ROWS = (
    # id, verdict, before the correction, effect, p, corrected, the paper's own
    ("order", "does not hold", "does not hold", estimate(-0.03), 0.99, 1.0, "does not hold"),
    ("order_in_untrained", "holds as published only", "does not hold", estimate(-0.001), 0.6, 1.0, "holds"),
    ("mean_layer_rises", "holds", "holds", {"value": 6.4, "ci": [6.2, 6.6]}, 0.0005, 0.002, None),
    ("stage_decodable", "cannot be told here", "holds", estimate(0.02, 0.015), 0.02, 0.08, "holds"),
    ("transition_by_patching", "cannot be told here", "cannot be told here", NOTHING, None, None, None),
)  # fmt: skip


def make_claims(n_layers=16, docs=12) -> dict:
    """What `satlens claims` writes."""
    claims = [_claim(*row) for row in ROWS]
    names = ("id", "statement", "verdict", "effect", "why", "null")
    return common("claims", n_layers=n_layers, docs=docs) | {
        "claims": claims,
        "verdicts": [
            {name: one[name] for name in names} | {"p": one["p_corrected"]} for one in claims
        ],
        "notes": [],
    }


def _claim(name, verdict, alone, effect, p, corrected, published) -> dict:
    untold = effect is NOTHING
    return {
        "id": name, "statement": f"What {name} says <is so>.", "paper": "Lioubashevski et al. 2025",
        "section": "order of saturation", "study": "audit", "verdict": verdict, "alone": alone,
        "effect": {"name": "" if untold else "excess concordance over the stricter path null", **effect},
        "p": p, "p_corrected": corrected, "null": None if untold else "path rotated",
        "why": "No pair of tokens." if untold else "So says its interval.",
        "published": published and {
            "verdict": published, "effect": {"name": "strict tau", "value": 0.3, "ci": None}, "p": 0.001,
            "why": "The published test rejects.",
        },
    }  # fmt: skip
