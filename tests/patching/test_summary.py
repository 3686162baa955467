import json

import numpy as np
import pytest

from satlens.errors import InputError
from satlens.patching import CONDITIONS, DIRECTIONS, patch, report, steer
from satlens.patching.effects import Resampling
from satlens.patching.summary import judge
from tests.patching.toys import documents, toy

OPTIONS = dict(k=3, pairs=60, steered=60, alphas=(0.5, 1.0), draws=300)


@pytest.fixture(scope="module")
def both():
    return {reads: report(toy(reads), documents(), **OPTIONS) for reads in (True, False)}


def verdicts(one):
    return {v["id"]: v for v in one.to_dict()["verdicts"]}


def test_a_planted_stage_is_forced_and_every_verdict_holds(both):
    found = verdicts(both[True])
    assert list(found) == [
        "transition_by_patching", "transition_by_patching_as_published", "transition_by_steering",
    ]  # fmt: skip
    for one in found.values():
        assert one["verdict"] == "holds" and one["effect"]["ci"][0] > 0, one
        assert one["null"] in one["why"]
    assert "near-circular" in found["transition_by_patching_as_published"]["why"]


def test_where_nothing_reads_the_state_no_verdict_holds(both):
    for one in verdicts(both[False]).values():
        assert one["verdict"] == "does not hold", one


def test_success_by_the_papers_rule_alone_is_called_that():
    """A patch that fixes rank 1 and does nothing to rank 2."""
    patched = patch(toy(), documents(), k=3, limit=60, offsets=[0])
    patched.new.layer[:, 1:] = patched.clean.layer[patched.pair, 1:].max()
    patched.clean.layer[:, 1:] = patched.clean.layer[:, 1:].max()
    pushed = steer(toy(), documents(), k=3, limit=20, alphas=[1.0], min_states=10)
    main, published, _ = judge(patched, pushed, Resampling(draws=300))
    assert main.verdict == "does not hold" and published.verdict == "holds as published only"


def test_the_form_of_the_result(both):
    table = json.loads(json.dumps(both[True].to_dict(), allow_nan=False))
    assert list(table) == ["pairs", "patching", "steering", "verdicts", "settings", "notes"]
    assert set(table["pairs"]) == {
        "found", "used", "documents", "gap", "across", "donor_layer", "recipient_layer",
    }  # fmt: skip
    assert table["pairs"]["used"] == 60 <= table["pairs"]["found"]
    patching, steering = table["patching"], table["steering"]
    offsets = len(patching["offsets"])
    assert list(patching["conditions"]) == ["clean", *CONDITIONS]
    for one in patching["conditions"].values():
        assert {len(one[name]) for name in ("n", "published", "kept", "own_rank2")} == {offsets}
        for name in ("advance", "stay"):
            assert [len(rank) for rank in one[name]] == [offsets] * 3
        assert set(one["advance"][0][0]) == {"value", "ci"}
    clean = patching["conditions"]["clean"]
    assert {x["value"] for rank in clean["advance"] for x in rank} == {0}
    assert {x["value"] for x in clean["kept"]} == {1}
    assert list(patching["excess"]) == [
        "unsaturated",
        "random_donor",
        "shuffled",
        "random_direction",
    ]
    assert list(steering["conditions"]) == list(DIRECTIONS)
    assert list(steering["excess"]) == ["shuffled", "random", "rotated", "exchanged"]
    assert steering["alphas"] == [0.5, 1.0] and steering["n"] == 60
    assert steering["layers"] == sorted(set(steering["layers"]))


def test_the_numbers_are_those_of_the_runs(both):
    one = both[True]
    table, at = one.to_dict()["patching"], one.patched.offsets.index(0)
    values = one.patched.values("advance", "paired")[:, at]
    forced = one.patched.values("forced", "paired")[:, at]
    assert table["conditions"]["paired"]["advance"][1][at]["value"] == pytest.approx(
        np.nanmean(values[:, 1])
    )
    control = one.patched.values("forced", "shuffled")[:, at]
    assert table["excess"]["shuffled"][at]["value"] == pytest.approx(np.nanmean(forced - control))
    stay = [rank[at]["value"] for rank in table["conditions"]["paired"]["stay"]]
    last = one.patched.new.layer[
        (one.patched.condition == "paired") & (one.patched.offset == 0)
    ].max(1)
    assert sum(stay) == pytest.approx(last.mean() + 1)  # stages 1 .. k fill layers 0 .. s'_k
    frame = one.to_frame()
    row = frame[(frame.condition == "paired") & (frame.outcome == "advance") & (frame["rank"] == 2)]
    assert row[row["at"] == 0].value.item() == pytest.approx(np.nanmean(values[:, 1]))
    assert set(frame.part) == {"patching", "steering"}


def test_reports_are_deterministic_and_follow_the_seed(both):
    again = report(toy(), documents(), **OPTIONS).to_dict()
    assert again == both[True].to_dict()
    assert report(toy(), documents(), **OPTIONS, seed=1).to_dict()["patching"] != again["patching"]


def test_notes_say_what_is_counted(both):
    notes = " ".join(both[True].notes)
    assert "A rank seen fixed only at the output counts as fixed at the last layer" in notes
    assert "Pairs left out because the layer to patch is not inside the model, by offset:" in notes
    assert "own state back changed" not in notes


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(offsets=[1, 2]), r"offsets must hold 0, where the verdicts .*; got \[1, 2\]"),
        (dict(alphas=[2]), r"alphas must hold 1, where the verdict .*; got \[2.0\]"),
        (dict(pairs=0), "pairs must be at least 1, got 0"),
        (dict(steered=0), "steered must be at least 1, got 0"),
        (dict(margin=0), "margin must be above 0, got 0"),
        (dict(k=1), "k must be at least 2; got 1"),
        (dict(stage=9), "stage must be 1 .. 3"),
        (dict(draws=0), "draws must be at least 1"),
        (dict(gap=9), "No pair of tokens with one final top-1"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        report(toy(), documents(4, 10), **{"k": 3, **options})


def test_one_document_is_refused_before_the_long_part():
    with pytest.raises(InputError, match="found 1 document. Give more documents"):
        report(toy(), documents(1), k=3)
