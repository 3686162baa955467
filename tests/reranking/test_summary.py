import json
from dataclasses import replace

import numpy as np
import pytest

import satlens
from satlens.errors import InputError
from satlens.models import wrap
from satlens.reranking import report
from satlens.reranking.adjusted import Adjusted
from satlens.reranking.collect import Collected
from satlens.reranking.comparison import VARIANTS
from satlens.reranking.nulls import KINDS
from satlens.reranking.summary import evaluate
from tests.builders import random_hooked, random_ids
from tests.reranking.planted import planted

SMALL = dict(k=3, draws=2, shuffles=19, folds=3)
IDS = [
    "early_rank_right", "early_rank_right_beyond_converging", "early_rank_right_as_published",
    "reranking_lowers_loss", "reranking_raises_accuracy",
]  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return wrap(random_hooked(n_layers=6, d=24, vocab=20, n_ctx=24, heads=2, scale=1.0))


@pytest.fixture(scope="module")
def documents():
    return random_ids(20, [20] * 24)


@pytest.fixture(scope="module")
def found(model, documents):
    return report(model, documents, **SMALL)


def words(report):
    return {one["id"]: one["verdict"] for one in report.verdicts}


def test_the_dictionary_is_that_of_the_results(found):
    made = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(made) == [
        "positions",
        "early",
        "nulls",
        "reranker",
        "verdicts",
        "settings",
        "notes",
    ]
    assert made["positions"]["positions"] == 24 * 19 and made["positions"]["documents"] == 24
    assert [one["rank"] for one in made["early"]] == [2, 3]
    for one in made["early"]:
        assert list(one) == [
            "rank", "positions", "right", "expected", "last", "published", "adjusted", "sweep", "by_lead",
        ]  # fmt: skip
        assert one["positions"] == made["positions"]["wrong"]
        assert [entry["gap"] for entry in one["sweep"]] == [1, 2, 3, 4, 5]
        assert [entry["lead"] for entry in one["by_lead"]] == [0, 1, 2, 3, 4, 5]
        assert sum(entry["positions"] for entry in one["by_lead"]) == one["positions"]
    assert tuple(made["nulls"]) == KINDS and tuple(made["reranker"]["variants"]) == VARIANTS
    assert [one["id"] for one in made["verdicts"]] == IDS
    for one in made["verdicts"]:
        assert list(one) == ["id", "statement", "verdict", "effect", "p", "why", "null"]
    assert made["settings"] == {
        "model": "random", "k": 3, "null_tokens": 5000, "untrained_seeds": 1, "gap": 1, "folds": 3,
        "draws": 2, "shuffles": 19, "C": 1.0, "seed": 0, "margin": 0.01, "loss_margin": 0.005,
        "accuracy_margin": 0.002, "bootstrap_draws": 2000, "level": 0.95,
    }  # fmt: skip


def test_all_nulls_stand_beside_the_real_layers(found):
    assert found.notes == [] or "temperature" in found.notes[0]
    assert [len(found.nulls.kinds[kind].values) for kind in KINDS] == [2, 2, 2, 1]
    assert found.verdicts[0]["effect"]["value"] == found.nulls.shuffled.value
    assert found.verdicts[1]["null"] == found.nulls.strictest
    smallest = min(found.nulls.kinds[kind].excess.value for kind in KINDS[1:])
    assert found.nulls.beyond.value == pytest.approx(smallest)


def test_the_same_seed_is_the_same_report(model, documents, found):
    wrapped = wrap(model)
    again = report(wrapped, wrapped.batches(documents, 8), **SMALL)
    assert again.to_dict() == found.to_dict()
    other = report(model, documents, seed=1, **SMALL)
    assert (
        other.nulls.kinds["rotated"].values.tolist() != found.nulls.kinds["rotated"].values.tolist()
    )
    assert other.loss.value == pytest.approx(found.loss.value)


def planted_report(**kw):
    tokens = planted(4, documents=60, tokens=80, **kw)
    return evaluate(Collected(tokens, {}, {}), draws=5, shuffles=99, gap=5)


def test_the_verdicts_on_what_was_planted():
    held = planted_report(effect=2.5)
    assert words(held) == {
        "early_rank_right": "holds",
        "early_rank_right_beyond_converging": "cannot be told here",
        "early_rank_right_as_published": "holds",
        "reranking_lowers_loss": "holds",
        "reranking_raises_accuracy": words(held)["reranking_raises_accuracy"],
    }
    assert (
        held.verdicts[1]["why"]
        == "No path null could be drawn, so nothing says what converging gives."
    )


def test_the_verdicts_on_a_confounded_corpus():
    confounded = planted_report(confounded=2.0)
    assert words(confounded)["early_rank_right"] != "holds"
    assert words(confounded)["early_rank_right_as_published"] == "holds as published only"
    assert words(confounded)["reranking_lowers_loss"] == "does not hold"


def test_a_rank_that_is_never_right_enough_leaves_the_rest_standing():
    few = planted(4, documents=6, tokens=8)
    made = evaluate(Collected(few, {}, {"rotated": "because."}), folds=3, draws=2, shuffles=9)
    assert isinstance(made.early[0].adjusted, Adjusted)
    assert words(made)["early_rank_right"] == "cannot be told here"
    assert any("is the next token at" in note for note in made.notes)
    assert "rotated: not available. because." in made.notes
    json.dumps(made.to_dict(), allow_nan=False)


def test_notes_say_what_could_not_be_had(model, documents):
    bare = report(model, documents, null_tokens=0, untrained_seeds=0, **SMALL)
    assert bare.notes[:3] == [
        "rotated: not available. None was asked for (null_tokens=0).",
        "exchanged: not available. None was asked for (null_tokens=0).",
        "untrained: not available. None was asked for (untrained_seeds=0).",
    ]
    assert words(bare)["early_rank_right_beyond_converging"] == "cannot be told here"


@pytest.mark.parametrize(
    "kw, text",
    [
        ({"k": 1}, "k must be a whole number of at least 2, got 1"),
        ({"folds": 1}, "folds must be a whole number of at least 2, got 1"),
        ({"draws": 0}, "draws must be a whole number of at least 1, got 0"),
        ({"shuffles": 2.5}, "shuffles must be a whole number of at least 1, got 2.5"),
        ({"null_tokens": -1}, "null_tokens must be a whole number of at least 0, got -1"),
        ({"C": 0.0}, "C must be above 0, got 0.0"),
        ({"gap": 6}, "gap must be 1 .. 5 layers before the end, got 6: random has 6 layers"),
        ({"k": 20}, "k=20 leaves none of 20 outputs beside the ranks"),
        ({"folds": 30}, "30 folds need at least 30 documents, .* the inputs are 24. Give more"),
    ],
)
def test_bad_settings_are_refused_before_a_forward_pass(model, documents, kw, text):
    def never(*_):
        raise AssertionError("a forward pass was paid for")

    wrapped = replace(wrap(model), forward=never)
    with pytest.raises(InputError, match=text):
        report(wrapped, documents, **(SMALL | kw))


def test_the_bundled_model_from_the_outside(tiny_host):
    texts = ["Lily had a red ball. She was happy.", "Tom saw a big cat. It ran away from him."] * 4
    tokens = satlens.reranking.next_tokens(tiny_host, texts, k=2)
    assert np.isfinite(tokens.logp).all()
