"""Studies that no verb makes: kept, taken again, refused where they were asked something else."""

import json
from dataclasses import replace

import numpy as np
import pytest

from satlens import claims
from satlens.claims.experiments import EXPERIMENTS
from satlens.claims.experiments.packing import PackingSettings, make
from satlens.claims.experiments.scan_snap import NAMES, ScanSnapSettings, judged, swept
from satlens.claims.run import applicable
from satlens.errors import InputError, OutputError
from satlens.models import load_model, wrap
from satlens.verdicts import FAILS, HOLDS, UNKNOWN

FEW = {"scan_snap": dict(eta_z=(1.0,), ratios=(1.0, 5.0), seeds=3, steps=40, published_steps=20)}
ALONE = [one.id for one in claims.CLAIMS.values() if not one.takes]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    return out, claims.run(only=ALONE, out=out, settings=FEW)


def test_claims_about_no_model_need_none(found):
    out, table = found
    assert [row.id for row in table.rows] == ALONE and table.settings["model"] == "no model"
    assert {path.name for path in out.iterdir()} == {"studies"}
    assert (
        table["scan_order"].verdict == HOLDS and table["scan_order"].published["verdict"] == HOLDS
    )
    assert claims.check("scan_order").on(out=out, settings=FEW).value == table["scan_order"].value


def test_they_are_asked_by_name_alone_also_beside_a_model():
    every = list(claims.CLAIMS.values())
    with pytest.raises(
        InputError, match="'order' is about a model: give one. About none are scan_l"
    ):
        applicable(every, None, named=False)
    assert [one.id for one in applicable([claims.CLAIMS[n] for n in ALONE], None, True)] == ALONE


def test_what_is_kept_is_taken_again_and_another_question_is_refused(found):
    out, table = found
    path = out / "studies" / "scan_snap.json"
    before = path.stat().st_mtime_ns
    again = claims.run(only=ALONE, out=out, settings=FEW)
    assert again.rows == table.rows and path.stat().st_mtime_ns == before
    other = {"scan_snap": FEW["scan_snap"] | {"seeds": 4}}
    with pytest.raises(
        OutputError, match="asked something else: seeds is 3 there and 4 here. Give"
    ):
        claims.run(only=ALONE, out=out, settings=other)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"form": "other/1", "verdicts": []}'])
def test_a_file_that_is_none_is_named(tmp_path, text):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "scan_snap.json").write_text(text)
    with pytest.raises(OutputError, match=r"scan_snap.json is not what satlens claims wrote"):
        claims.run(only="scan_order", out=tmp_path, settings=FEW)


def test_another_model_is_refused(folder, settling, corpus, tmp_path):
    asked = dict(only="order_in_untrained", out=tmp_path / "run", max_tokens=200)
    small = {"audit": dict(null_tokens=100, untrained_seeds=1)}
    first = claims.run(load_model(settling), corpus, settings=small, **asked)
    again = claims.run(load_model(settling), corpus, settings=small, **asked)
    assert first.rows == again.rows
    other = replace(wrap(load_model(folder)), name=wrap(load_model(settling)).name)
    with pytest.raises(OutputError, match="untrained.json was asked something else"):
        claims.run(other, corpus, settings=small, **asked)


def test_the_pair_of_rates_that_says_least_decides():
    own = ScanSnapSettings(**FEW["scan_snap"])
    every = swept(own, 40, False, momentum=0.0, start="zero")
    for entry in judged(every, "_there"):
        statement = next(s for s, name in NAMES.items() if name + "_there" == entry["id"])
        rows = [one for one in every if one.statement == statement]
        words = [one.verdict for one in rows]
        assert rows and entry["verdict"] == next(w for w in (FAILS, UNKNOWN, HOLDS) if w in words)
        if entry["p"] is not None:
            assert entry["p"] == max(one.effect.p for one in rows)


def test_where_nothing_leaves_there_is_nothing_to_pack_by(tiny_host, tmp_path):
    few = PackingSettings(calibration=3, asked=5, words=(4,), most=3, rows=2, seeds=2)
    found = make(lambda name: few, wrap(tiny_host), tmp_path, False)
    assert found["verdicts"] == [] and found["notes"] == [
        "No threshold can be vouched for: there is nothing to pack by."
    ]
    row = claims.CLAIMS["packing_by_depth"].judge(found)
    assert row.verdict == UNKNOWN and "nothing to pack by" in row.sound["why"]


def test_packing_is_judged_in_every_pattern_of_arrival(tiny_host, tmp_path):
    few = PackingSettings(
        calibration=6, asked=6, words=(4, 8), most=6, rows=2, seeds=2, epsilon=0.9, delta=0.5
    )
    found = make(lambda name: few, wrap(tiny_host), tmp_path, False)
    ids = ["packing_all_at_once", "packing_poisson", "packing_bursts"]
    assert [one["id"] for one in found["verdicts"]] == ids
    row = claims.CLAIMS["packing_by_depth"].judge(found)
    assert row.p == max(one["p"] for one in found["verdicts"])
    assert found["found"]["requests"]["requests"] == 12
    assert json.loads(json.dumps(found["found"]["simulated"]["settings"]))["shuffles"] == 999


def test_the_sparse_study_needs_the_routers_and_says_so(settling, tmp_path):
    table = claims.run(
        str(settling), ["Lily ran.", "Tom sat."], only="sparse_saves_time", out=tmp_path / "run",
        settings={"route": dict(steps=1, penalties=(0.3,), draws=1)},
    )  # fmt: skip
    row = table.rows[0]
    assert row.verdict == UNKNOWN and np.isnan(row.value or np.nan)
    assert "no batch of 16 was timed" in row.why or "could not be run" in row.why
    assert EXPERIMENTS["sparse"].needs == ("route",)
