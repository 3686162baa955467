import json

import numpy as np
import pytest
import torch

import satlens
from satlens.errors import InputError
from satlens.lenses import report, split_several
from satlens.lenses.summary import LENSES, runs_of
from satlens.models import wrap
from satlens.report.validate import plain
from satlens.verdicts import agreed
from tests.builders import random_hf, random_ids
from tests.lenses.toys import linear_model


@pytest.fixture(scope="module")
def found():
    model = satlens.wrap(random_hf("llama", layers=5, d=16, vocab=40))
    return report(
        model, random_ids(40, [30] * 20), tuned_steps=4, rank=3, submodule_tokens=100, draws=100
    )


def test_it_holds_every_lens_measure_and_side(found):
    said = plain(found.to_dict())
    assert json.loads(json.dumps(said)) == said
    assert tuple(said["lenses"]) == LENSES and said["layers"] == [0, 1, 2, 3]
    assert said["split"] == {"train": {"documents": 14, "tokens": 14 * 30},
                             "test": {"documents": 6, "tokens": 180}}  # fmt: skip
    for one in said["lenses"].values():
        for side in ("test", "train"):
            assert len(one[side]["r2"]["by_layer"]) == 4
            assert list(one[side]["kl"]["by_run"]) == ["early", "middle", "late", "all"]
    assert said["lenses"]["shortcut"]["parameters"] == 4 * 256
    assert said["lenses"]["low_rank"]["rank"] == 3
    assert [said["lenses"][name]["parameters"] for name in ("identity", "shift", "mean")] == [
        0,
        64,
        64,
    ]
    assert said["runs"] == {"early": [0, 1], "middle": [2], "late": [3]}
    gain = said["gains"]["shortcut"]["precision@1"]
    values = [
        one["value"] - other["value"]
        for one, other in zip(
            said["lenses"]["shortcut"]["test"]["precision@1"]["by_layer"],
            said["lenses"]["identity"]["test"]["precision@1"]["by_layer"],
            strict=True,
        )
    ]
    assert [one["value"] for one in gain["by_layer"]] == pytest.approx(values)
    assert gain["by_run"]["early"]["value"] == pytest.approx(sum(values[:2]) / 2)
    part = said["submodules"]["kinds"]["mlp"]
    assert part["gain"]["kl"]["by_run"]["all"]["value"] == pytest.approx(
        part["map"]["kl"]["by_run"]["all"]["value"] - part["mean"]["kl"]["by_run"]["all"]["value"]
    )
    assert list(said["submodules"]["kinds"]) == ["norm1", "attention", "norm2", "mlp"]
    assert said["submodules"]["tokens"] == 120 and said["submodules"]["layers"] == [0, 1, 2, 3]


def test_no_document_is_fitted_on_and_measured(found):
    sides = [
        {tuple(row.ids.tolist()) for row in found.parts[name].rows} for name in ("train", "test")
    ]
    assert not sides[0] & sides[1]


def test_the_verdicts_are_those_of_the_numbers(found):
    first = found.by_split[0]
    assert [one["id"] for one in found.verdicts] == [one["id"] for one in first] == [
        "shortcut_early", "shortcut_middle", "shortcut_late", "shortcut_as_published",
        "shortcut_explains_more", "attention_tolerates_best", "attention_map_beyond_mean",
    ]  # fmt: skip
    published = first[3]
    value = found.test.difference("shortcut", "identity", "precision@1", found.test.layers)[0]
    assert published["effect"] == {"name": "precision@1 above the identity", **value.to_dict()}
    late = first[2]
    gains = [
        found.test.difference("shortcut", name, "precision@1", found.runs["late"])[0].value
        for name in ("identity", "shift")
    ]
    assert late["effect"]["value"] == pytest.approx(min(gains))
    assert late["null"] == ("identity", "shift")[gains.index(min(gains))]


def test_the_weakest_run_and_control_decide_what_a_map_explains(found):
    one = found.by_split[0][4]
    every = {
        (control, name): found.test.difference("shortcut", control, "r2", layers)[0]
        for control in ("identity", "shift")
        for name, layers in found.runs.items()
    }
    control, name = min(every, key=lambda key: every[key].low)
    assert one["effect"] == {
        "name": f"r2 above the {control}, {name} layers", **every[control, name].to_dict(),
    }  # fmt: skip
    assert one["p"] == max(gain.p for gain in every.values())


def test_the_verdicts_are_what_every_split_says(found):
    assert found.settings["splits"] == len(found.by_split) == 3
    for one, same in zip(found.verdicts, zip(*found.by_split, strict=True), strict=True):
        assert one == agreed(same, "splits of the documents")
    assert any("on 3 splits of the documents" in note for note in found.notes)
    spans = {
        tuple(one["effect"]["ci"]) for one in (every[0] for every in found.by_split)
    }  # of other documents each, fitted anew
    assert len(spans) == 3


@pytest.mark.parametrize(("how", "said"), [({"n": 0}, "got 0 and 0"), ({"seed": -1}, "3 and -1")])
def test_splits_that_cannot_be(how, said):
    batches = wrap(random_hf("llama", layers=2, d=16, vocab=40)).batches(random_ids(40, [5, 6]), 2)
    with pytest.raises(InputError, match=said):
        split_several(batches, 0.5, **how)


def test_another_split_is_judged_as_if_it_were_the_first():
    model = satlens.wrap(random_hf("llama", layers=4, d=16, vocab=40))
    docs = random_ids(40, [30] * 20)
    how = dict(tuned_steps=0, submodule_tokens=100, draws=50)
    found = report(model, docs, splits=2, **how)
    seed = int(np.random.SeedSequence(0).generate_state(1)[0])
    alone = report(model, docs, splits=1, seed=seed, **how)
    for one, other in zip(found.by_split[1], alone.verdicts, strict=True):
        assert one["effect"]["value"] == pytest.approx(other["effect"]["value"])


def verdicts(found):
    return {one["id"]: one["verdict"] for one in found.verdicts}


def test_planted_linear_layers_are_found_and_a_model_that_stands_still_gains_nothing():
    docs = random_ids(30, [30] * 40, seed=1)
    turning = report(linear_model(d=8, vocab=30), docs, tuned_steps=0, draws=200)
    assert set(verdicts(turning).values()) == {"holds"}
    still = linear_model(d=8, vocab=30)
    for step in still.host.steps:
        step.data = torch.eye(8)
    nothing = report(still, docs, tuned_steps=0, draws=200)
    assert set(verdicts(nothing).values()) == {"does not hold"}
    assert "tuned" not in nothing.lenses and nothing.tuned is None


def test_a_model_whose_mean_alone_moves_gains_nothing_over_the_shift():
    model = linear_model(n_layers=4, d=8, vocab=30, offset=4.0)
    for step in model.host.steps:
        step.data = torch.eye(8)
    found = report(
        model, random_ids(30, [30] * 40, seed=1), tuned_steps=0, draws=200, intercept=True
    )
    said = verdicts(found)
    assert said.pop("shortcut_as_published") == "holds as published only"
    assert set(said.values()) == {"does not hold"}
    assert [one["null"] for one in found.verdicts[:3]] == ["shift"] * 3


def test_a_host_without_sub_modules_and_states_without_all_directions_are_notes():
    model = linear_model(d=8, vocab=30)
    model.host.embed.data[:, 3] = model.host.place.data[:, 3] = 0
    found = report(model, random_ids(30, [30] * 20), tuned_steps=0, draws=50)
    assert found.submodules is None and len(found.verdicts) == 5
    notes = "\n".join(found.notes)
    assert "Sub-modules: not available. The sub-modules of linear stack" in notes
    assert "fewer than d = 8 directions (layer 0: 7" in notes


def test_states_that_overflow_are_a_note_and_count_as_not_told(monkeypatch):
    host = random_hf("llama", layers=4, d=16, vocab=40)
    fit = satlens.lenses.SubmoduleMaps.fit

    def blown_up(*args, **kw):
        maps = fit(*args, **kw)
        for one in maps.maps.values():
            one.factors[0].fill_(1e38)  # a few of them are more than float32 holds
        return maps

    monkeypatch.setattr("satlens.lenses.summary.SubmoduleMaps.fit", blown_up)
    found = report(host, random_ids(40, [30] * 20), tuned_steps=0, submodule_tokens=60, draws=50)
    assert any(
        "mlp replaced behind layer 0, 1, 2: the states of up to 60 of 60 tokens overflow" in note
        for note in found.notes
    )
    said = plain(found.to_dict())["submodules"]["kinds"]["mlp"]["map"]
    assert said["precision@1"]["by_run"]["all"]["value"] == 0
    assert said["kl"]["by_run"]["all"] == {"value": None, "ci": None}


def test_runs_of_layers():
    assert runs_of(list(range(15))) == {
        "early": (0, 1, 2, 3, 4), "middle": (5, 6, 7, 8, 9), "late": (10, 11, 12, 13, 14),
    }  # fmt: skip
    assert runs_of([0, 1]) == {"all": (0, 1)}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"inputs": [[1, 2, 3]] * 4}, "of 1 different content"),
        ({"inputs": random_ids(30, [2, 3])}, r"from one layer to the last: n = \d, .*d = 8"),
        ({"test_share": 0.0}, "between 0 and 1, got 0.0"),
        ({"rank": 9}, "from 1 to the width of the states, 8; got 9"),
        ({"ridge": -1.0}, "ridge must be"),
        ({"tuned_steps": -1}, "tuned_steps must be a whole number of at least 0, got -1"),
        ({"submodule_layers": 0}, "submodule_layers must be a whole number of at least 1, got 0"),
        ({"margin": 0.0}, "margin must be above 0"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(change, words, monkeypatch):
    model = linear_model(d=8, vocab=30)
    inputs = change.pop("inputs", random_ids(30, [30] * 6))
    with pytest.raises(InputError, match=words):
        report(model, inputs, **change)
