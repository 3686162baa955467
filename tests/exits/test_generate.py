"""What a call gives, and what it computes."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import satlens
from satlens.errors import InputError
from satlens.exits import FixedLayer, Never
from satlens.exits.generation.generate import generate
from satlens.exits.generation.request import stop_ids
from satlens.models.fast_linear import fast_linears
from satlens.models.identity import weights_sha256
from tests.builders import HAS_HOOKED, random_hf, random_ids
from tests.exits.literally import HOSTS, host, literally

TEXTS = ["Lily had a red ball.", "One day a dog"]


class By:
    """Rows leave by their position: what happens is known beforehand."""

    name = "by position"

    def __init__(self, layer_at: dict[int, int]) -> None:
        self.layer_at = layer_at

    def __call__(self, peek):
        wanted = [self.layer_at.get(pos, peek.n_layers) for pos in peek.pos.tolist()]
        return torch.tensor([layer <= peek.layer for layer in wanted])


def test_text_tokens_and_layers_of_the_bundled_model(tiny_host):
    made = generate(tiny_host, TEXTS, FixedLayer(11), max_new_tokens=12)
    tokenizer = tiny_host.tokenizer
    assert len(made) == 2 and made.n_layers == 16
    for index, text in enumerate(TEXTS):
        assert (
            made.prompts[index].tolist()[1:]
            == tokenizer(text, add_special_tokens=False)["input_ids"]
        )
        assert made.text[index] == tokenizer.decode(made.tokens[index], skip_special_tokens=True)
        assert made.exit_layer[index].tolist() == [15] + [11] * 11
        assert torch.equal(
            made.sequences[index], torch.cat([made.prompts[index], made.tokens[index]])
        )
    assert made.later == 22 and made.blocks == 22 * 12 and made.mean_blocks == 12
    assert made.tokens_per_second > 0 and made.seconds_prompt > 0 and made.acceptance_rate is None
    frame = made.to_frame()
    assert list(frame) == ["prompt", "step", "pos", "token", "exit_layer", "drafted", "text"]
    assert "".join(frame.text[frame.prompt == 0]) == made.text[0]
    assert frame.pos[0] == len(made.prompts[0])


def test_the_example_of_the_documentation_prints_what_it_shows(capsys):
    page = (Path(__file__).parents[2] / "docs" / "generation.md").read_text(encoding="utf-8")
    code, shown = re.findall(r"```(?:python|text)\n(.*?)```", page, re.DOTALL)[:2]
    exec(code, {})
    assert capsys.readouterr().out == shown


def test_the_bundled_model_writes_what_transformers_writes(tiny_host):
    from transformers import AutoModelForCausalLM

    from satlens.zoo import TINY

    hf = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()
    made = generate(tiny_host, TEXTS, max_new_tokens=24)
    for prompt, tokens in zip(made.prompts, made.tokens, strict=True):
        want = hf.generate(prompt[None], max_new_tokens=24, do_sample=False, pad_token_id=0)
        assert want[0, len(prompt) :].tolist() == tokens.tolist()
    again = generate(hf, [prompt.tolist() for prompt in made.prompts], max_new_tokens=24)
    assert [tokens.tolist() for tokens in again] == [tokens.tolist() for tokens in made]
    assert again.text is None and "text" not in again.to_frame()


def test_verified_drafts_are_counted(tiny_host):
    plain = generate(tiny_host, TEXTS, max_new_tokens=20)
    made = generate(tiny_host, TEXTS, FixedLayer(13), max_new_tokens=20, verify=3)
    assert [tokens.tolist() for tokens in made] == [tokens.tolist() for tokens in plain]
    assert 0 < made.acceptance_rate <= 1 and made.accepted <= made.proposed
    for layers, drafted in zip(made.exit_layer, made.drafted, strict=True):
        assert (layers[drafted] == 13).all() and (layers[~drafted] == 15).all() and drafted.any()
    # With nothing left early every draft is right, and a round of 3 gives 4 tokens.
    full = generate(tiny_host, TEXTS[:1], Never(), max_new_tokens=9, verify=3)
    assert full.acceptance_rate == 1
    assert full.drafted[0].tolist() == [False] + [True, True, True, False] * 2
    assert full.blocks == 8 * 16


def test_the_work_of_verified_drafts_is_that_of_the_formula():
    model = host("hf gpt2")  # 3 blocks
    made = generate(model, [[1, 2]], FixedLayer(0), max_new_tokens=2, verify=4, stop_at_eos=False)
    # One token is missing, so nothing is drafted: it runs in full.
    assert made.proposed == 0 and made.blocks == 3 and made.acceptance_rate is None
    made = generate(model, [[1, 2]], FixedLayer(0), max_new_tokens=3, verify=4, stop_at_eos=False)
    # One draft, one block; then the last input one block, and both the two blocks above; and maybe again.
    rounds = 1 if made.accepted else 2
    assert made.blocks == {1: 1 + 1 + 2 * 2, 2: 1 + 1 + 2 * 2 + 3}[rounds]


def flops(model, prompts, policy, **asked) -> int:
    """Of everything behind the prompts."""
    generate(
        model, prompts, policy, max_new_tokens=1, **asked
    )  # compares the decoder with its host, once
    with FlopCounterMode(display=False) as whole:
        generate(model, prompts, policy, max_new_tokens=9, stop_at_eos=False, **asked)
    with FlopCounterMode(display=False) as first:
        generate(model, prompts, policy, max_new_tokens=1, stop_at_eos=False, **asked)
    return whole.get_total_flops() - first.get_total_flops()


def test_a_row_that_left_is_not_computed():
    """Counted by torch: blocks of 4 layers; the head and the attention are small beside them."""
    model = satlens.wrap(random_hf("gpt2", layers=4, d=64, vocab=11, heads=2))
    prompts = random_ids(11, [5, 3])
    asked = dict(method="plain")
    full = flops(model, prompts, None, **asked)
    assert flops(model, prompts, Never(), **asked) == full
    for layer in (0, 1, 2):
        share = flops(model, prompts, FixedLayer(layer), **asked) / full
        assert share == pytest.approx((layer + 1) / 4, abs=0.04)
    # One row leaves after block 0, the other never: five eighths, not all of it.
    first = By(dict.fromkeys(range(5, 14), 0))  # the positions behind the longer prompt
    made = generate(model, prompts, first, max_new_tokens=3, stop_at_eos=False)
    assert made.exit_layer[0].tolist() == [3, 0, 0] and made.exit_layer[1].tolist() == [3, 3, 3]


def test_rows_that_leave_apart_cost_what_they_cost_alone():
    model = satlens.wrap(random_hf("gpt2", layers=4, d=64, vocab=11, heads=2))
    prompts = random_ids(11, [12, 3])
    policy = By(dict.fromkeys(range(12, 21), 0))
    both = flops(model, prompts, policy, method="plain")
    alone = [flops(model, [prompt], policy, method="plain") for prompt in prompts]
    assert both == pytest.approx(sum(alone), rel=0.02)
    assert alone[0] < alone[1] / 3


def test_keys_that_are_never_read_are_never_made():
    """All leave after block 1: nothing above it is computed for them, and no state waits twice."""
    model = satlens.wrap(random_hf("gpt2", layers=4, d=64, vocab=11, heads=2))
    prompts = random_ids(11, [3])
    left = flops(model, prompts, FixedLayer(1), method="plain")
    # The ninth position goes to the end and makes those of the seven before it: q, k, v of 2 blocks each.
    deep = flops(model, prompts, By({pos: 1 for pos in range(3, 10)}), method="plain")
    full = flops(model, prompts, None, method="plain")
    d, due = 64, 7
    one = (full - left) / 16  # a position in a block
    assert deep - left == pytest.approx(2 * one + 2 * due * 2 * 3 * d * d, rel=0.05)


def test_sequences_end_alone():
    model = host("hf llama")
    prompts = random_ids(23, [4, 2, 7])
    free = generate(model, prompts, max_new_tokens=10, stop_at_eos=False)
    end = int(free.tokens[0][2])
    made = generate(model, prompts, max_new_tokens=10, eos_token_id=end)
    for tokens, whole in zip(made.tokens, free.tokens, strict=True):
        stop = next((i + 1 for i, t in enumerate(whole.tolist()) if t == end), 10)
        assert tokens.tolist() == whole[:stop].tolist()
    assert len(made.tokens[0]) <= 3


def test_stop_ids_are_the_models_own(tiny_host):
    tiny = satlens.wrap(tiny_host)
    assert stop_ids(tiny, None) == {tiny_host.tokenizer.eos_token_id}
    for name in ("hf gpt2", "bridge gpt2"):
        assert stop_ids(host(name), None) == {0}
    assert stop_ids(tiny, [3, 4]) == {3, 4}
    beyond = replace(tiny, tokenizer=SimpleNamespace(eos_token_id=tiny.n_outputs))
    assert stop_ids(beyond, None) == set()  # a token that the model cannot say ends nothing
    with pytest.raises(InputError, match="eos_token_id must be a token id"):
        stop_ids(beyond, tiny.n_outputs)
    if HAS_HOOKED:
        assert stop_ids(host("hooked"), None) == set()


@pytest.mark.parametrize("method", ["plain", "backward", "certified", "auto"])
@pytest.mark.parametrize("name", ["hf gpt2", "bridge llama"])
def test_the_methods_find_the_same_tokens(name, method):
    model = host(name, torch.float32, ties=True)
    prompts = random_ids(23, [3, 6])
    asked = dict(policy=FixedLayer(1), max_new_tokens=8, stop_at_eos=False)
    want = generate(model, prompts, **asked)
    got = generate(model, prompts, method=method, **asked)
    assert [t.tolist() for t in got] == [t.tolist() for t in want]


def test_a_lens_of_ones_own_reads_the_tokens():
    class Next:
        """Prefers the token after the logit lens's."""

        name = "next"

        def scores(self, resid, layer):
            return model.readout(resid).roll(1, -1)

    model = host("hf gpt2")
    plain = generate(model, [[1, 2]], max_new_tokens=1, stop_at_eos=False)
    made = generate(model, [[1, 2]], max_new_tokens=1, lens=Next(), stop_at_eos=False)
    assert int(made.tokens[0][0]) == (int(plain.tokens[0][0]) + 1) % 23
    assert made.settings["lens"] == "next"
    peeked = []

    def policy(peek):
        peeked.append(peek.scores().argmax(1) == (model.readout(peek.resid).argmax(1) + 1) % 23)
        return torch.ones(len(peek.resid), dtype=torch.bool)

    made = generate(model, [[1, 2]], policy, max_new_tokens=3, lens=Next(), stop_at_eos=False)
    assert torch.cat(peeked).all() and made.settings["policy"] == "policy"


def test_a_policy_may_write_into_what_it_sees():
    def vandal(peek):
        peek.resid.zero_()
        peek.pos.zero_()
        if peek.before is not None:
            peek.before.zero_()
        return torch.zeros(len(peek.pos), dtype=torch.bool)

    model = host("hooked" if HAS_HOOKED else "bridge gpt2")
    prompts = random_ids(23, [3, 5])
    asked = dict(max_new_tokens=6, stop_at_eos=False)
    assert [t.tolist() for t in generate(model, prompts, vandal, **asked)] == [
        t.tolist() for t in generate(model, prompts, **asked)
    ]


def test_the_answer_of_one_token_of_a_context_that_is_full():
    model = host("hf gpt2")
    prompt = random_ids(23, [31])[0]  # the context is 32
    made = generate(model, [prompt], max_new_tokens=1)
    assert made.tokens[0].tolist() == literally(model, prompt, None, 1)[0]
    assert made.later == 0 and math.isnan(made.tokens_per_second) and math.isnan(made.mean_blocks)


def test_drafts_at_the_end_of_the_context():
    model = host("hf gpt2")
    prompts = random_ids(23, [22, 5])
    asked = dict(max_new_tokens=10, stop_at_eos=False)  # 22 + 10 fill it
    plain = generate(model, prompts, **asked)
    made = generate(model, prompts, FixedLayer(1), verify=6, **asked)
    assert [t.tolist() for t in made] == [t.tolist() for t in plain]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_narrow_types_stay_near_their_own_full_model(family, dtype):
    """Sums of 8 bits of mantissa differ by order, so a token may differ where two are nearly equal."""
    model = satlens.wrap(random_hf(family, d=32, vocab=23).to(dtype))
    prompts = random_ids(23, [4, 6])
    for policy in (None, FixedLayer(1)):
        made = generate(model, prompts, policy, max_new_tokens=8, stop_at_eos=False)
        assert all(len(tokens) == 8 for tokens in made)
    made = generate(model, prompts, max_new_tokens=8, stop_at_eos=False)
    for sequence, prompt in zip(made.sequences, prompts, strict=True):
        with torch.no_grad():
            z = model.host(sequence[None, :-1]).logits[0, len(prompt) - 1 :].float()
        said = z.gather(1, sequence[len(prompt) :, None])[:, 0]
        assert float((z.amax(1) - said).max()) <= 0.1 * float(z.std())


def test_inside_fast_linears_the_tokens_are_the_same():
    for name in ("hf gpt2", "hf llama", "bridge gpt2"):
        model = host(name, torch.float32)
        prompts = random_ids(23, [4, 2])
        asked = dict(policy=FixedLayer(1), max_new_tokens=8, stop_at_eos=False)
        want = generate(model, prompts, **asked)
        with fast_linears(model):
            got = generate(model, prompts, **asked)
        assert [t.tolist() for t in got] == [t.tolist() for t in want]


def modules_with_hooks(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    return (m for m in module.modules() if m._forward_hooks or m._forward_pre_hooks)


@pytest.mark.parametrize("name", HOSTS)
def test_the_host_is_left_as_it_was(name):
    model = host(name)
    generate(
        model, [[1, 2]], max_new_tokens=2
    )  # bridges put hooks of their own on in the first pass
    before, hooked = weights_sha256(model), len(list(modules_with_hooks(model.host)))
    generate(model, [[1, 2, 3]], FixedLayer(0), max_new_tokens=4)
    assert weights_sha256(model) == before
    assert len(list(modules_with_hooks(model.host))) == hooked
    assert not model.host.training


def test_edited_weights_are_used_at_once():
    for name in HOSTS:
        model = satlens.wrap(HOSTS[name]())
        prompts = random_ids(23, [4, 2])
        asked = dict(policy=FixedLayer(1), max_new_tokens=8, stop_at_eos=False)
        before = generate(model, prompts, **asked)
        generator = torch.Generator().manual_seed(1)
        for _, parameter in sorted(model.host.named_parameters()):
            parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        after = generate(model, prompts, **asked)
        assert [t.tolist() for t in after] != [t.tolist() for t in before]
        for index, prompt in enumerate(prompts):
            assert literally(model, prompt, FixedLayer(1), 8)[0] == after.tokens[index].tolist()
