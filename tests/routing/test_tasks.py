"""Tasks, rows and early exit at the same cost."""

import json
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from satlens.errors import InputError, OutputError
from satlens.routing import NOT_SCORED, Examples, crops, pieces, timing
from satlens.routing.early_exit import exit_layer, matched_early_exit, matched_threshold
from satlens.routing.reproduce import SIZES, Size, main, reproduce, task_of
from satlens.routing.tasks import characters, fresh_model, held_out, toy
from satlens.routing.timing import faster, judge_sparse, time_sparse
from tests.routing.test_evaluate import opinionated
from tests.routing.toys import rows, small


@given(
    kind=st.sampled_from(["copy", "sort"]),
    length=st.integers(1, 9),
    symbols=st.integers(1, 9),
    step=st.integers(0, 10**6),
)
def test_toys_ask_for_what_they_say(kind, length, symbols, step):
    draw = toy(kind, 3, length=length, symbols=symbols, seed=2)
    one = draw(step)
    assert torch.equal(one.ids, draw(step).ids)
    for ids, target in zip(one.ids.tolist(), one.target.tolist(), strict=True):
        x = ids[1 : length + 1]
        assert ids[0] == 0 and ids[length + 1] == 1 and all(2 <= i < symbols + 2 for i in x)
        want = x if kind == "copy" else sorted(x)
        assert target == [NOT_SCORED] * (length + 1) + want
        assert ids[length + 2 :] == want[:-1], "what comes next is never read before"


def test_steps_seeds_and_held_out_rows_differ():
    draw = toy("copy", 64, length=8, symbols=30, seed=0)
    trained = {tuple(row) for step in range(30) for row in draw(step).ids.tolist()}
    held = {tuple(row) for one in held_out(draw, 3) for row in one.ids.tolist()}
    other = {tuple(row) for row in toy("copy", 64, length=8, symbols=30, seed=1)(0).ids.tolist()}
    assert len(trained) == 30 * 64 and not trained & held and not trained & other


def test_crops_and_pieces():
    text = torch.arange(1000)
    one = crops(text, 50, 9, seed=3)(4)
    assert torch.equal(one.target, one.ids + 1) and int(one.target.max()) < 1000
    every = pieces(text, 7, 10)
    assert torch.equal(torch.cat([part.ids.flatten() for part in every]), text[:990])
    assert torch.cat([part.doc for part in every]).tolist() == list(range(99))
    assert sum(len(part.ids) for part in pieces(text, 7, 10, limit=12)) == 12
    for wrong in (lambda: crops(text[:9], 1, 9), lambda: pieces(text[:9], 1, 9)):
        with pytest.raises(InputError, match="has no piece of 9"):
            wrong()


def test_examples_that_do_not_fit():
    ids = torch.zeros(2, 3, dtype=torch.long)
    for bad, message in [
        (dict(target=ids[:1]), "have its shape|has their shape"),
        (dict(target=ids.float()), "int64"),
        (dict(target=ids, doc=torch.zeros(3)), "one number a row"),
        (dict(target=ids, real=torch.tensor([[False, True, True]] * 2)), "end of a row"),
    ]:
        with pytest.raises(InputError, match=message):
            Examples(ids, **bad)


def test_a_text_by_its_characters(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("Ah, 3 bees\n" * 10, encoding="utf-8")
    read = characters(path)
    text = "".join(read.vocabulary[i] for i in torch.cat([read.train, read.test]))
    assert text == "Ah, 3 bees\n" * 10 and len(read.test) == 11
    kinds = {name: {read.vocabulary[i] for i in ids} for name, ids in read.classes.items()}
    assert kinds == {
        "vowel": set("Ae"), "consonant": set("hbs"), "digit": {"3"}, "space": {" "},
        "line end": {"\n"}, "punctuation": {","},
    }  # fmt: skip
    path.write_bytes(b"\xff\xfe" * 20)
    with pytest.raises(InputError, match="as_bytes=True"):
        characters(path)
    assert characters(path, as_bytes=True).vocabulary == ("\xfe", "\xff")
    for bad, message in [(tmp_path / "b.txt", "Cannot read"), (tmp_path, "Cannot read")]:
        with pytest.raises(InputError, match=message):
            characters(bad)


def test_the_published_shapes():
    size = SIZES["text", "published"]
    model = fresh_model(65, width=size.width, heads=size.heads, context=size.context)
    count = sum(p.numel() for p in model.host.parameters())
    assert (model.n_layers, model.d_model) == (6, 256) and 4.7e6 < count < 4.9e6
    with pytest.raises(InputError, match="cannot be shared by 5 heads"):
        fresh_model(10, width=16, heads=5)


def plain_exit(gap, threshold):
    """Token by token."""
    out = []
    for token in gap.T:
        out.append(next((i for i, g in enumerate(token) if g > threshold), len(token) - 1))
    return out


@given(
    seed=st.integers(0, 10**6),
    tokens=st.integers(1, 8),
    blocks=st.floats(1.0, 4.0),
    ties=st.booleans(),
)
def test_the_matched_threshold_is_the_highest_that_costs_no_more(seed, tokens, blocks, ties):
    gap = np.random.default_rng(seed).random((4, tokens))
    gap = gap.round(1) if ties else gap
    found = matched_threshold(gap, blocks)
    assert exit_layer(gap, found).tolist() == plain_exit(gap, found)
    assert np.mean(plain_exit(gap, found)) + 1 <= blocks + 1e-9
    for higher in (t for t in [*np.unique(gap), np.inf] if t > found):
        dearer = np.mean(plain_exit(gap, higher)) + 1 > blocks + 1e-9
        same = plain_exit(gap, higher) == plain_exit(gap, found)
        assert dearer or same


def test_early_exit_at_all_blocks_is_the_model_and_at_one_its_first_block():
    model = small(dropout=0.0)
    examples = rows(4)
    full = matched_early_exit(model, 3.0, [rows(4, seed=5)], [examples])
    batch = examples.batch(model)
    with torch.no_grad():
        logits = model.forward(batch)
    scored = examples.target != NOT_SCORED
    want = torch.nn.functional.cross_entropy(logits[scored], examples.target[scored])
    assert full.loss.value == pytest.approx(float(want), rel=1e-5)
    assert (full.blocks.value, full.saved) == (3.0, 0.0)
    first = matched_early_exit(model, 1.0, [examples], [examples])
    states = model.states(batch).resid[0].view(*examples.ids.shape, -1)
    with torch.no_grad():
        logits = model.readout(states)
    want = torch.nn.functional.cross_entropy(logits[scored], examples.target[scored])
    assert first.loss.value == pytest.approx(float(want), rel=1e-5)
    assert first.blocks.value == 1.0 and first.saved == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="uses 1 to 3 blocks"):
        matched_early_exit(model, 0.5, [examples], [examples])


def test_timing_names_what_it_timed():
    gates = opinionated()
    ids = rows(4).ids
    table = time_sparse(gates, ids, batch_sizes=[1, 4], shares=[1.0, 0.25], rounds=1)
    ways = ["host", "dense", "gated", "sparse, routers", "sparse, 1", "sparse, 0.25"]
    assert table["way"].tolist() == ways * 2 and table["batch"].tolist() == [1] * 6 + [4] * 6
    assert (table["ms"] > 0).all() and (table["speed"][table["way"] == "dense"] == 1).all()
    assert table["active"].iloc[-1] == 0.25
    for bad, message in [
        (dict(batch_sizes=[5]), "the 4 rows"), (dict(rounds=0), "rounds"), (dict(shares=[2]), "shares"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=message):
            time_sparse(gates, ids, **bad)


def test_the_ratio_of_times_is_judged_over_rounds(monkeypatch):
    assert faster([2.0, 8.0], [1.0, 2.0]).value == pytest.approx(8**0.5 - 1)
    assert faster([1.0, 1.0], [2.0, 2.0]).high < 0 and faster([3.0, 3.0], [1.0, 1.0]).low > 1
    found = judge_sparse(opinionated(), rows(4).ids, batch_sizes=[1, 4], rounds=3)
    assert [one["id"] for one in found] == ["sparse_1", "sparse_4"]
    assert all(0 < one["active"] < 1 and one["effect"]["ci"] for one in found)
    for bad, message in [(dict(batch_sizes=[5]), "the 4 rows"), (dict(rounds=1), "rounds is 2")]:
        with pytest.raises(InputError, match=message):
            judge_sparse(opinionated(), rows(4).ids, **({"batch_sizes": [1]} | bad))

    # Seconds that were planted: which way is faster, and which of both is taken for which.
    seconds = {"dense": [2.0, 2.2, 2.1, 2.0], "sparse, routers": [1.0, 1.3, 1.0, 1.1]}
    for turned, word in ((False, "holds"), (True, "does not hold")):
        names = list(seconds)[::-1] if turned else list(seconds)
        planted = dict(zip(names, seconds.values(), strict=True))
        with monkeypatch.context() as patch:
            patch.setattr(timing, "_in_turns", lambda runs, *a, own=planted: own)
            found = judge_sparse(opinionated(), rows(4).ids, batch_sizes=[4], rounds=4)
        assert found[0]["verdict"] == word


TINY = Size(16, layers=3, heads=2, context=8, batch_size=4, steps=3, length=3, symbols=5, rows=8)


def test_reproduce_runs_resumes_and_refuses_other_settings(tmp_path):
    task = task_of("sort", TINY)
    first = reproduce(task, "t", tmp_path, [0], [0.0, 0.1])
    kept = json.loads((tmp_path / "t.json").read_text())
    assert kept == json.loads(json.dumps(first)) and kept["published"]["base"] == 0.9915
    routed, base = kept["runs"][0], kept["runs"][-1]
    assert set(routed["measured"]) >= {"open", "soft", "hard", "random"}
    assert set(base["early_exit"]) == {"0", "0.1"} and "hard" not in base["measured"]
    assert base["early_exit"]["0"]["blocks"]["value"] <= 3
    assert reproduce(task, "t", tmp_path, [0], [0.0, 0.1]) == first, "read, not run again"
    with pytest.raises(OutputError, match="other size"):
        reproduce(task_of("sort", replace(TINY, lr=1.0)), "t", tmp_path, [0], [0.0])


def test_the_command_line_reads_a_text(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("The cat sat on the mat. " * 300)
    said = ["--task", "shakespeare", "--text", str(text), "--out", str(tmp_path), "--steps", "1"]
    threads = torch.get_num_threads()
    main([*said, "--seeds", "0", "--penalties", "0.1", "--threads", str(threads)])
    kept = json.loads((tmp_path / "shakespeare-small-1.json").read_text())
    assert set(kept["runs"][0]["measured"]["classes"]["hard"]) == {
        "vowel", "consonant", "space", "punctuation",
    }  # fmt: skip
    with pytest.raises(InputError, match="--text FILE"):
        task_of("enwik8", TINY)


def test_no_row_of_a_text_is_both_trained_on_and_measured(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("".join(chr(97 + i % 23) for i in range(4000)))
    task = task_of("shakespeare", TINY, str(text))
    read = characters(text)
    drawn = task.training(0)(0)
    assert all(row in read.train.unfold(0, len(row), 1).tolist() for row in drawn.ids.tolist())
    measured = torch.cat([one.ids.flatten() for one in task.rows])
    chosen = torch.cat([one.ids.flatten() for one in task.chosen])
    assert len(measured) + len(chosen) <= len(read.test)
