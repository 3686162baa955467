from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens.errors import InputError
from satlens.saturation.events import SaturationEvents
from satlens.saturation.tables import events_writer


@st.composite
def events(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, k, n_layers = draw(st.integers(1, 30)), draw(st.integers(1, 6)), draw(st.integers(1, 300))
    return SaturationEvents(
        layer=rng.integers(n_layers, size=(n, k)),
        token=rng.integers(50_000, size=(n, k)),
        doc=np.sort(rng.integers(4, size=n)),
        pos=rng.integers(1000, size=n),
        n_layers=n_layers,
        input=rng.integers(50_000, size=n),
        top=rng.integers(50_000, size=(n, n_layers, k)) if draw(st.booleans()) else None,
        settings={"model": "m", "k": k},
    )


def assert_same(a: SaturationEvents, b: SaturationEvents) -> None:
    for name in ("layer", "token", "doc", "pos", "input", "top"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            assert x.dtype == y.dtype and np.array_equal(x, y), name
    assert (a.n_layers, dict(a.settings)) == (b.n_layers, dict(b.settings))


@settings(max_examples=50)
@given(events())
def test_parquet_both_ways(tmp_path_factory, e):
    path = tmp_path_factory.mktemp("events") / "e.parquet"
    e.to_parquet(path)
    assert_same(SaturationEvents.from_parquet(path), e)


def test_events_that_arrive_in_parts_are_one_file(tmp_path):
    rng = np.random.default_rng(0)
    parts = [
        SaturationEvents(rng.integers(9, size=(5, 2)), rng.integers(9, size=(5, 2)),
                         doc=[i] * 5, pos=range(5), n_layers=9)
        for i in range(3)
    ]  # fmt: skip
    with events_writer(tmp_path / "e.parquet") as writer:
        for part in parts:
            writer.append(part)
    assert_same(
        SaturationEvents.from_parquet(tmp_path / "e.parquet"), SaturationEvents.concat(parts)
    )


def test_an_interrupted_file_is_not_there(tmp_path):
    e = SaturationEvents([[0]], [[1]], doc=[0], pos=[0], n_layers=2)
    with pytest.raises(KeyboardInterrupt), events_writer(tmp_path / "e.parquet") as writer:
        writer.append(e)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_frame_is_long_and_ranks_start_at_one():
    e = SaturationEvents([[0, 2], [1, 1]], [[7, 8], [9, 6]], doc=[0, 1], pos=[3, 4], n_layers=3)
    frame = e.to_frame()
    assert list(frame.columns) == ["doc", "pos", "input", "rank", "token", "layer", "censored"]
    assert frame[["doc", "pos", "rank", "token", "layer"]].values.tolist() == [
        [0, 3, 1, 7, 0], [0, 3, 2, 8, 2], [1, 4, 1, 9, 1], [1, 4, 2, 6, 1],
    ]  # fmt: skip
    assert frame.censored.tolist() == [False, True, False, False]


@settings(max_examples=30)
@given(events())
def test_frame_both_ways(e):
    back = SaturationEvents.from_frame(e.to_frame())
    assert_same(back, replace(e, top=None, settings={}))


def test_a_frame_that_does_not_fit_is_refused():
    e = SaturationEvents([[0, 2], [1, 1]], [[7, 8], [9, 6]], doc=[0, 1], pos=[3, 4], n_layers=3)
    frame = e.to_frame()
    with pytest.raises(InputError, match="lacks the columns pos, layer"):
        SaturationEvents.from_frame(frame.drop(columns=["pos", "layer"]))
    with pytest.raises(InputError, match="ranks 1 .. k of one token after the other"):
        SaturationEvents.from_frame(frame.iloc[::-1])
    with pytest.raises(InputError, match="ranks 1 .. k"):
        SaturationEvents.from_frame(frame[frame["rank"] == 2])
    frame.attrs.clear()
    with pytest.raises(InputError, match="pass n_layers"):
        SaturationEvents.from_frame(frame)
    assert_same(SaturationEvents.from_frame(frame, n_layers=3), e)


def test_arrays_are_own_and_read_only():
    layer = np.array([[0, 1]])
    e = SaturationEvents(layer, [[7, 8]], doc=[0], pos=[0], n_layers=3)
    layer[:] = 2
    assert e.layer.tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="read-only"):
        e.layer[0, 0] = 1
    assert not np.shares_memory(e[:1].layer, e.layer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token": [[1]]}, r"token has shape \(1, 1\); with layer of shape \(2, 2\)"),
        ({"doc": [0]}, r"doc has shape \(1,\)"),
        ({"layer": [[0, 3], [0, 0]]}, r"must be 0 .. 2; found 0 .. 3"),
        ({"layer": [[0, -1], [0, 0]]}, r"must be 0 .. 2; found -1 .. 0"),
        ({"layer": [[0.5, 1], [0, 0]]}, "wants whole numbers"),
        ({"top": np.zeros((2, 4, 2), int)}, r"top has shape \(2, 4, 2\)"),
    ],
)
def test_fields_that_do_not_fit_are_named(change, message):
    good = {"layer": [[0, 1], [2, 2]], "token": [[1, 2], [3, 4]], "doc": [0, 0], "pos": [0, 1]}
    with pytest.raises(InputError, match=message):
        SaturationEvents(**{**good, **change}, n_layers=3)


def test_concat_wants_one_shape():
    a = SaturationEvents([[0]], [[1]], doc=[0], pos=[0], n_layers=2)
    b = SaturationEvents([[0]], [[1]], doc=[0], pos=[0], n_layers=3)
    with pytest.raises(InputError, match="parts of one shape"):
        SaturationEvents.concat([a, b])
    with pytest.raises(InputError, match="no parts"):
        SaturationEvents.concat([])


def test_a_foreign_file_is_refused(tmp_path):
    import pandas as pd

    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("not parquet")
    for name in ("other.parquet", "text.parquet"):
        with pytest.raises(InputError, match="is not an events file"):
            SaturationEvents.from_parquet(tmp_path / name)
    with pytest.raises(InputError, match="No such events file"):
        SaturationEvents.from_parquet(tmp_path / "none.parquet")
