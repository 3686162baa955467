"""Every scan against exact arithmetic, and the scans of any function against the definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens.errors import InputError, NumericsError
from satlens.models.readout import Head
from satlens.saturation import certified, rows, screen
from satlens.saturation.certified import certified_scan, final_ranking
from satlens.saturation.exact import Bounds
from satlens.saturation.quantised import QuantisedScreen
from satlens.saturation.ranking import top_ids
from satlens.saturation.rows import LinearRows, ScoredRows
from satlens.saturation.scan import backward_scan, plain_scan
from satlens.saturation.screen import FloatScreen
from tests.saturation.problems import problems
from tests.saturation.reference import saturation


@settings(max_examples=300)
@given(problems())
def test_plain_and_backward_are_the_definition_by_exact_arithmetic(problem):
    want, final = problem.answer()
    seen = problem.rows()
    assert torch.equal(seen.top(len(problem.x) - 1, problem.k), final)
    layer, top = plain_scan(seen, final)
    assert torch.equal(layer, want)
    assert torch.equal(top[:, -1], final)
    assert torch.equal(backward_scan(seen, final), want)


@pytest.mark.parametrize("kind", ["float32", "int8", "bfloat16"])
@settings(max_examples=300)
@given(problems(), st.sampled_from([64, 128, 4096]), st.sampled_from([3, 1024]), st.integers(0, 2))
def test_screened_scans_are_the_definition_by_exact_arithmetic(kind, problem, chunk, size, runners):
    want, final = problem.answer()
    seen, head = problem.rows(), problem.head
    screened = FloatScreen(head) if kind == "float32" else QuantisedScreen(head, kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screen, "CHUNK", chunk)
        patch.setattr(certified, "ROWS", size)
        patch.setattr(certified, "TOKENS", (size, size))
        found, near = final_ranking(seen, len(problem.x) - 1, problem.k, screened)
        assert torch.equal(found, final)
        near = [near, None, near[:, :1]][runners]
        assert torch.equal(certified_scan(seen, final, screened, near), want)


@pytest.mark.parametrize("kind", ["float32", "int8", "bfloat16"])
def test_another_final_ranking_is_followed_as_well(kind):
    """Nulls and donors bring a ranking of their own, which the last layer need not have."""
    generator = torch.manual_seed(0)
    x = torch.randn(6, 30, 16, generator=generator) * 0.3 + torch.randn(30, 16, generator=generator)
    head = Head(torch.randn(300, 16, generator=generator))
    seen = LinearRows(x, Bounds.of(head))
    final = torch.stack([torch.randperm(300, generator=generator)[:4] for _ in range(30)])
    final[:15] = seen.top(3, 4)[:15]
    screened = FloatScreen(head) if kind == "float32" else QuantisedScreen(head, kind)
    assert torch.equal(certified_scan(seen, final, screened), plain_scan(seen, final)[0])


def test_the_same_scan_twice_gives_the_same_and_writes_nothing():
    generator = torch.manual_seed(0)
    x, head = (
        torch.randn(5, 40, 8, generator=generator),
        Head(torch.randn(90, 8, generator=generator)),
    )
    seen, screened = LinearRows(x, Bounds.of(head)), QuantisedScreen(head)
    before = x.clone(), head.weight.clone()
    final, near = final_ranking(seen, 4, 5, screened)
    first = certified_scan(seen, final, screened, near)
    assert torch.equal(first, certified_scan(seen, final, screened, near))
    assert torch.equal(x, before[0]) and torch.equal(head.weight, before[1])


@st.composite
def functions(draw):
    """States and a readout that nothing is known of."""
    generator = torch.manual_seed(draw(st.integers(0, 2**32)))
    n_layers, n_tokens = draw(st.integers(1, 7)), draw(st.integers(1, 150))
    d, outputs = draw(st.integers(1, 12)), draw(st.integers(1, 60))
    k = draw(st.integers(1, outputs))
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16]))
    steps = torch.randn(n_layers, n_tokens, d, generator=generator)
    steps *= torch.rand(n_layers, n_tokens, 1, generator=generator) < draw(st.floats(0.1, 1))
    weight = torch.randn(outputs, d, generator=generator)
    if draw(st.booleans()):
        steps, weight = steps.round(), weight.round()
    if draw(st.booleans()):  # repeated rows: ties up to the rounding of the product
        weight = weight[torch.randint(outputs, (outputs,), generator=generator)].round(decimals=1)
    return steps.cumsum(0).to(dtype), weight.to(dtype), k


def read(weight):
    return lambda resid, layer: torch.nn.functional.linear(resid, weight)


@settings(max_examples=300)
@given(functions())
def test_both_scans_of_a_function_are_the_definition(problem):
    resid, weight, k = problem
    seen = ScoredRows(resid, read(weight))
    every = torch.arange(resid.shape[1])
    full = torch.stack(
        [torch.cat([z for z, _ in seen._blocks(layer, every)]) for layer in range(len(resid))]
    )
    final = top_ids(full[-1], k)
    layer, top = plain_scan(seen, final)
    assert torch.equal(layer, saturation(full.float(), final))
    assert torch.equal(backward_scan(seen, final), layer)
    assert torch.equal(top[:, -1], final)


def test_known_layers():
    """Three layers, two outputs: fixed from the start, fixed from layer 1, censored, and flipping."""
    scores = torch.tensor(
        [
            [[2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [2.0, 1.0]],
            [[2.0, 1.0], [2.0, 1.0], [1.0, 2.0], [1.0, 2.0]],
            [[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [2.0, 1.0]],
        ]
    )
    final, head = torch.tensor([[0, 1]] * 4), Head(torch.eye(2))
    linear = LinearRows(scores, Bounds.of(head))
    for got in (
        plain_scan(ScoredRows(scores, lambda r, _: r), final)[0],
        backward_scan(ScoredRows(scores, lambda r, _: r), final),
        backward_scan(linear, final),
        certified_scan(linear, final, FloatScreen(head)),
        certified_scan(linear, final, QuantisedScreen(head)),
    ):
        assert got.tolist() == [[0, 0], [1, 1], [2, 2], [2, 2]]


def test_one_layer_is_all_censored_at_layer_zero():
    final, head = torch.tensor([[1, 2]] * 5), Head(torch.eye(4))
    seen = LinearRows(torch.randn(1, 5, 4), Bounds.of(head))
    assert backward_scan(seen, final).eq(0).all()
    assert certified_scan(seen, final, QuantisedScreen(head)).eq(0).all()


def test_the_scores_of_all_rows_never_exist_at_once():
    seen = []

    def scores(resid, layer):
        seen.append(len(resid))
        return resid

    resid = torch.randn(4, 200, 9, generator=torch.manual_seed(0))
    backward_scan(ScoredRows(resid, scores), top_ids(resid[-1], 3))
    assert set(seen) == {rows.BLOCK}


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_products_never_hold_more_than_their_share(kind):
    head = Head(torch.randn(9000, 16, generator=torch.manual_seed(0)))
    x = torch.randn(3, 3000, 16, generator=torch.manual_seed(1)) * 0.1 + 1
    screened = FloatScreen(head) if kind == "float32" else QuantisedScreen(head, kind)
    final, near = final_ranking(LinearRows(x, Bounds.of(head)), 2, 3, screened)
    certified_scan(LinearRows(x, Bounds.of(head)), final, screened, near)
    assert screened._buffer._memory.numel() <= 2**24


def test_the_walk_down_ends_when_nothing_is_left():
    layers = []

    def scores(resid, layer):
        layers.append(layer)
        return resid

    resid = torch.randn(30, 4, 50, generator=torch.manual_seed(0))
    backward_scan(ScoredRows(resid, scores), top_ids(resid[-1], 2))
    assert min(layers) > 20


@pytest.mark.parametrize("n_final", [0, 3])
def test_states_and_ranking_must_belong_together(n_final):
    final = torch.zeros(n_final, 2).long()
    with pytest.raises(InputError, match=r"got 4 tokens at 2 layers, and \(" + str(n_final)):
        backward_scan(ScoredRows(torch.zeros(2, 4, 3), lambda r, _: r), final)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(bad):
    x = torch.zeros(2, 5, 3)
    x[0, 2, 1] = bad
    with pytest.raises(NumericsError, match="NaN scores for 1 of 5 positions"):
        LinearRows(x, Bounds.of(Head(torch.eye(3))))


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_scores_that_overflow_are_refused(kind):
    head = Head(torch.full((70, 4), 300.0, dtype=torch.float16))
    seen = LinearRows(torch.full((2, 3, 4), 300.0, dtype=torch.float16), Bounds.of(head))
    screened = FloatScreen(head) if kind == "float32" else QuantisedScreen(head, kind)
    with pytest.raises(NumericsError, match="overflow torch.float16: they reach 3.6e"):
        final_ranking(seen, 1, 2, screened)
    with pytest.raises(NumericsError, match="overflow torch.float16"):
        seen.top(1, 2)
