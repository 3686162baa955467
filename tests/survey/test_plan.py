import json
import tracemalloc
from itertools import pairwise

import pytest

from satlens.errors import InputError
from satlens.survey import open_source, read_corpus
from satlens.survey.plan import Shard, make_plan, shard_slots
from satlens.survey.slots import Slot, slot_of
from satlens.survey.source import Source
from tests.survey.little import save_corpus


def numbered(sizes, text="x"):
    return Source(
        "numbers", lambda at: (slot_of(text, (i,), size, "") for i, size in enumerate(sizes))
    )


@pytest.mark.parametrize("shards", [1, 2, 5, 63, 64, 100, None])
def test_shards_are_every_document_once_in_order(shards):
    source = open_source("bundled")
    plan = make_plan(source, shards)
    assert len(plan.shards) == (min(shards, 64) if shards else 1)
    found = [one for shard in plan.shards for one in shard_slots(source, shard)]
    assert [number for number, _ in found] == list(range(64))
    assert [slot.text for _, slot in found] == list(read_corpus("bundled").documents)
    assert plan == make_plan(source, shards)
    assert plan.size == sum(slot.size for slot in source.slots())


def test_the_identity_is_that_of_the_corpus_in_memory_and_not_of_its_shards():
    plans = [make_plan(open_source("bundled"), shards) for shards in (1, 7)]
    assert {plan.sha256 for plan in plans} == {read_corpus("bundled").sha256}


@pytest.mark.parametrize("documents", [10, 5_000, 40_000])
def test_shards_are_even_whatever_the_documents(documents):
    sizes = [1 + i % 7 for i in range(documents)]
    plan = make_plan(numbered(sizes), 8)
    assert len(plan.shards) == 8
    even = sum(sizes) / 8
    assert all(abs(shard.size - even) <= max(14, even / 16) for shard in plan.shards)
    assert all(a.first + a.documents == b.first for a, b in pairwise(plan.shards))
    assert plan.shards[-1].first + plan.shards[-1].documents == documents


def test_one_huge_document_takes_no_shard_from_the_others():
    for sizes in ([10**9] + [1] * 9, [1] * 9 + [10**9], [0] * 10):
        assert [shard.documents for shard in make_plan(numbered(sizes), 10).shards] == [1] * 10


def test_a_plan_keeps_no_documents():
    text = "y" * 20_000
    tracemalloc.start()
    plan = make_plan(numbered((20_000 for _ in range(2_000)), text), 4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert plan.size == 40_000_000 and peak < 8_000_000


def test_a_shard_survives_json():
    shard = make_plan(open_source("bundled"), 3).shards[1]
    assert Shard.from_dict(json.loads(json.dumps(shard.to_dict()))) == shard


@pytest.mark.parametrize("change", ["edited", "shorter", "moved"])
def test_a_corpus_that_was_changed_is_noticed(tmp_path, change):
    path = save_corpus(tmp_path / "a.txt", 12)
    source = open_source(path)
    shard = make_plan(source, 3).shards[1]
    text = path.read_text()
    parts = text.split("\n<|endoftext|>\n")
    a, b = shard.first, shard.first + 1
    if change == "edited":
        parts[a] = parts[a].swapcase()
    if change == "shorter":
        parts = parts[:b]
    if change == "moved":
        parts[a], parts[b] = parts[b], parts[a]
    path.write_text("\n<|endoftext|>\n".join(parts))
    with pytest.raises(InputError, match=f"documents {shard.first} to .* the corpus was changed"):
        list(shard_slots(source, shard))


def test_unreadable_documents_have_numbers_and_are_in_the_hash():
    def of(*reasons):
        slots = [
            Slot((i,), 1, None if why else "a", why, f"row {i}") for i, why in enumerate(reasons)
        ]
        return Source("some", lambda at: iter(slots))

    plans = [make_plan(of(*reasons), 1) for reasons in (("", "empty"), ("", "broken"), ("", ""))]
    assert [plan.unreadable for plan in plans] == [1, 1, 0]
    assert len({plan.sha256 for plan in plans}) == 3
    assert [plan.documents for plan in plans] == [2, 2, 2]
    with pytest.raises(
        InputError, match="no document that can be read, of 2. The first: row 0: empty"
    ):
        make_plan(of("empty", "broken"))
    with pytest.raises(InputError, match="shards must be at least 1, got 0"):
        make_plan(of(""), 0)
