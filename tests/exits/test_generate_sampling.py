"""Drawn tokens: the distribution asked for, and the same for a prompt in any company."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from satlens.errors import InputError, NumericsError
from satlens.exits import FixedLayer
from satlens.exits.generation.answers import Sampling, generators
from satlens.exits.generation.generate import generate
from satlens.lenses.logit import LogitLens
from tests.builders import random_ids
from tests.exits.literally import Random, host, states_of

SCORES = torch.tensor([[1.0, 3.0, 2.5, 2.5, -1.0, 2.0]])


def softmax(z: list[float], temperature: float = 1.0) -> np.ndarray:
    e = np.exp(np.array(z) / temperature)
    return e / e.sum()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_the_temperature_divides_the_scores(temperature):
    p = Sampling(temperature).probabilities(SCORES)[0].numpy()
    assert p == pytest.approx(softmax(SCORES[0].tolist(), temperature))


def test_top_k_keeps_k_and_of_equal_scores_the_lower_id():
    p = Sampling(top_k=2).probabilities(SCORES)[0]
    assert p.nonzero().flatten().tolist() == [1, 2]
    assert p[[1, 2]].numpy() == pytest.approx(softmax([3.0, 2.5]))


def test_top_p_keeps_the_fewest_that_reach_it():
    p = torch.tensor([[0.1, 0.4, 0.2, 0.2, 0.05, 0.05]])
    kept = {
        0.3: [1],
        0.5: [1, 2],
        0.7: [1, 2, 3],
        0.95: [0, 1, 2, 3, 4],
        1.0: [0, 1, 2, 3, 4, 5],
    }
    for top_p, ids in kept.items():
        found = Sampling(top_p=top_p).probabilities(p.log())[0]
        assert found.nonzero().flatten().tolist() == ids
        assert float(found.sum()) == pytest.approx(1)
        assert float(found[1] / found[ids].sum()) == pytest.approx(0.4 / float(p[0, ids].sum()))


def test_it_is_what_transformers_draws_from():
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    z = torch.randn(20, 60, generator=torch.Generator().manual_seed(0))
    want = z
    for warper in (TemperatureLogitsWarper(0.7), TopKLogitsWarper(30), TopPLogitsWarper(0.8)):
        want = warper(None, want)
    got = Sampling(0.7, 30, 0.8).probabilities(z)
    torch.testing.assert_close(got, want.double().softmax(1), atol=1e-6, rtol=1e-5)


def test_draws_have_the_distribution():
    n = 20_000
    sampling = Sampling(temperature=0.8, top_k=5)
    rows = SCORES.expand(n, -1)
    drawn = sampling.draw(rows, [torch.Generator().manual_seed(s) for s in range(n)])
    p = sampling.probabilities(SCORES)[0].numpy()
    counts = np.bincount(drawn.numpy(), minlength=len(p))
    assert counts[p == 0].sum() == 0
    assert chisquare(counts[p > 0], n * p[p > 0]).pvalue > 1e-3
    # The test can fail: another temperature is told apart.
    other = Sampling(temperature=1.0, top_k=5).probabilities(SCORES)[0].numpy()
    assert chisquare(counts[p > 0], n * other[p > 0]).pvalue < 1e-6


def test_a_token_of_no_probability_is_never_drawn(monkeypatch):
    z = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0, -math.inf]])
    for u, want in ((0.0, 1), (0.4999, 1), (0.5, 3), (1 - 2**-53, 3)):
        monkeypatch.setattr(
            torch, "rand", lambda *a, u=u, **k: torch.tensor([u], dtype=torch.float64)
        )
        assert Sampling().draw(z, [torch.Generator()]).tolist() == [want]


@torch.no_grad()
def test_generated_tokens_have_the_distribution_of_the_state_that_left():
    model = host("hf gpt2", torch.float32)
    prompt, n = random_ids(23, [4])[0], 3000
    made = generate(
        model, [prompt] * n, FixedLayer(0), max_new_tokens=2, do_sample=True, temperature=3.0,
        batch_size=1000, stop_at_eos=False, seed=5,
    )  # fmt: skip
    first = torch.stack([tokens[0] for tokens in made])
    last = model.n_layers - 1
    states = states_of(model, prompt, [last] * len(prompt))
    z = LogitLens(model).scores(states[last][-1:], last)
    p = Sampling(3.0).probabilities(z)[0].numpy()
    assert chisquare(np.bincount(first.numpy(), minlength=23), n * p).pvalue > 1e-3
    # Behind the most frequent first token, the second comes from the state after block 0.
    top = int(first.mode().values)
    second = torch.stack([tokens[1] for tokens in made if int(tokens[0]) == top])
    states = states_of(model, [*prompt, top], [last] * (len(prompt) + 1))
    p = Sampling(3.0).probabilities(LogitLens(model).scores(states[0][-1:], 0))[0].numpy()
    assert chisquare(np.bincount(second.numpy(), minlength=23), len(second) * p).pvalue > 1e-3


def test_a_prompt_draws_the_same_in_any_company():
    model = host("hf llama")
    prompts = random_ids(23, [5, 2, 6, 2, 1])
    policy = Random(3, model.d_model, 0.2)
    asked = dict(max_new_tokens=8, do_sample=True, stop_at_eos=False)
    whole = generate(model, prompts, policy, seed=4, **asked)
    for batch_size in (1, 2, 3):
        again = generate(model, prompts, policy, seed=4, batch_size=batch_size, **asked)
        assert [t.tolist() for t in again] == [t.tolist() for t in whole]
        assert [e.tolist() for e in again.exit_layer] == [e.tolist() for e in whole.exit_layer]
    seeds = [11, 12, 13, 14, 15]
    each = generate(model, prompts, policy, seed=seeds, **asked)
    for i in (0, 3):
        alone = generate(model, [prompts[i]], policy, seed=seeds[i], **asked)
        assert alone.tokens[0].tolist() == each.tokens[i].tolist()
    assert [t.tolist() for t in each] != [t.tolist() for t in whole]


def test_neighbouring_seeds_share_nothing():
    drawn = [
        torch.rand(4, generator=own).tolist() for seed in (0, 1) for own in generators(seed, 5)
    ]
    assert len({tuple(numbers) for numbers in drawn}) == 10


def test_drawing_leaves_the_global_random_state_alone():
    model = host("hf gpt2")
    torch.manual_seed(1)
    want = torch.rand(3)
    torch.manual_seed(1)
    generate(model, [[1, 2]], max_new_tokens=3, do_sample=True, seed=7)
    assert torch.equal(torch.rand(3), want)


def test_a_low_temperature_is_greedy():
    model = host("hf gpt2")
    prompts = random_ids(23, [3, 5])
    asked = dict(max_new_tokens=6, stop_at_eos=False)
    cold = generate(model, prompts, do_sample=True, temperature=1e-6, **asked)
    assert [t.tolist() for t in cold] == [t.tolist() for t in generate(model, prompts, **asked)]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (dict(temperature=0.0), "temperature must be above 0, got 0.0"),
        (dict(temperature=math.nan), "temperature must be above 0"),
        (dict(top_k=0), "top_k must be a whole number, 1 or more, got 0"),
        (dict(top_k=1.5), "top_k must be a whole number"),
        (dict(top_p=0.0), "top_p must be above 0 and at most 1, got 0.0"),
        (dict(top_p=1.1), "top_p must be above 0"),
    ],
)
def test_settings_out_of_their_range(asked, words):
    with pytest.raises(InputError, match=words):
        generate(host("hf gpt2"), [[1]], do_sample=True, **asked)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "a", [1], [1, 2, 3], [1, -2]])
def test_seeds_that_are_none(seed):
    with pytest.raises(
        InputError, match="seed must be a whole number, 0 or more, or one for each of"
    ):
        generate(host("hf gpt2"), [[1], [2]], do_sample=True, seed=seed)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nothing_is_drawn_from_nan(bad):
    z = SCORES.clone()
    z[0, 2] = bad
    with pytest.raises(NumericsError, match="NaN scores for 1 of 1"):
        Sampling().probabilities(z)
