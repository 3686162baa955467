"""Corpora: reading them, and (later) running over them in shards."""

from satlens.survey.corpus import Corpus, read_corpus

__all__ = ["Corpus", "read_corpus"]
