"""The code on the pages that speak of "your model" and "your texts" runs, given small ones.

Numbers that ask for minutes are made smaller, and nothing else is changed. Pages whose code needs nothing
given are in test_docs_code.py; exits, batching and own_module have tests of their own.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import satlens
from satlens.lenses import ShortcutFitter
from satlens.models import wrap
from tests.builders import random_hf, random_ids
from tests.runs.kinds import make_corpus, make_model

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run(page, given, smaller=(), only=None):
    """All blocks of a page, or those with these places, one after the other; gives the names they leave."""
    found = blocks(page)
    chosen = range(len(found)) if only is None else only
    code = "\n".join(found[place] for place in chosen)
    for much, little in smaller:
        assert much in code, (page, much)
        code = code.replace(much, little)
    names = {"satlens": satlens, **given}
    exec(compile(code, str(DOCS / f"{page}.md"), "exec"), names)
    return names


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """What a page saves goes to where it is run."""
    monkeypatch.chdir(tmp_path)


def small(layers=4, n_ctx=32):
    return random_hf("llama", layers=layers, d=16, vocab=40, n_ctx=n_ctx).eval()


def test_shortcuts():
    model, texts = wrap(small(layers=10)), random_ids(40, [30] * 8)
    (batch,) = model.batches(texts[:2], 2)
    more, others = random_ids(40, [30] * 8, seed=1), random_ids(40, [30] * 3, seed=2)
    made = run("shortcuts", {
        "model": model, "texts": texts, "other": ShortcutFitter(model).fit(more), "other_texts": others,
        "batch": batch, "resid": torch.zeros(5, 16),
    })  # fmt: skip
    assert len(made["events"]) == 90 and isinstance(made["lens"], satlens.TunedLens)
    assert made["changed"].resid.shape == (10, 60, 16)
    assert "attention, mean" in made["found"].methods


def test_routing():
    ids = torch.tensor(random_ids(40, [600])[0])
    given = {
        "model": small(n_ctx=160), "tokens": ids[:64].reshape(2, 32), "mine": torch.full((3, 2, 32), 0.5),
        "ids": ids, "held_out_ids": ids[300:], "digit_ids": [3, 4],
    }  # fmt: skip
    made = run("routing", given, smaller=[("2000", "2"), ("batch_size=32", "batch_size=2")])
    assert made["run"].skip.shape == (3, 2, 32) and np.isfinite(made["found"].loss("hard").value)


def test_depth():
    made = run("depth", {"model": small(), "texts": random_ids(40, [20] * 4)})
    assert made["found"].trained.blocks_used().value.shape == (5,)


def test_dynamics():
    for step in (1000, 2000):
        random_hf("llama", layers=4, d=16, vocab=40, seed=step).save_pretrained(f"runs/step{step}")
    given = {"untrained": small(), "texts": random_ids(40, [20] * 4)}
    made = run("dynamics", given, smaller=[("steps=400", "steps=3")])
    assert [row.step for row in made["found"].rows] == [0, 1000, 2000]


def test_reranking():
    model, texts = wrap(small()), random_ids(40, [24] * 12)
    (batch,) = model.batches(texts[:1], 1)
    given = {"model": model, "texts": texts, "logits": model.states(batch).logits,
             "events": satlens.detect(model, texts[:1])}  # fmt: skip
    made = run("reranking", given)
    total = made["reranker"].log_prob(given["logits"], *(
        getattr(given["events"], name) for name in ("token", "layer")
    )).exp().sum(-1)  # fmt: skip
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_survey():
    """Its queries run in tests/survey."""
    Path("stories.txt").write_text("Lily ran.\n<|endoftext|>\nTom sat.\n", encoding="utf-8")
    made = run("survey", {}, smaller=[("workers=2", "workers=1")], only=(0,))
    assert made["found"].dataset.count_rows() > 0


def test_usage_of_masks():
    folder = make_model("masked text", Path("bert"))
    texts = make_corpus("masked text", Path("texts")).read_text().split("\n\n")[:4]
    made = run("usage", {"bert": satlens.load_model(folder), "texts": texts}, only=(0,))
    assert made["filled_in"].dtype == bool and len(made["filled_in"]) == len(made["events"])


def test_usage_of_images():
    make_model("images", Path("deit-tiny"))
    make_corpus("images", Path("photos"))
    made = run("usage", {}, only=(1, 2))
    assert len(made["events"]) == len(made["fresh"]) and len(made["names"]) == 5
    assert tuple(made["result"].offsets) == (0, 1)
