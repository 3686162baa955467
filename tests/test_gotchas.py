"""Every trap of docs/gotchas.md, sprung: what TransformerLens or PyTorch does, and what satlens does."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import torch

import satlens
from hooks.logit_lens import readout
from hooks.record_residual_states import record_residual_states
from satlens.errors import ModelError
from satlens.models import weights_sha256
from tests.builders import (
    HAS_HOOKED,
    NO_HOOKED,
    random_bridge,
    random_hf,
    random_hooked,
    random_ids,
    random_other_hf,
    to_bridge,
)

TOKENS = torch.tensor(random_ids(50, [12, 12]))
LAST = "blocks.2.hook_resid_post"


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def host():
    """GPT-2's shape, with norms that do something."""
    model = random_hf("gpt2")
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "ln" in name:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def differ(a, b):
    return float((a - b).abs().max())


def test_hooked_transformer_is_gone_from_4():
    import transformer_lens

    if HAS_HOOKED:
        assert hasattr(transformer_lens, "HookedTransformer")
    else:
        with pytest.raises(ImportError, match="was removed in TransformerLens 4"):
            hasattr(transformer_lens, "HookedTransformer")
    found = type(satlens.load_model("tiny")).__name__
    assert found == ("HookedTransformer" if HAS_HOOKED else "TransformerBridge")


def test_a_bridge_calls_a_hook_point_by_another_name():
    seen = []
    point = "blocks.1.hook_resid_post"
    keep = (point, lambda resid, hook: seen.append((hook.name, hook.layer())))
    random_bridge(n_layers=3).run_with_hooks(TOKENS, fwd_hooks=[keep])
    assert seen == [("blocks.1.hook_out", 1)]
    if HAS_HOOKED:
        random_hooked(n_layers=3).run_with_hooks(TOKENS, fwd_hooks=[keep])
        assert seen[1:] == [(point, 1)]


def test_an_unknown_hook_name_may_be_ignored():
    bridge, called = random_bridge(n_layers=3), []
    unknown = [("blocks.1.hook_nonsense", lambda resid, hook: called.append(resid))]
    if HAS_HOOKED:
        assert bridge.run_with_hooks(TOKENS, fwd_hooks=unknown).shape == (2, 12, 50)
    else:
        with pytest.raises(KeyError, match="hook_nonsense"):
            bridge.run_with_hooks(TOKENS, fwd_hooks=unknown)
    assert not called
    assert unknown[0][0] not in bridge.hook_dict and "blocks.1.hook_resid_post" in bridge.hook_dict


def test_stopping_after_the_last_block_gives_a_bridges_logits():
    assert random_bridge(n_layers=3)(TOKENS, stop_at_layer=3).shape == (2, 12, 50)
    assert random_bridge(n_layers=3)(TOKENS, stop_at_layer=2).shape == (2, 12, 32)
    if HAS_HOOKED:
        assert random_hooked(n_layers=3)(TOKENS, stop_at_layer=3).shape == (2, 12, 32)
    assert record_residual_states(random_bridge(n_layers=3), TOKENS)[0].shape == (3, 2, 12, 32)


def test_an_encoder_decoders_n_layers_is_of_its_encoder():
    model = to_bridge(random_other_hf("t5"))
    assert model.cfg.n_layers == 2 and len(model.decoder_blocks) == 3
    if not HAS_HOOKED:  # the one of TransformerLens 3 does not run with this transformers
        assert satlens.wrap(model).n_layers == 3


def test_a_new_bridge_may_be_in_training_mode():
    from transformer_lens.model_bridge import TransformerBridge

    shape = dict(n_layers=3, d_model=32, n_heads=4, d_head=8, d_mlp=64, d_vocab=50, n_ctx=32)
    model = TransformerBridge.boot_native(dict(**shape, act_fn="gelu", seed=0))
    assert model.training
    with pytest.raises(ModelError, match=r"is in training mode.*model\.eval\(\)"):
        satlens.detect(model, TOKENS)
    assert len(satlens.detect(model.eval(), TOKENS)) == TOKENS.numel()


def test_norm_and_unembedding_are_not_always_the_readout():
    model = random_bridge(n_layers=3, family="cohere")
    states, logits = record_residual_states(model, TOKENS)
    assert differ(model.unembed(model.ln_final(states[-1])), logits) > 0.1
    assert torch.equal(readout(model, states[-1]), logits)
    assert torch.equal(satlens.wrap(model).readout(states[-1].flatten(0, 1)), logits.flatten(0, 1))


def test_hook_normalized_is_before_the_gain(host):
    model = to_bridge(host)
    logits, cache = model.run_with_cache(TOKENS)
    assert differ(model.unembed(cache["ln_final.hook_normalized"]), logits) > 0.01
    assert differ(model.unembed(model.ln_final(cache[LAST])), logits) < 1e-5


def test_hugging_faces_last_hidden_state_is_after_the_norm(host):
    out = host(TOKENS, output_hidden_states=True)
    norm = host.transformer.ln_f
    states, _ = record_residual_states(to_bridge(host), TOKENS)
    assert len(out.hidden_states) == len(states) + 1, "the embedding comes first"
    assert differ(out.hidden_states[2], states[1]) < 1e-4
    assert differ(out.hidden_states[-1], norm(states[-1])) < 1e-4
    assert differ(host.lm_head(norm(out.hidden_states[-1])), out.logits) > 0.01


def test_topk_breaks_ties_as_it_likes():
    scores = torch.zeros(1, 50)
    assert scores.topk(5).indices[0].tolist() != [0, 1, 2, 3, 4]
    assert scores.sort(descending=True, stable=True).indices[0, :5].tolist() == [0, 1, 2, 3, 4]
    model = random_bridge(n_layers=3, vocab=2000, dtype=torch.bfloat16)
    tokens = torch.tensor(random_ids(2000, [16] * 4))
    logits = model(tokens).float()
    stable = logits.sort(descending=True, stable=True).indices[..., :5].flatten(0, 1)
    top = logits.sort(descending=True).values[..., :6]
    assert (top.diff() == 0).any(-1).float().mean() > 0.1, "ties are common in bfloat16"
    assert np.array_equal(satlens.detect(model, tokens, k=5, include_bos=True).token, stable)


def test_the_first_token_does_not_count(tiny_host):
    text = "Once upon a time there was a dog."
    tokens = tiny_host.to_tokens(text)
    events = satlens.detect(tiny_host, [text], k=2)
    assert tokens[0, 0] == tiny_host.tokenizer.bos_token_id
    assert events.pos.tolist() == list(range(1, tokens.shape[1]))
    assert np.array_equal(satlens.detect(tiny_host, tokens, k=2).layer, events.layer)
    assert len(satlens.detect(tiny_host, tokens, k=2, include_bos=True)) == tokens.shape[1]


def test_padding_counts_where_no_mask_says_so():
    model, padded, mask = random_bridge(n_layers=3), TOKENS.clone(), torch.ones_like(TOKENS)
    padded[0, 8:] = mask[0, 8:] = 0
    assert len(satlens.detect(model, padded)) == 24
    masked = satlens.detect(model, {"input_ids": padded, "attention_mask": mask})
    ragged = satlens.detect(model, [TOKENS[0, :8].tolist(), TOKENS[1].tolist()])
    assert len(masked) == 20 and np.array_equal(masked.layer, ragged.layer)


def test_a_bridge_is_not_pickled():
    model = random_bridge(n_layers=3)
    for save in (pickle.dumps, lambda one: torch.save(one, io.BytesIO())):
        with pytest.raises((AttributeError, pickle.PicklingError), match="local object"):
            save(model)
    assert torch.equal(copy.deepcopy(model)(TOKENS), model(TOKENS))


def test_a_bridge_changes_what_it_is_built_on(host):
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    kind, kept = type(host.transformer.h[0]), copy.deepcopy(host)
    build_bridge_from_module(host, "GPT2LMHeadModel", hf_config=host.config, model_name="x")
    assert type(host.transformer.h[0]) is not kind
    assert type(kept.transformer.h[0]) is kind


def test_folded_weights_have_other_states_and_the_same_events(host):
    raw, folded = to_bridge(host), to_bridge(host)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what TransformerLens says of its own mode
        folded.enable_compatibility_mode()
    pairs = [(raw, folded)]
    if HAS_HOOKED:
        pairs.append((random_hooked(n_layers=3), random_hooked(n_layers=3)))
        pairs[1][1].process_weights_()
    for one, other in pairs:
        (states, logits), (moved, shifted) = (
            record_residual_states(model, TOKENS) for model in (one, other)
        )
        assert differ(states, moved) > 0.01
        gap = shifted - logits
        assert differ(gap, gap.mean(-1, keepdim=True)) < 1e-4 < float(gap.abs().max())
        events, same = satlens.detect(one, TOKENS), satlens.detect(other, TOKENS)
        assert np.array_equal(events.token, same.token)
        assert np.array_equal(events.layer, same.layer)
        assert weights_sha256(one) != weights_sha256(other)


def test_hooks_that_are_left_act_in_what_is_measured():
    model = random_bridge(n_layers=3)
    clean = satlens.detect(model, TOKENS)
    model.add_hook("blocks.0.hook_resid_post", lambda resid, hook: -resid)
    assert not np.array_equal(satlens.detect(model, TOKENS).token, clean.token)
    model.reset_hooks()
    assert np.array_equal(satlens.detect(model, TOKENS).token, clean.token)


def test_a_cache_of_everything_holds_far_more_than_the_states():
    _, cache = random_bridge(n_layers=3).run_with_cache(TOKENS)
    states = sum(cache[f"blocks.{layer}.hook_resid_post"].numel() for layer in range(3))
    assert sum(value.numel() for value in cache.values()) > 30 * states


@pytest.mark.skipif(not HAS_HOOKED, reason=NO_HOOKED)
def test_the_notice_of_deprecation_is_an_error_where_warnings_are():
    from transformer_lens.config.hooked_transformer_config import HookedTransformerConfig
    from transformer_lens.HookedTransformer import HookedTransformer

    shape = dict(n_layers=1, d_model=8, d_head=4, n_ctx=8, d_vocab=9, act_fn="relu")
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        with pytest.raises(DeprecationWarning, match="HookedTransformer is deprecated"):
            HookedTransformer(HookedTransformerConfig(**shape))
        warnings.filterwarnings("ignore", "HookedTransformer is deprecated", DeprecationWarning)
        HookedTransformer(HookedTransformerConfig(**shape))
