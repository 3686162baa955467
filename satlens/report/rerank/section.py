"""The part of the page on a rerank: whether an early rank is right more often, and what it is good for."""

from collections.abc import Mapping
from typing import Any

from satlens.report import html
from satlens.report.rerank import tables as rerank_tables
from satlens.report.rerank.captions import CAPTIONS, CHARTS, MISSING
from satlens.report.words import (
    RERANK_NULL_MEANING,
    RERANK_NULL_NAMES,
    VARIANT_MEANING,
    VARIANT_NAMES,
    count,
    number,
)

__all__ = [
    "CAPTIONS",
    "CHARTS",
    "FILES",
    "MISSING",
    "NAME",
    "QUESTION",
    "holes",
    "ranks",
    "size",
    "tiles",
]

NAME = "Better language modelling"
QUESTION = (
    "Where the model's top-1 is wrong, is rank 2 the next token more often if it was fixed early? Does that "
    "hold given the final output, and beyond what any path into it gives? And do the saturation layers make "
    "a better next-token distribution on documents that nothing was fitted to?"
)
FILES = (
    "the numbers in rerank/results.json, the fitted reranker in rerank/reranker.safetensors, every position "
    "in rerank/tokens.parquet"
)


def holes(results: Mapping[str, Any]) -> dict[str, str]:
    """What goes into the holes of section.html, charts apart."""
    names = ("ranks", "published", "sweep", "nulls", "variants", "differences", "weights")
    made = {
        f"{name}_table": html.table(getattr(rerank_tables, f"{name}_table")(results))
        for name in names
    }
    return made | {
        "null_list": html.meanings("What each null keeps", rerank_tables.shown_nulls(results),
                                   RERANK_NULL_NAMES, RERANK_NULL_MEANING),
        "variant_list": html.meanings("What each distribution is", rerank_tables.shown_variants(results),
                                      VARIANT_NAMES, VARIANT_MEANING),
    }  # fmt: skip


def tiles(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The gain over shuffled layers, and the loss saved by the saturation layers."""
    found = {verdict["id"]: verdict for verdict in results["verdicts"]}
    gain = html.effect_tile(found.get("early_rank_right"), "share right per standard deviation of how "
                            "early, rank 2", RERANK_NULL_NAMES)  # fmt: skip
    saved = found.get("reranking_lowers_loss")
    effect = {} if saved is None else saved["effect"]
    return [
        gain,
        (number(effect.get("value"), 4, sign=True),
         f"nats a token saved by saturation layers {html.between(effect, 4, sign=True)}"),
    ]  # fmt: skip


def size(results: Mapping[str, Any], chart: str) -> str:
    """How much is behind a chart."""
    found = results["positions"]
    of_all = chart in ("rerank_loss", "rerank_accuracy")
    n = found["positions"] if of_all else found["wrong"]
    what = "" if of_all else " where top-1 is wrong"
    return f"{count(n, 'position')}{what}, {count(found['documents'], 'document')}."


def ranks(results: Mapping[str, Any]) -> int:
    """Colours of ranks that the charts need."""
    return 1
