"""The small model, a corpus, and an undisturbed survey that others are compared with."""

import pytest

from satlens import survey
from tests.survey.little import SETTINGS, save_corpus, save_model


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "little")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return save_corpus(tmp_path_factory.mktemp("corpus") / "stories.txt", 96)


@pytest.fixture(scope="session")
def undisturbed(model, corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "survey"
    return survey.run(model, corpus, out, shards=24, **SETTINGS)
