"""Generation against the loop that computes everything anew at every step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens.exits import FixedLayer, Never, Patience, SoftmaxResponse, StateSaturation
from satlens.exits.generation.generate import generate
from satlens.lenses import LinearShortcut
from tests.builders import random_ids
from tests.exits.literally import HOSTS, Random, host, literally

LENGTHS = [5, 9, 1]


def agrees(model, made, prompts, policy, new, ends=()):
    for index, prompt in enumerate(prompts):
        tokens, layers = literally(model, prompt, policy, new, ends)
        assert made.tokens[index].tolist() == tokens, f"prompt {index}"
        assert made.exit_layer[index].tolist() == layers, f"prompt {index}"


@pytest.mark.parametrize("name", HOSTS)
def test_without_exits_it_is_the_full_models_greedy_decoding(name):
    model = host(name, torch.float32)
    prompts = random_ids(23, LENGTHS)
    want = [literally(model, prompt, None, 10)[0] for prompt in prompts]
    for batch_size in (1, 3):
        for policy in (None, Never()):
            made = generate(
                model, prompts, policy, max_new_tokens=10, batch_size=batch_size, stop_at_eos=False
            )
            assert [tokens.tolist() for tokens in made] == want
            assert all((layers == model.n_layers - 1).all() for layers in made.exit_layer)


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize(
    "policy",
    [FixedLayer(0), SoftmaxResponse(0.3), StateSaturation(0.5), Patience(2)],
    ids=lambda policy: f"{policy.name} {policy.threshold}",
)
def test_the_policies_leave_where_they_do_in_the_loop(name, policy):
    model = host(name)
    prompts = random_ids(23, LENGTHS)
    made = generate(model, prompts, policy, max_new_tokens=6, stop_at_eos=False)
    agrees(model, made, prompts, policy, 6)


@pytest.mark.parametrize("name", ["hf gpt2", "bridge llama"])
def test_another_lens_reads_the_tokens_and_serves_the_policy(name):
    model = host(name)
    lens = LinearShortcut.fit(model, random_ids(23, [30] * 8, seed=1), ridge=0.1)
    prompts = random_ids(23, LENGTHS)
    other = False
    for policy in (FixedLayer(0), Random(2, model.d_model, 0.0), SoftmaxResponse(0.4)):
        made = generate(model, prompts, policy, max_new_tokens=6, lens=lens, stop_at_eos=False)
        plain = generate(model, prompts, policy, max_new_tokens=6, stop_at_eos=False)
        other |= [t.tolist() for t in made] != [t.tolist() for t in plain]
        for index, prompt in enumerate(prompts):
            want = literally(model, prompt, policy, 6, lens=lens)
            assert (made.tokens[index].tolist(), made.exit_layer[index].tolist()) == want
    assert other


@settings(max_examples=30)
@given(
    name=st.sampled_from(sorted(HOSTS)),
    ties=st.booleans(),
    seed=st.integers(0, 10**6),
    strict=st.floats(-0.9, 0.9),
    remembers=st.booleans(),
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    new=st.integers(1, 8),
    batch_size=st.integers(1, 5),
    ends=st.sampled_from([(), (3,), (1, 2, 5, 7)]),
)
def test_any_policy_any_batch(name, ties, seed, strict, remembers, lengths, new, batch_size, ends):
    model = host(name, ties=ties)
    policy = Random(seed, model.d_model, strict, remembers)
    prompts = random_ids(23, lengths, seed)
    made = generate(
        model, prompts, policy, max_new_tokens=new, batch_size=batch_size,
        eos_token_id=list(ends), stop_at_eos=bool(ends),
    )  # fmt: skip
    agrees(model, made, prompts, policy, new, ends)
    assert made.blocks == sum(int(layers[1:].sum()) + len(layers) - 1 for layers in made.exit_layer)


@settings(max_examples=30)
@given(
    name=st.sampled_from(sorted(HOSTS)),
    ties=st.booleans(),
    seed=st.integers(0, 10**6),
    strict=st.floats(-0.9, 0.9),
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    new=st.integers(1, 10),
    drafts=st.integers(1, 5),
    ends=st.sampled_from([(), (3,), (1, 2, 5, 7)]),
)
def test_verified_drafts_are_the_full_models_tokens(
    name, ties, seed, strict, lengths, new, drafts, ends
):
    model = host(name, ties=ties)
    policy = Random(seed, model.d_model, strict)
    prompts = random_ids(23, lengths, seed)
    made = generate(
        model, prompts, policy, max_new_tokens=new, verify=drafts,
        eos_token_id=list(ends), stop_at_eos=bool(ends),
    )  # fmt: skip
    for index, prompt in enumerate(prompts):
        assert made.tokens[index].tolist() == literally(model, prompt, None, new, ends)[0]
        assert (made.exit_layer[index][~made.drafted[index]] == model.n_layers - 1).all()
    assert made.accepted <= made.proposed
