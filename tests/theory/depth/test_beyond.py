"""The slope of the blocks used: planted answers, a true null, and what cannot be compared."""

import numpy as np
import pytest

from satlens.errors import InputError
from satlens.theory.depth import Spent, beyond, by_shape

DEPTHS = (8, 16, 24)


def model(depth, used, null, rng=None, documents=30, noise=0.0, width=64):
    """A model whose documents' means lie around ``used``, of 20 tokens each, with a null around ``null``."""
    rng = rng or np.random.default_rng(0)
    shape = (documents, 2)
    return Spent(
        f"{depth} blocks", depth, width, np.arange(documents), np.full(documents, 20.0),
        20 * (used + noise * rng.standard_normal(shape)),
        {"rotated": 20 * (null + noise * rng.standard_normal(shape))},
        np.full(documents, 30.0), np.full(documents, 19.0), {},
    )  # fmt: skip


def test_depth_that_is_spent_after_the_answer():
    found = beyond([model(depth, 6.0, 0.6 * depth, noise=0.5) for depth in DEPTHS])
    assert found.slope.value == pytest.approx(0, abs=0.05)
    assert found.null["rotated"].value == pytest.approx(0.6, abs=0.05)
    assert found.verdict == "holds" and found.depths == DEPTHS


def test_depth_that_is_used_as_a_path_would():
    rng = np.random.default_rng(3)
    found = beyond([model(depth, 0.6 * depth, 0.6 * depth, rng, noise=0.5) for depth in DEPTHS])
    assert found.verdict == "does not hold"
    assert found.slope.value == pytest.approx(0.6, abs=0.05)


def test_the_interval_holds_a_true_null():
    inside = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        models = [model(depth, 0.6 * depth, 0.6 * depth, rng, noise=1.0) for depth in DEPTHS]
        excess = beyond(models, draws=300).excess["rotated"]
        inside += excess.low <= 0 <= excess.high
    assert 0.88 <= inside / 200 <= 0.99


def test_shared_documents_are_paired():
    """Documents that are hard for every model alike say nothing against a slope of 0."""
    hard = np.random.default_rng(0).normal(0, 3, (30, 2))
    models = [model(depth, 8 + hard, 8 + hard) for depth in DEPTHS]
    found = beyond(models)
    assert found.slope.high - found.slope.low < 1e-9


def test_models_within_their_limit_are_left_out():
    models = [model(2, 2.0, 2.0), *(model(depth, 6.0, 0.5 * depth) for depth in DEPTHS)]
    assert beyond(models).depths == DEPTHS
    few = beyond(models[:2])
    assert few.verdict == "cannot be told here" and "fewer than two depths" in few.why


def test_a_row_a_model():
    frame = by_shape([model(depth, 6.0, 5.0) for depth in DEPTHS], ranks=(1, 2))
    assert list(frame["depth"]) == list(DEPTHS)
    assert frame["after_2"].tolist() == pytest.approx([1 - 6 / depth for depth in DEPTHS])
    assert frame["loss"].tolist() == pytest.approx([30 / 19] * 3)
    assert frame["threshold"][0] == pytest.approx(np.log(64) / np.log(3))


def test_what_cannot_be_compared():
    models = [model(depth, 6.0, 5.0) for depth in DEPTHS]
    with pytest.raises(InputError, match="did not read the same documents"):
        beyond([*models, model(30, 6.0, 5.0, documents=29)])
    with pytest.raises(InputError, match="Rank 3 of 8 blocks was not followed; k was 2"):
        beyond(models, rank=3)
    with pytest.raises(InputError, match="No models"):
        beyond([])
    with pytest.raises(InputError, match="nulls rotated|nulls none|has the nulls"):
        other = Spent.from_dict({**models[0].to_dict(), "null": {}})
        beyond([*models, other])
