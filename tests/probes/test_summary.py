import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import satlens
from satlens.errors import InputError
from satlens.models import wrap
from satlens.probes import StageProbe, report, stage_labels
from satlens.probes.controls import NAMES
from tests.builders import random_bridge, random_hf, random_hooked, random_ids

SMALL = dict(k=3, stages=2, per_cell=60, min_states=12, folds=3, draws=2)


@pytest.fixture(scope="module")
def documents():
    return random_ids(30, [18] * 20)


@pytest.fixture(scope="module")
def model():
    return random_hooked(n_layers=6, d=24, vocab=30, heads=2, scale=1.0)


@pytest.fixture(scope="module")
def found(model, documents):
    return report(model, documents, **SMALL)


ESTIMATE = {"value", "ci"}


def check_probed(one, m):
    assert list(one) == ["accuracy", "auc", "per_stage", "confusion", "layers"]
    assert set(one["accuracy"]) == ESTIMATE and len(one["per_stage"]) == m
    assert np.shape(one["confusion"]) == (m, m)
    assert all(list(layer) == ["layer", "accuracy", "states"] for layer in one["layers"])


def test_the_dictionary_is_that_of_the_results(found):
    made = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(made) == [
        "labels", "probe", "per_layer", "controls", "selectivity", "verdicts", "settings", "notes"
    ]  # fmt: skip
    assert list(made["labels"]) == [
        "policy", "tokens", "documents", "stages", "chance", "out_of_order", "tied", "censored",
        "left_out", "counts", "layers", "skipped_layers", "states", "per_stage",
    ]  # fmt: skip
    check_probed(made["probe"], 2)
    check_probed(made["per_layer"], 2)
    assert tuple(made["controls"]) == NAMES
    for name, one in made["controls"].items():
        assert list(one) == [
            "accuracy",
            "auc",
            "per_stage",
            "draws",
            "values",
            "excess",
            "in_verdict",
        ]
        assert set(one["accuracy"]) == set(one["excess"]) == ESTIMATE and len(one["per_stage"]) == 2
        assert one["draws"] == len(one["values"])
        assert one["in_verdict"] == (name != "control_task" and one["draws"] > 0)
    assert made["selectivity"] == made["controls"]["control_task"]["excess"]
    assert [one["id"] for one in made["verdicts"]] == [
        "stage_decodable", "stage_decodable_as_published"
    ]  # fmt: skip
    for one in made["verdicts"]:
        assert list(one) == ["id", "statement", "verdict", "effect", "p", "why", "null"]
        assert list(one["effect"]) == ["name", "value", "ci"]
    assert made["settings"] == {
        "model": "random", "k": 3, "per_cell": 60, "untrained_seeds": 1, "out_of_order": "running_max",
        "ties": "skip", "censored": "keep", "stages": 2, "min_states": 12, "folds": 3, "draws": 2,
        "C": 1.0, "seed": 0, "margin": 0.02, "bootstrap_draws": 2000, "level": 0.95,
    }  # fmt: skip


def test_all_nine_controls_stand_beside_the_probe(found):
    assert [name for name, one in found.controls.items() if not one.values] == []
    assert len(found.controls["rotated"].values) == len(found.controls["shuffled"].values) == 2
    assert len(found.controls["untrained"].values) == len(found.controls["margin"].values) == 1
    assert found.notes == []
    judged = {name: one for name, one in found.controls.items() if one.in_verdict}
    assert found.effect.value == min(one.excess.value for one in judged.values())
    assert found.strictest == min(judged, key=lambda name: judged[name].excess.value)
    assert found.verdicts[0]["null"] == found.strictest


def test_counts_are_those_of_the_events(model, documents, found):
    labels = stage_labels(satlens.detect(model, documents, k=3))
    assert found.to_dict()["labels"] | labels.to_dict(2) == found.to_dict()["labels"]


def test_the_probe_is_fitted_on_all_balanced_states_and_can_be_saved(found, tmp_path):
    data = found.data
    again = StageProbe().fit(data.state, data.stage, data.layer)
    assert (found.probe.decision_function(data.state) == again.decision_function(data.state)).all()
    found.probe.save(tmp_path / "probe")
    loaded = satlens.StageProbe.load(tmp_path / "probe")
    assert (loaded.predict(data.state) == found.probe.predict(data.state)).all()


def test_batches_made_before_give_the_same(model, documents, found):
    wrapped = wrap(model)
    again = report(wrapped, wrapped.batches(documents, 8), **SMALL)
    assert again.to_dict() == found.to_dict()


def test_the_states_chosen_do_not_depend_on_the_size_of_the_batches(model, documents, found):
    other = report(model, documents, batch_size=3, untrained_seeds=0, **SMALL)
    for name in ("doc", "pos", "layer", "stage", "key"):
        assert (getattr(other.data, name) == getattr(found.data, name)).all()
    assert np.allclose(other.data.state, found.data.state, atol=1e-4)


def test_another_seed_is_another_choice(model, documents, found):
    other = report(model, documents, seed=1, untrained_seeds=0, **SMALL)
    assert set(other.data.key) != set(found.data.key)
    assert other.notes[0] == ("untrained: not available. None was asked for (untrained_seeds=0).")
    assert other.verdicts[0]["why"].endswith("Not compared with: untrained (see the notes).")


@pytest.mark.parametrize("make", [random_bridge, random_hf])
def test_other_hosts_are_read_as_well(make, documents):
    kw = dict(n_layers=5) if make is random_bridge else dict(layers=5)
    found = report(make(vocab=30, d=16, scale=1.0, **kw), documents[:9], **SMALL)
    assert 0 < found.pooled.accuracy.value < 1
    assert found.controls["exchanged"].values or "exchanged" in found.notes[0]


def test_a_host_that_cannot_be_built_anew_has_no_untrained_control(model, documents):
    wrapped = replace(wrap(model), host=torch.nn.Linear(1, 1))
    found = report(wrapped, documents, **SMALL)
    assert found.controls["untrained"].to_dict()["accuracy"] == {"value": None, "ci": None}
    assert found.notes[0].startswith(
        "untrained: not available. satlens.untrained cannot build a Linear"
    )
    assert not found.controls["untrained"].in_verdict and found.controls["rotated"].in_verdict


def test_layers_too_thin_for_a_probe_of_their_own_are_no_error(model):
    """Few documents: some training part lacks a stage at some layer; the rest of the report stands."""
    few = random_ids(30, [18] * 3, seed=3)
    found = report(model, few, **(SMALL | dict(min_states=2, per_cell=2)))
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.pooled.layers and not found.per_layer.layers
    assert any(
        "per_layer, not available. The training part of fold" in note for note in found.notes
    )


def test_policies_change_the_labels_and_are_said(model):
    many = random_ids(30, [18] * 80)
    strict = report(
        model, many, out_of_order="drop", ties="drop", untrained_seeds=0,
        **(SMALL | dict(min_states=4)),
    )  # fmt: skip
    labels = strict.to_dict()["labels"]
    assert labels["policy"] == {"out_of_order": "drop", "ties": "drop", "censored": "keep"}
    assert labels["left_out"]["out of order"] > 0


@pytest.mark.parametrize(
    "kw, words",
    [
        ({"k": 1}, "k must be a whole number of at least 2, got 1"),
        ({"folds": 1}, "folds must be a whole number of at least 2, got 1"),
        ({"draws": 0}, "draws must be a whole number of at least 1, got 0"),
        ({"per_cell": 2.5}, "per_cell must be a whole number of at least 1, got 2.5"),
        ({"stages": 4}, "stages must be 2 to k=3, got 4: two are needed to tell apart"),
        ({"min_states": 100}, "per_cell=60 keeps fewer states of a stage than min_states=100 asks"),
        ({"C": 0.0}, "C must be above 0, got 0.0"),
        ({"margin": -1.0}, "margin must be above 0, got -1.0"),
        ({"ties": "guess"}, "ties must be one of 'skip', 'drop'; got 'guess'"),
        ({"folds": 30}, "30 folds need at least 30 documents, .* the inputs are 20. Give more"),
    ],
)
def test_bad_settings_are_refused_before_a_forward_pass(model, documents, kw, words):
    def never(*_):
        raise AssertionError("a forward pass was paid for")

    wrapped = replace(wrap(model), forward=never)
    with pytest.raises(InputError, match=words):
        report(wrapped, documents, **(SMALL | kw))


def test_too_few_states_say_how_many_there_are(model, documents):
    with pytest.raises(InputError, match="No layer has 60 states of every stage 1 to 3: the best"):
        report(model, documents[:3], **(SMALL | {"stages": 3, "min_states": 60}))
