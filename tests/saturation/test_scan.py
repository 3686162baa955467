"""The backward scan and the plain scan against the definition, ties and edges included."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens.errors import InputError
from satlens.saturation import scan
from satlens.saturation.ranking import top_ids
from tests.saturation.reference import saturation


@st.composite
def problems(draw):
    """States that move a little from layer to layer, a readout, and how coarse both are.

    Coarse integer values and repeated unembedding rows give true ties; ``still`` layers repeat the
    state before, which makes long unbroken tails.
    """
    generator = torch.manual_seed(draw(st.integers(0, 2**32)))
    n_layers, n_tokens = draw(st.integers(1, 7)), draw(st.integers(1, 40))
    d, outputs = draw(st.integers(1, 12)), draw(st.integers(1, 60))
    k = draw(st.integers(1, outputs))
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16]))
    steps = torch.randn(n_layers, n_tokens, d, generator=generator)
    steps *= torch.rand(n_layers, n_tokens, 1, generator=generator) < draw(st.floats(0.1, 1))
    weight = torch.randn(outputs, d, generator=generator)
    if draw(st.booleans()):  # coarse: exact arithmetic, many ties
        steps, weight = steps.round(), weight.round()
    if draw(st.booleans()):  # repeated rows
        weight = weight[torch.randint(outputs, (outputs,), generator=generator)]
    return steps.cumsum(0).to(dtype), weight.to(dtype), k


def read(weight):
    return lambda resid, layer: torch.nn.functional.linear(resid, weight)


@settings(max_examples=500)
@given(problems())
def test_both_scans_are_the_definition(problem):
    resid, weight, k = problem
    scores = read(weight)
    full = torch.stack([scan_scores(state, scores) for state in resid])
    final = top_ids(full[-1], k)
    plain, top = scan.plain_scan(resid, final, scores)
    assert torch.equal(plain, saturation(full.float(), final))
    assert torch.equal(scan.backward_scan(resid, final, scores), plain)
    assert torch.equal(top[:, -1], final)


def scan_scores(state, scores):
    """All scores of one layer, in the blocks the scans use (the definition is about ranking)."""
    rows = len(state)
    if rows < scan.MIN_ROWS:
        state = torch.cat([state, state[:1].expand(scan.MIN_ROWS - rows, -1)])
    return scores(state, 0)[:rows]


def test_known_layers():
    """Three layers, two outputs: fixed from the start, fixed from layer 1, censored, and flipping."""
    scores = torch.tensor(
        [
            [[2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [2.0, 1.0]],
            [[2.0, 1.0], [2.0, 1.0], [1.0, 2.0], [1.0, 2.0]],
            [[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [2.0, 1.0]],
        ]
    )
    final = torch.tensor([[0, 1]] * 4)
    for got in (
        scan.plain_scan(scores, final, lambda r, _: r)[0],
        scan.backward_scan(scores, final, lambda r, _: r),
    ):
        assert got.tolist() == [[0, 0], [1, 1], [2, 2], [2, 2]]


def test_one_layer_is_all_censored_at_layer_zero():
    resid, final = torch.randn(1, 5, 4), torch.tensor([[1, 2]] * 5)
    assert scan.backward_scan(resid, final, lambda r, _: r).eq(0).all()


def test_the_scores_of_all_rows_never_exist_at_once(monkeypatch):
    monkeypatch.setattr(scan, "MAX_ROWS", 64)
    seen = []

    def scores(resid, layer):
        seen.append(len(resid))
        return resid

    resid = torch.randn(4, 200, 9, generator=torch.manual_seed(0))
    scan.backward_scan(resid, top_ids(resid[-1], 3), scores)
    assert max(seen) <= 64 and min(seen) >= scan.MIN_ROWS


def test_the_walk_down_ends_when_nothing_is_left():
    layers = []

    def scores(resid, layer):
        layers.append(layer)
        return resid

    resid = torch.randn(30, 4, 50, generator=torch.manual_seed(0))
    scan.backward_scan(resid, top_ids(resid[-1], 2), scores)
    assert min(layers) > 20


@pytest.mark.parametrize("n_final", [0, 3])
def test_states_and_ranking_must_belong_together(n_final):
    with pytest.raises(InputError, match=r"got \(2, 4, 3\) and \(" + str(n_final)):
        scan.backward_scan(torch.zeros(2, 4, 3), torch.zeros(n_final, 2).long(), lambda r, _: r)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_scores_the_same_alone_and_in_company(dtype):
    """To the last bit: else the two scans could disagree about equal scores (see MIN_ROWS)."""
    generator = torch.manual_seed(0)
    weight = torch.randn(4096, 128, generator=generator).to(dtype)
    resid = torch.randn(700, 128, generator=generator).to(dtype)
    company = torch.cat(list(scan.score_blocks(resid, 0, read(weight))))
    for n in (1, 2, 3, 5, 31, 40):
        for rows in (slice(0, n), slice(700 - n, 700)):
            alone = torch.cat(list(scan.score_blocks(resid[rows], 0, read(weight))))
            assert torch.equal(alone, company[rows])
