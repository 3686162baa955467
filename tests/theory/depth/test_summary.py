"""The report of one model: what it holds, what it is judged by, and what it does without."""

import json

import numpy as np
import pytest

from satlens.errors import InputError
from satlens.models import untrained, wrap
from satlens.theory.depth import Spent, report, spent
from satlens.theory.depth.summary import _verdict
from tests.builders import random_hf, random_ids, random_other_hf

IDS = random_ids(50, [7, 12, 3, 9])


@pytest.fixture(scope="module")
def host():
    return random_hf("llama", vocab=50, layers=4).eval()


@pytest.fixture(scope="module")
def found(host):
    return report(host, IDS, k=3, draws=2)


def test_it_holds_what_spent_finds(host, found):
    said = json.loads(json.dumps(found.to_dict()))
    own = spent(host, IDS, k=3, draws=2)
    fresh = spent(untrained(wrap(host), 0), IDS, k=3, kinds=())
    assert said["depth"] == {
        "layers": 4,
        "width": 32,
        "threshold": np.log(32) / np.log(3),
        "recommended": None,
    }
    for i, one in enumerate(said["ranks"]):
        assert one["trained"]["used"]["value"] == own.blocks_used().value[i]
        assert one["untrained"]["after"]["value"] == fresh.after().value[i]
        assert (
            one["trained"]["nulls"]["rotated"]["excess"]["value"] == own.excess("rotated").value[i]
        )
        assert one["untrained"]["nulls"] == {}
    assert said["loss"]["trained"]["value"] == own.loss().value
    assert any("below what the line was fitted to" in note for note in said["notes"])


def planted(rotated, exchanged):
    """Ten documents, 8 blocks, 4 used until rank 1 is fixed; the paths use so many more of the depth."""
    ones = np.ones((10, 1))
    null = {"rotated": ones * (4 + 8 * rotated), "exchanged": ones * (4 + 8 * exchanged)}
    return Spent(
        "m", 8, 64, np.arange(10), np.ones(10), 4 * ones, null, np.zeros(10), np.zeros(10), {}
    )


@pytest.mark.parametrize(
    ("rotated", "exchanged", "null", "verdict"),
    [(0.2, 0.1, "exchanged", "holds"), (0.2, -0.1, "exchanged", "does not hold"),
     (0.0, 0.1, "rotated", "does not hold")],
)  # fmt: skip
def test_the_stricter_path_decides(rotated, exchanged, null, verdict):
    said = _verdict(planted(rotated, exchanged))
    assert (said["null"], said["verdict"]) == (null, verdict)
    assert said["effect"]["value"] == pytest.approx(min(rotated, exchanged))


def test_one_document_has_no_other_to_exchange_with(host):
    found = report(host, IDS[:1], k=2, draws=1, untrained_seeds=0)
    assert list(found.trained.null) == ["rotated"] and found.fresh is None
    assert any(note.startswith("exchanged: not available.") for note in found.notes)
    assert found.verdicts[0]["verdict"] == "cannot be told here"
    assert found.to_dict()["loss"]["untrained"] is None


def test_a_model_without_next_tokens():
    found = report(random_other_hf("bert"), [[5, 6, 7], [8, 9, 4]], k=2, draws=1)
    assert found.to_dict()["loss"]["trained"] == {"value": None, "ci": None}
    assert any("no next token" in note for note in found.notes)


def test_what_is_refused(host):
    with pytest.raises(InputError, match="untrained_seeds must be 0 or 1, got 2"):
        report(host, IDS, untrained_seeds=2)
    with pytest.raises(InputError, match="draws"):
        report(host, IDS, draws=0)
