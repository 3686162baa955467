"""Corpora of any size: read in a stream, detected in shards, on one machine or on Ray."""

from satlens.survey.corpus import Corpus, read_corpus
from satlens.survey.opened import Survey
from satlens.survey.opened import open_survey as open  # noqa: A004
from satlens.survey.runner import run
from satlens.survey.settings import SurveySettings
from satlens.survey.source import Source, open_source
from satlens.survey.statistics import SurveyStatistics

__all__ = [
    "Corpus",
    "Source",
    "Survey",
    "SurveySettings",
    "SurveyStatistics",
    "open",
    "open_source",
    "read_corpus",
    "run",
]
