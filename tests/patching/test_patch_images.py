"""A class token's state in another image: patching, nulls and probes where a document is one position."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import satlens
from satlens.errors import InputError
from satlens.models import wrap
from satlens.nulls import draw_nulls
from satlens.patching import CONDITIONS, find_pairs, patch
from tests.builders import to_bridge
from tests.models.pictures import SIZE, image_classifier, processor, write_pictures

N = 60


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder, N)
    return folder


def classifier():
    return image_classifier("vit", layers=6, labels=12, scale=3.0)


@pytest.fixture(scope="module", params=["bridge", "bare"])
def host(request, tmp_path_factory):
    model = to_bridge(classifier()) if request.param == "bridge" else classifier()
    model.processor = processor(tmp_path_factory.mktemp("model"))
    return model


@pytest.fixture(scope="module")
def patched(host, pictures):
    events = satlens.detect(host, pictures, k=3)
    pairs = find_pairs(events, gap=1, across=True)
    return events, patch(host, pictures, pairs, k=3)


def test_documents_are_images_of_one_position(patched):
    events, result = patched
    assert len(events) == N and (events.pos == 0).all()
    pairs = result.pairs
    assert (events.doc[pairs.donor] != events.doc[pairs.recipient]).all()
    assert len(pairs) >= 4
    assert set(result.condition) == set(CONDITIONS)


def test_a_self_patch_changes_nothing_and_others_do(patched):
    _, result = patched
    own = result.condition == "self"
    clean = result.clean
    assert (result.new.layer[own] == clean.layer[result.pair[own]]).all()
    assert (result.new.token[own] == clean.token[result.pair[own]]).all()
    other = result.condition == "random_donor"
    assert (result.new.token[other] != clean.token[result.pair[other]]).any()


def test_a_patch_equals_one_by_hand(host, pictures, patched):
    """The class token of one image behind block l in the place of another's; the patches stay."""
    events, result = patched
    model = wrap(host)
    images = {int(b.doc[0]): b for b in model.batches(pictures, 1)}
    rows = np.flatnonzero(result.condition == "paired")[:6]
    for row in rows:
        layer, pair = int(result.layer[row]), result.pair[row]
        donor = images[int(events.doc[result.pairs.donor[pair]])]
        recipient = images[int(events.doc[result.pairs.recipient[pair]])]
        state = model.states(donor).resid[layer, 0]

        def put(resid, hook, state=state):
            resid = resid.clone()
            resid[0, 0] = state
            return resid

        with torch.no_grad(), model.hooks([(layer, put)]):
            logits = model.forward(recipient)[0, 0]
        assert result.new.token[row].tolist() == logits.topk(3).indices.tolist()


def test_pairs_within_an_image_are_none(patched):
    events, _ = patched
    with pytest.raises(InputError, match=r"No pair of tokens.*across=False"):
        find_pairs(events, gap=1, across=False)


def test_order_and_nulls(host, pictures):
    events = satlens.detect(host, pictures, k=4)
    nulls = draw_nulls(host, pictures, draws=3, k=4)
    assert sorted(nulls) == ["exchanged", "line", "rotated", "walk"]
    assert all(len(null) == 3 for null in nulls.values())
    assert 0 <= satlens.order.concordance(events).estimate.value <= 1
    assert set(events.doc.tolist()) == set(nulls["rotated"].events.doc.tolist())


def test_probes(host, pictures):
    report = satlens.probes.report(
        host, pictures, k=3, stages=2, min_states=5, per_cell=20, draws=1, folds=3
    )
    assert report.pooled.chance == 0.5 and report.strictest in report.controls
    assert 0 <= float(report.pooled.accuracy.value) <= 1


def test_tensors_and_folders_patch_alike(host, pictures, patched):
    _, result = patched
    model = wrap(host)
    pixels = torch.cat([b.args["pixel_values"] for b in model.batches(pictures, 8)])
    assert pixels.shape == (N, 3, SIZE, SIZE)
    again = patch(host, pixels, result.pairs, k=3)
    assert np.array_equal(again.new.layer, result.new.layer)
    assert np.array_equal(again.new.token, result.new.token)


def test_the_example_of_the_documentation_runs(pictures, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "usage.md").read_text(encoding="utf-8")
    section = page.partition("## Images")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    assert len(blocks) == 2
    classifier().save_pretrained(tmp_path / "deit-tiny")
    processor(tmp_path / "deit-tiny")
    (tmp_path / "photos").symlink_to(pictures)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec("\n".join(blocks), names)
    assert len(names["names"]) == 5 and names["result"].offsets == (0, 1)
