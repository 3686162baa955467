"""What generate refuses, and in which words."""

import copy
import math

import pytest
import torch

import satlens
from satlens.errors import InputError, ModelError, NumericsError
from satlens.exits import FixedLayer, Never, SoftmaxResponse
from satlens.exits.generation.generate import generate
from tests.builders import HAS_HOOKED, random_hf, random_hooked, random_other, to_bridge
from tests.exits.literally import host


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (dict(max_new_tokens=0), "max_new_tokens must be a whole number, 1 or more, got 0"),
        (dict(max_new_tokens=2.0), "max_new_tokens must be a whole number"),
        (dict(max_new_tokens=True), "max_new_tokens must be a whole number"),
        (dict(policy="probe"), r"a satlens.exits policy such as FixedLayer\(5\), or None; got 'probe'"),
        (dict(policy=Never), "policy must be a satlens.exits policy"),
        (dict(policy=FixedLayer(1), verify=0), "verify must be a whole number, 1 or more, got 0"),
        (dict(verify=3), "verify needs a policy whose exits draft"),
        (dict(policy=FixedLayer(1), verify=3, do_sample=True), "cannot be used with do_sample"),
        (dict(temperature=0.7), "temperature without do_sample=True would have no effect"),
        (dict(top_k=5, top_p=0.9), "top_k, top_p without do_sample=True"),
        (dict(batch_size=0), "batch_size must be at least 1, got 0"),
        (dict(method="best"), "method must be one of auto, plain, backward, certified"),
        (dict(eos_token_id=23), r"eos_token_id must be a token id, 0 .. 22, or several; got 23"),
        (dict(eos_token_id=[1, -1]), "eos_token_id must be a token id"),
        (dict(eos_token_id="end"), "eos_token_id must be a token id"),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing(asked, words):
    with pytest.raises(InputError, match=words):
        generate(host("hf gpt2"), [[1, 2]], **asked)


def test_a_lens_of_another_model():
    lens = satlens.LogitLens(satlens.wrap(host("hf gpt2")))
    with pytest.raises(InputError, match="given beside another model"):
        generate(copy.deepcopy(host("hf gpt2")), [[1, 2]], lens=lens)


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ([], "no documents"),
        ([[]], "Document 0 is empty"),
        ([[1], [2, 23]], r"Document 1 has ids from 2 to 23; the model reads 0 .. 22"),
        ([[1, -1]], "has ids from -1"),
        ("text", "the model has no tokenizer"),
        ([[1.5]], "token ids are whole numbers"),
        ([[1] * 30], "Prompt 0 has 30 tokens, and with max_new_tokens=4 it needs 34; the context of .* is "
                     "32: at most 2 new tokens fit"),
        ([[1], [1] * 32], "Prompt 1 has 32 tokens.*: shorten it: no new token fits behind it"),
        ([[1], [1] * 50], "Prompt 1 has 50 tokens"),
    ],
)  # fmt: skip
def test_prompts_that_cannot_be_continued(prompts, words, caplog):
    with pytest.raises(InputError, match=words):
        generate(host("hf gpt2"), prompts, max_new_tokens=4)
    assert not caplog.records  # nothing about windows, which a prompt has none of


def test_an_empty_text(tiny_host):
    with pytest.raises(InputError, match="has no tokens"):
        generate(tiny_host, ["Lily", ""])


@pytest.mark.parametrize(
    "said",
    [
        lambda peek: torch.ones(len(peek.resid)),
        lambda peek: torch.ones(len(peek.resid) + 1, dtype=torch.bool),
        lambda peek: torch.ones(len(peek.resid), 1, dtype=torch.bool),
        lambda peek: True,
        lambda peek: None,
    ],
    ids=["floats", "too many", "two axes", "one answer", "nothing"],
)
def test_a_policy_that_does_not_answer(said):
    with pytest.raises(InputError, match="must return one boolean a token"):
        generate(host("hf gpt2"), [[1, 2], [3]], said, max_new_tokens=3)


def test_encoders_and_unknown_blocks_are_refused():
    for kind in ("bert", "bart"):
        with pytest.raises(ModelError, match="is no decoder-only language model"):
            generate(random_other(kind), [[1, 2]])
    known = (
        "It knows HookedTransformer, and as Hugging Face models or bridges of them GPT2LMHeadModel"
    )
    for made in (random_hf("gemma2"), to_bridge(random_hf("phi"))):
        with pytest.raises(ModelError, match="does not know the blocks of .*" + known):
            generate(made, [[1, 2]])


def test_nan_says_where():
    made = random_hf("gpt2")
    model = satlens.wrap(made)
    made.transformer.h[1].mlp.c_fc.bias.data[3] = math.nan
    with pytest.raises(NumericsError, match="NaN scores for 16 of 16 positions of a short text"):
        generate(model, [[1, 2]])
    generate(model := satlens.wrap(random_hf("gpt2")), [[1, 2]])
    model.host.transformer.h[1].mlp.c_fc.bias.data[3] = math.nan  # the comparison is over
    for do_sample in (False, True):
        with pytest.raises(NumericsError, match="NaN scores for 1 of 1"):
            generate(model, [[1, 2]], do_sample=do_sample)
    with pytest.raises(NumericsError, match=r"values of transformer.h.1.mlp.c_fc.bias are NaN"):
        generate(made, [[1, 2]])


def test_training_mode_is_refused():
    made = copy.deepcopy(random_hf("gpt2"))
    model = satlens.wrap(made)
    made.train()
    with pytest.raises(ModelError, match="is in training mode"):
        generate(model, [[1, 2]])


def test_an_error_of_the_policy_is_the_callers():
    def breaks(peek):
        if peek.layer == 1:
            raise KeyError("mine")
        return torch.zeros(len(peek.resid), dtype=torch.bool)

    model = host("hf gpt2")
    with pytest.raises(KeyError, match="mine"):
        generate(model, [[1, 2]], breaks)
    assert len(generate(model, [[1, 2]], SoftmaxResponse(0.5)).tokens) == 1


@pytest.mark.skipif(not HAS_HOOKED, reason="no HookedTransformer")
@pytest.mark.parametrize(
    "settings",
    [dict(act_fn="solu_ln"), dict(positional_embedding_type="shortformer")],
    ids=lambda settings: next(iter(settings)),
)
def test_hooked_transformers_of_other_blocks_are_refused(settings):
    (said,) = settings.items()
    with pytest.raises(ModelError, match=f"does not know a HookedTransformer with {said[0]}="):
        generate(random_hooked(**settings), [[1, 2]])
