"""Is a rank that was fixed early right more often, and does it make a better next-token distribution?"""

from satlens.reranking.collect import Collected, collect, next_tokens
from satlens.reranking.comparison import Reranked, rerank
from satlens.reranking.early import EarlyRank, early_ranks
from satlens.reranking.nulls import NullGain, NullGains, null_gains
from satlens.reranking.reranker import Reranker
from satlens.reranking.summary import RerankingReport, evaluate, report
from satlens.reranking.tokens import NextTokens

__all__ = [
    "Collected",
    "EarlyRank",
    "NextTokens",
    "NullGain",
    "NullGains",
    "Reranked",
    "Reranker",
    "RerankingReport",
    "collect",
    "early_ranks",
    "evaluate",
    "next_tokens",
    "null_gains",
    "report",
    "rerank",
]
