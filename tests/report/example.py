"""A results dict and a heatmap of the documented form, made from random saturation events.

The report only draws, so the numbers need the right form and plausible sizes, not a model.
"""

import numpy as np

from satlens.saturation.events import SaturationEvents

STORY = (
    "One day a small fox named Pip found a red ball by the river. He was so happy that he ran "
    'to show his mom. "Look, Mom!" he said. "I found a ball!" His mom smiled and said, "That '
    'is a nice ball, Pip. Who does it belong to?"\nPip did not know.'
)
HOSTILE = [
    "<script>alert(1)</script>", "</script>", '"quoted"', "'single'", "&amp;", "😀", "👩\u200d👧", "שלום",
    "\u202eevil", "\n", "\t", " ", "", "\ud800", "\x1b[31m", "<!--", "]]>", "\u2028", "${x}", "a" * 90,
]  # fmt: skip


def make_events(seed=0, docs=12, tokens=80, n_layers=16, k=5, lift=1.0) -> SaturationEvents:
    """Random events whose layers rise with rank by about ``lift`` each and pile up at the end."""
    rng = np.random.default_rng(seed)
    n = docs * tokens
    base = rng.normal(n_layers * 0.45, n_layers * 0.2, (n, 1))
    layer = base + lift * np.arange(k) + rng.normal(0, n_layers * 0.12, (n, k))
    return SaturationEvents(
        layer=np.clip(np.rint(layer), 0, n_layers - 1).astype(int),
        token=rng.permuted(np.tile(np.arange(max(50, k)), (n, 1)), axis=1)[:, :k],
        doc=np.repeat(np.arange(docs), tokens), pos=np.tile(np.arange(tokens), docs), n_layers=n_layers,
    )  # fmt: skip


def make_results(seed=0, docs=12, tokens=80, n_layers=16, k=5, untrained=True, nulls=True) -> dict:
    """Everything results.json documents, for random events."""
    shape = {"docs": docs, "tokens": tokens, "n_layers": n_layers, "k": k}
    events = {"trained": make_events(seed, **shape, lift=0.8)}
    if untrained:
        events["untrained"] = make_events(seed + 1, **shape, lift=0.2)
    rng = np.random.default_rng(seed)
    return {
        "schema": "satlens.audit/1",
        "model": {
            "name": "tiny", "kind": "HookedTransformer", "n_layers": n_layers, "d_model": 128,
            "n_outputs": 4096, "parameters": 3_700_000, "dtype": "float32", "weights_sha256": "ab" * 32,
        },
        "corpus": {"name": "bundled", "documents": docs, "tokens": docs * tokens, "split_documents": 1,
                   "windows": docs + 1, "sha256": "cd" * 32},
        "settings": {"model": "tiny", "corpus": "bundled", "k": k, "seed": 0, "draws": 20},
        "versions": {"satlens": "0.1.0", "transformer_lens": "3.9.0", "torch": "2.13.0", "python": "3.11"},
        "seconds": {"detect": 21.5, "nulls": 48.0, "order": 6.2},
        "saturation": {kind: _saturation(e) for kind, e in events.items()},
        "order": {kind: _order(e, 0.69 if kind == "trained" else 0.55) for kind, e in events.items()},
        "nulls": _nulls(rng, k, n_layers) if nulls else {},
        "verdicts": _verdicts(),
        "notes": ["1 document of 12 is longer than the context and was read in 2 windows."],
    }  # fmt: skip


def make_heatmap(n_layers=16, k=5, positions=40, docs=2, texts=None, seed=0) -> list[dict]:
    """Documents for the heatmap: story words (or ``texts``), with rankings that settle at random."""
    rng = np.random.default_rng(seed)
    words = STORY.replace("\n", " \n ").split(" ")
    words = [" " + word if word != "\n" else word for word in words]
    words = words if texts is None else list(texts)
    made = []
    for doc in range(docs):
        tokens = [words[i % len(words)] for i in range(positions)]
        layer = np.clip(
            np.rint(rng.normal(n_layers * 0.5, n_layers * 0.3, (positions, k)) + np.arange(k)),
            0,
            n_layers - 1,
        ).astype(int)
        top = []
        for i in range(positions):
            final = [words[j % len(words)] for j in i + 1 + np.arange(k)]
            noise = rng.integers(len(words), size=(n_layers, k))
            top.append([[final[r] if at >= layer[i, r] else words[noise[at, r]] for r in range(k)]
                        for at in range(n_layers)])  # fmt: skip
        made.append(
            {
                "doc": doc,
                "title": f"story {doc}",
                "tokens": tokens,
                "top": top,
                "layer": layer.tolist(),
            }
        )
    return made


def _saturation(events: SaturationEvents) -> dict:
    last, layers = events.n_layers - 1, np.arange(events.n_layers)
    ranks, curves, histogram = [], [], []
    for i in range(events.k):
        s = events.layer[:, i]
        censored = float(events.censored[:, i].mean())
        fixed = (s[:, None] <= layers).mean(0)
        fixed[-1] = fixed[-2] if last else 0.0
        median = float(np.median(s)) if np.median(s) < last else None
        ranks.append({
            "rank": i + 1, "mean_layer": float(s.mean()), "ci": _ci(s.mean(), 0.3), "median_layer": median,
            "coverage": _estimate(1 - censored), "censored": _estimate(censored),
            "flips": _estimate(0.2 + 0.1 * i), "changes": 2.0 + i,
        })  # fmt: skip
        low, high = np.clip(fixed - 0.03, 0, 1), np.clip(fixed + 0.03, 0, 1)
        curves.append(
            {
                "rank": i + 1,
                "fixed": fixed.tolist(),
                "ci_low": low.tolist(),
                "ci_high": high.tolist(),
            }
        )
        histogram.append(np.bincount(s, minlength=events.n_layers).tolist())
    return {
        "ranks": ranks,
        "survival": {"layers": layers.tolist(), "curves": curves},
        "histogram": histogram,
    }


def _order(events: SaturationEvents, concordance: float) -> dict:
    k = events.k
    place = np.argsort(np.argsort(events.layer, axis=1, kind="stable"), axis=1).mean(0) + 1
    pairs = [[concordance if i < j else None for j in range(k)] for i in range(k)]
    return {
        "strict_tau": {"value": 0.13, "ci": [0.11, 0.15], "tokens": len(events)},
        "concordance": {"value": concordance, "ci": _ci(concordance), "tied": 0.08, "comparable": 0.86,
                        "p_documents": 0.00009, "p_permutation": 0.001, "pairs": pairs},
        "page": {"statistic": 5210.0, "p": 0.00002},
        "paper": {"tau": 0.41, "p": 0.000999, "tokens_kept": len(events) * 6 // 10, "tokens": len(events),
                  "rank_to_place": place.tolist(),
                  "t_tests": [{"ranks": [i, i + 1], "t": 8.1, "p": 0.0001} for i in range(1, k)],
                  "note": "This test rejects true nulls; it is here for comparison."},
    }  # fmt: skip


def _nulls(rng, k, n_layers) -> dict:
    centres = {"permuted": (0.5, -0.24), "rotated": (0.62, 0.02), "exchanged": (0.655, 0.07),
               "walk": (0.58, -0.05), "line": (0.6, -0.02), "untrained": (0.55, -0.4)}  # fmt: skip
    made = {}
    for name, (concordance, tau) in centres.items():
        draws = 3 if name == "untrained" else 20
        mean = np.clip(n_layers * 0.5 + np.arange(k) * 12 * (concordance - 0.5), 0, n_layers - 1)
        made[name] = {
            "draws": draws, "concordance": _draws(rng, concordance, draws),
            "strict_tau": _draws(rng, tau, draws),
            "excess": {"value": 0.69 - concordance, "ci": _ci(0.69 - concordance)},
            "mean_layer": mean.tolist(),
        }  # fmt: skip
    return made


def _verdicts() -> list[dict]:
    return [
        {"id": "order-beyond-convergence", "verdict": "holds", "p": 0.00009, "null": "exchanged",
         "statement": "Ranks are fixed in order beyond what converging alone gives.",
         "effect": {"name": "excess concordance", "value": 0.035, "ci": [0.015, 0.055]},
         "why": "The excess over the stricter path null (path exchanged) is above 0 over documents."},
        {"id": "order-as-published", "verdict": "holds as published only", "p": 0.000999,
         "statement": "The strict tau of the paper is above 0.",
         "effect": {"name": "strict tau, filtered", "value": 0.41, "ci": None},
         "why": "The published test also rejects true nulls."},
        {"id": "trained-only", "verdict": "cannot be told here", "p": None,
         "statement": "The order comes with training.",
         "effect": {"name": "difference of concordance", "value": float("nan"), "ci": None},
         "why": "One untrained draw is too few."},
        {"id": "before-the-end", "verdict": "does not hold", "p": None,
         "statement": "Most tokens are fixed before the last layer at every rank.",
         "effect": {"name": "coverage of rank 5", "value": 0.41, "ci": [0.39, 0.43]},
         "why": "More than half of the tokens are censored at rank 5."},
    ]  # fmt: skip


def _ci(value, half=0.02) -> list[float]:
    return [float(value - half), float(value + half)]


def _estimate(value) -> dict:
    return {"value": value, "ci": _ci(value)}


def _draws(rng, centre, draws) -> dict:
    values = rng.normal(centre, 0.008, draws)
    return {"mean": float(values.mean()), "low": float(values.min()), "high": float(values.max()),
            "values": values.tolist(), "real": 0.68}  # fmt: skip
