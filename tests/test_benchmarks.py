"""The benchmarks run: every method that is installed finds the events of the plain scan."""

import argparse
import json

import pytest
import torch

from benchmarks import memory, models, peers, scaling, table, timing
from benchmarks.methods import NotHere, differing, every_method, since
from benchmarks.tools import need

TINY = [
    "tiny",
    "--batch",
    "2",
    "--tokens",
    "16",
    "--rounds",
    "1",
    "--slow-rounds",
    "1",
    "--least",
    "0",
]
OURS = [name for name, method in every_method().items() if "satlens" in method.title]
PEERS = {
    "tl_lean": "transformer_lens.HookedTransformer",
    "tuned_lens": "tuned_lens",
    "nnsight": "nnsight",
}


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> dict:
    """A whole comparison on a model of 2 blocks; peak memory of one method only."""
    out = tmp_path_factory.mktemp("results")
    peers.main([*TINY, "--parts", "1", "--out", str(out)])
    peers.main([*TINY, "--parts", "memory", "--methods", "certified", "--out", str(out)])
    return json.loads((out / "tiny.json").read_text())


def test_rows_measured_again_take_their_place_and_the_others_stay(record, tmp_path):
    path = tmp_path / "tiny.json"
    kept = dict(record, times={"1": record["times"]["1"] | {"date": "2000-01-01"}})
    path.write_text(json.dumps(kept))
    peers.main([*TINY, "--parts", "1", "--methods", "certified", "--out", str(tmp_path)])
    part, before = json.loads(path.read_text())["times"]["1"], record["times"]["1"]
    assert part["methods"].keys() == before["methods"].keys() and part["date"] != "2000-01-01"
    assert part["methods"]["sorted"] == before["methods"]["sorted"]
    assert part["methods"]["certified"]["seconds"] != before["methods"]["certified"]["seconds"]


def test_every_key_is_there(record):
    assert set(record) == {
        "kind", "name", "case", "machine", "versions", "titles", "skipped", "times", "memory",
    }  # fmt: skip
    assert record["case"] == {
        "shape": "tiny",
        "batch": 2,
        "tokens": 16,
        "k": 5,
        "seed": 0,
        "onednn": False,
    }
    assert {"cpu", "cores", "vnni", "amx", "bf16"} <= set(record["machine"])
    assert record["versions"]["torch"] == torch.__version__
    part = record["times"]["1"]
    assert part["slots"] == 2 * 16 * 5 and part["clock"] == "CPU time"
    assert part["static"]["bytes"] > 0 and len(part["saturation"]) == 5
    assert set(part["methods"]) | set(record["skipped"]) == set(every_method())
    for row in part["methods"].values():
        assert {"median", "least", "most", "n", "quiet", "seconds", "forward", "others"} <= set(row)
        assert 0 < row["least"] <= row["median"] <= row["most"]


def test_every_method_of_ours_finds_the_same_events(record):
    rows = record["times"]["1"]["methods"]
    for name in {*OURS, "alone", "alone_backward", "still"} - set(record["skipped"]):
        assert rows[name]["differing"] == 0, name
    assert rows["careful"]["differing"] == 0
    assert "differing" not in rows["forward"]


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_that_is_not_here_is_skipped_with_the_command_that_installs_it(record, name):
    try:
        need(PEERS[name])
    except NotHere as error:
        assert record["skipped"][name] == str(error) and "pip install" in str(error)
    else:
        assert name in record["times"]["1"]["methods"]


def test_memory_is_of_a_process_of_its_own(record):
    if not memory.here():
        pytest.skip("reads /proc")
    assert list(record["memory"]) == ["certified"]
    assert set(record["memory"]["certified"]) == {"peak", "static"}


def test_the_peak_is_that_of_the_call():
    if not memory.here():
        pytest.skip("reads /proc")
    torch.ones(100 * 2**18).sum()  # 100 MiB, given back before
    peak = memory.peak_of(lambda: torch.ones(50 * 2**18).sum())
    assert 45 * 2**20 < peak < 60 * 2**20


def test_the_table_has_a_row_a_method(record):
    text = table.peers(record)
    for name in record["times"]["1"]["methods"]:
        assert record["titles"][name] in text
    for message in record["skipped"].values():
        assert message in text


def test_results_of_another_case_are_not_mixed(record, tmp_path):
    (tmp_path / "tiny.json").write_text(json.dumps(record | {"case": {"shape": "deep"}}))
    with pytest.raises(SystemExit, match="another case"):
        peers.main([*TINY, "--out", str(tmp_path)])


def test_memory_may_be_read_on_another_machine_and_times_may_not(record, tmp_path):
    elsewhere = record | {"machine": record["machine"] | {"cpu": "another"}, "memory": {}}
    (tmp_path / "tiny.json").write_text(json.dumps(elsewhere))
    with pytest.raises(SystemExit, match="another machine"):
        peers.main([*TINY, "--parts", "1", "--out", str(tmp_path)])
    peers.main([*TINY, "--parts", "memory", "--methods", "certified", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "tiny.json").read_text())
    assert found["times"] == record["times"] and "certified" in found["memory"]
    assert "Peak memory was read on another machine" in table.peers(found)


def test_with_the_layers_through_onednn_the_events_are_still_equal(tmp_path):
    arguments = ["--parts", "1", "--onednn", "--methods", "certified", "careful"]
    peers.main([*TINY, *arguments, "--out", str(tmp_path)])
    record = json.loads((tmp_path / "tiny.json").read_text())
    assert record["case"]["onednn"] and "through oneDNN" in table.peers(record)
    rows = record["times"]["1"]["methods"]
    assert rows["certified"]["differing"] == rows["careful"]["differing"] == 0


def test_scaling_and_its_figure(tmp_path):
    asked = argparse.Namespace(rounds=1, least=0, seed=0, cache=tmp_path)
    middle = {"layers": 2, "vocabulary": 300, "k": 2, "tokens": 16}
    made = scaling.measured({"layers": (2, 3), "k": (2,)}, middle, 16, asked)
    assert [point["value"] for point in made["points"]["layers"]] == [2, 3]
    assert made["points"]["layers"][0]["methods"] == made["points"]["k"][0]["methods"]
    for name in scaling.METHODS:
        assert made["points"]["layers"][1]["methods"][name]["differing"] == 0
    pytest.importorskip("matplotlib")
    scaling.draw(made, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
    assert "| layers 3 |" in table.scaling(made)
    assert "all points together: satlens.detect, certified (no logits): 0;" in table.scaling(made)


def test_a_model_is_the_same_from_the_cache_and_its_updates_shrink_as_said(tmp_path):
    shape = models.Shape(6, 32, 500)
    fresh, kept = models.load(shape), models.load(shape, tmp_path)
    again = models.load(shape, tmp_path)
    ids = models.ids(shape, 2, 32)
    for model in (kept, again):
        assert torch.equal(model(ids).logits, fresh(ids).logits)
    # At another sample than the one it was scaled on.
    h = fresh(ids, output_hidden_states=True).hidden_states[:-1]
    for layer, (before, after) in enumerate(zip(h, h[1:], strict=False)):
        update = ((after - before).norm(dim=-1) / before.norm(dim=-1)).median()
        assert float(update) == pytest.approx(models.wanted(layer, 6), rel=0.35)
    assert not torch.equal(models.make(shape, 1)(ids).logits, fresh(ids).logits)


def test_since_and_differing():
    tops = torch.tensor([[[1, 2]], [[3, 2]], [[1, 2]]])
    assert since(tops).tolist() == [[2, 0]]
    found = since(tops), tops[-1]
    assert differing(found, found) == 0
    assert differing(found, (torch.tensor([[2, 1]]), torch.tensor([[9, 2]]))) == 2


def test_a_sample_others_disturbed_does_not_count():
    samples = [timing.Sample(2, 1, 0.0), timing.Sample(9, 1, 0.5)]
    assert timing.summary(samples)["median"] == 2
    loud = timing.summary(samples[1:])
    assert loud["median"] == 9 and not loud["quiet"]


def test_the_tables_kept_are_those_of_the_results_kept():
    kept = (peers.RESULTS / "tables.md").read_text(encoding="utf-8")
    assert kept == table.folder(peers.RESULTS), "python -m benchmarks.table"
