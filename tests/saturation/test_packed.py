"""The packed head gives whole numbers, the same as the exact product, or is not used."""

import pytest
import torch

from satlens.models.readout import Head
from satlens.saturation import packed as module
from satlens.saturation.packed import FEW, WIDEST, Packed, packed
from satlens.saturation.quantised import QuantisedScreen, int_product

needs = pytest.mark.skipif(module.PACK is None or module.MULTIPLY is None, reason="no such calls")


def rows(n: int, d: int, seed: int = 0, low: int = -127) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, 128, (n, d), generator=generator).to(torch.int8)


def exact(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return p.long() @ q.long().T


@needs
@pytest.mark.parametrize("n", [1, 2, 7, FEW])
@pytest.mark.parametrize("d", [16, 48, 768, WIDEST])
def test_products_are_exact(n, d):
    q, p = rows(192, d), rows(n, d, 1)
    assert torch.equal(Packed(q)(p).long(), exact(p, q))


@needs
def test_products_are_exact_at_the_ends_of_the_range():
    q = torch.full((64, WIDEST), 127, dtype=torch.int8)
    q[1::2] = -127
    p = torch.stack([q[0], q[1], q[0].clone().index_fill_(0, torch.arange(0, WIDEST, 2), -127)])
    assert torch.equal(Packed(q)(p).long(), exact(p, q))
    assert exact(p, q).max() == 127 * 127 * WIDEST < 2**24


@needs
def test_a_call_that_gives_other_numbers_is_not_used(monkeypatch):
    q = rows(128, 32)
    right = module.MULTIPLY
    monkeypatch.setattr(
        module, "_seconds", lambda run: 0.0 if "made" in run.__code__.co_freevars else 1.0
    )
    assert packed(q, int_product) is not None
    monkeypatch.setattr(module, "MULTIPLY", lambda *args: right(*args) + 1)
    assert packed(q, int_product) is None


@needs
def test_a_call_that_is_slower_is_not_used(monkeypatch):
    monkeypatch.setattr(
        module, "_seconds", lambda run: 2.0 if "made" in run.__code__.co_freevars else 1.0
    )
    assert packed(rows(128, 32), int_product) is None


def test_without_the_calls_or_with_wide_rows_it_is_not_used(monkeypatch):
    assert packed(rows(64, WIDEST + 16), int_product) is None
    monkeypatch.setattr(module, "PACK", None)
    assert packed(rows(64, 32), int_product) is None


@needs
def test_a_call_with_other_arguments_is_not_used(monkeypatch):
    def refuse(*args):
        raise RuntimeError("expected another number of arguments")

    monkeypatch.setattr(module, "MULTIPLY", refuse)
    assert packed(rows(64, 32), int_product) is None


@needs
@pytest.mark.parametrize("n", [1, 5, FEW, FEW + 1])
def test_a_screen_names_the_same_outputs_with_it_and_without(n, monkeypatch):
    generator = torch.Generator().manual_seed(n)
    screen = QuantisedScreen(Head(torch.randn(1000, 48, generator=generator)))
    query = screen.query(torch.randn(n, 48, generator=generator))
    screen._packed = [None]
    without = screen.product(query).clone()
    assert without.dtype == torch.int32
    screen._packed = [Packed(screen.q)]
    with_it = screen.product(query)
    assert with_it.dtype == (torch.float32 if n <= FEW else torch.int32)
    assert torch.equal(with_it.long(), without.long())
    factors = query.factors(torch.full((n,), 8.0))
    for one, other in zip(
        screen.hits(with_it, factors), screen.hits(without, factors), strict=True
    ):
        assert torch.equal(one, other)
    assert torch.equal(screen.approximate(with_it, query, 5), screen.approximate(without, query, 5))
