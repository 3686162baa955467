"""A sweep at the smallest size: trained, measured, gone on with, and read again."""

import dataclasses
import json

import pytest

from satlens.errors import InputError
from satlens.theory.depth.grid import BASE, MEASURED, Shape, main, shapes, sweep
from satlens.zoo.train import train
from tests.zoo.synthetic import write_texts

MICRO = dataclasses.replace(
    BASE, vocab=300, context=32, batch=2, steps=6, warmup=1, eval_every=3, optimizer="adamw"
)
TWO = [Shape(1, 32), Shape(2, 16)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


def run(data, out, **kw):
    return list(sweep(data, out, TWO, base=MICRO, documents=3, **kw))


def test_shapes_have_the_size():
    for one in shapes(1_200_000, (2, 4, 6, 8, 16, 24)):
        assert abs(one.size / 1_200_000 - 1) < 0.1 and one.width % 16 == 0
    with pytest.raises(InputError, match="At depth 12 the nearest width is 96"):
        shapes(1_200_000, (12,))
    with pytest.raises(InputError, match="1 or more"):
        shapes(1_200_000, (0,))


def test_a_sweep_goes_on_and_gives_the_same(data, tmp_path):
    whole = run(data, tmp_path / "whole")
    assert [(one.depth, seed) for one, seed, *_ in whole] == [(1, 0), (2, 0)]
    out = tmp_path / "parts"
    assert run(data, out, minutes=0.0) == []
    train(data, out / "2x16" / "seed0", TWO[1].settings(MICRO, 0), stop_at=2)
    parts = run(data, out)
    assert len(parts) == 2
    for (_, _, *a), (_, _, *b) in zip(whole, parts, strict=True):
        assert [one.to_dict() for one in a] == [one.to_dict() for one in b]


def test_trained_and_untrained_read_the_same_documents(data, tmp_path):
    for shape, _, trained, fresh in run(data, tmp_path):
        assert trained.tokens.tolist() == fresh.tokens.tolist()
        assert (trained.n_layers, trained.width) == (shape.depth, shape.width)
        assert len(trained.doc) == 4 and trained.loss(draws=20).value != fresh.loss(draws=20).value


def test_other_settings_are_not_mixed_in(data, tmp_path):
    run(data, tmp_path)
    with pytest.raises(InputError, match="measured with other settings"):
        list(sweep(data, tmp_path, TWO, base=dataclasses.replace(MICRO, lr=1.0), documents=3))
    with pytest.raises(InputError, match="measured with other settings"):
        list(sweep(data, tmp_path, TWO, base=MICRO, documents=2))
    (tmp_path / "1x32/seed0" / MEASURED).unlink()
    with pytest.raises(InputError, match="training run of other settings"):
        list(sweep(data, tmp_path, TWO, base=dataclasses.replace(MICRO, lr=1.0), documents=3))


def test_the_command(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("satlens.theory.depth.grid.BASE", dataclasses.replace(MICRO, vocab=300))
    size = str(12 * 8 * 16**2)  # 2 x 32, 8 x 16
    main(["--data", str(data), "--out", str(tmp_path), "--size", size, "--depths", "2", "8",
          "--steps", "2", "--documents", "2"])  # fmt: skip
    said = json.loads((tmp_path / "depth.json").read_text())
    assert [one["depth"] for one in said["seeds"]["0"]["trained"]["models"]] == [2, 8]
    assert [one["rank"] for one in said["seeds"]["0"]["trained"]["beyond"]] == [1, 5]
    out = capsys.readouterr().out
    assert "seed 0, untrained, rank 5" in out and "8 x 16" in out
