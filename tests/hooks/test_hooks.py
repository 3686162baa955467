"""Every recipe on every kind of host, against satlens and against the model itself."""

import ast
from pathlib import Path

import pytest
import torch

import satlens
from hooks.freeze_after_saturation import freeze_after_saturation
from hooks.logit_lens import logit_lens
from hooks.mark_saturation import mark_saturation
from hooks.record_residual_states import record_residual_states
from tests.hooks.hosts import TOKENS, attached

RECIPES = sorted(Path(__file__).parents[2].glob("hooks/*.py"))


def run_all(model):
    """Each recipe once, by name."""
    layer, token = mark_saturation(model, TOKENS, k=3)
    return {
        "record": record_residual_states(model, TOKENS),
        "lens": logit_lens(model, TOKENS),
        "mark": (layer, token),
        "freeze": freeze_after_saturation(model, TOKENS, layer[..., 0]),
    }


def test_recorded_states_are_those_satlens_sees(model):
    resid, logits = record_residual_states(model, TOKENS)
    wrapped = satlens.wrap(model)
    (batch,) = wrapped.batches(TOKENS, 2, include_bos=True)
    states = wrapped.states(batch)
    assert torch.equal(resid.flatten(1, 2), states.resid)
    assert torch.equal(logits.flatten(0, 1), states.logits)


def test_the_lens_is_satlens_lens_and_ends_at_the_logits(model):
    scores = logit_lens(model, TOKENS, read=lambda scores: scores)
    lens = satlens.LogitLens(satlens.wrap(model))
    resid, logits = record_residual_states(model, TOKENS)
    assert torch.equal(scores[-1], logits)
    for layer, states in enumerate(resid):
        assert torch.equal(scores[layer], lens.scores(states, layer))


def test_the_lens_at_a_layer_is_what_the_model_says_when_that_state_comes_out_last(model):
    """An oracle that knows no readout: put layer l's state in place of the last block's output."""
    resid, _ = record_residual_states(model, TOKENS)
    scores = logit_lens(model, TOKENS, read=lambda scores: scores)
    last = f"blocks.{len(model.blocks) - 1}.hook_resid_post"
    for layer, state in enumerate(resid):
        with (
            model.hooks(fwd_hooks=[(last, lambda resid, hook, state=state: state)]),
            torch.no_grad(),
        ):
            assert torch.equal(model(TOKENS), scores[layer])


@pytest.mark.parametrize("k", [1, 5, 50])
def test_marked_saturation_is_what_detect_finds(model, k):
    layer, token = mark_saturation(model, TOKENS, k=k)
    events = satlens.detect(model, TOKENS, k=k, include_bos=True)
    assert layer.flatten(0, 1).tolist() == events.layer.tolist()
    assert token.flatten(0, 1).tolist() == events.token.tolist()


def test_freezing_one_position_keeps_its_top1(model):
    """Its logits are then the lens at its saturation layer, where its top-1 is the final one."""
    layer, token = mark_saturation(model, TOKENS, k=1)
    scores = logit_lens(model, TOKENS, read=lambda scores: scores)
    n_layers, early = len(model.blocks), 0
    for row in range(len(TOKENS)):
        for pos in range(TOKENS.shape[1]):
            alone = torch.full(TOKENS.shape, n_layers - 1)
            alone[row, pos] = s = layer[row, pos, 0]
            logits = freeze_after_saturation(model, TOKENS, alone)[row, pos]
            assert torch.allclose(logits, scores[s, row, pos], atol=1e-5)
            assert logits.argmax() == token[row, pos, 0]
            early += int(s < n_layers - 1)
    assert early > 0 or n_layers == 1, "nothing was frozen: the test has shown nothing"


def test_freezing_before_saturation_changes_top1(model):
    """The control: one block too early, and the answer is another one."""
    layer, token = mark_saturation(model, TOKENS, k=1)
    late = (layer[..., 0] > 0).nonzero().tolist()
    for row, pos in late:
        alone = torch.full(TOKENS.shape, len(model.blocks) - 1)
        alone[row, pos] = layer[row, pos, 0] - 1
        logits = freeze_after_saturation(model, TOKENS, alone)[row, pos]
        assert logits.argmax() != token[row, pos, 0]
    assert late or len(model.blocks) == 1


def test_freezing_all_changes_nothing_only_where_nothing_is_held(model):
    with torch.no_grad():
        logits = model(TOKENS)
    never = torch.full(TOKENS.shape, len(model.blocks) - 1)
    assert torch.equal(freeze_after_saturation(model, TOKENS, never), logits)
    first = freeze_after_saturation(model, TOKENS, torch.zeros_like(never))
    assert torch.equal(first, logit_lens(model, TOKENS, read=lambda scores: scores)[0])


def test_no_hook_is_left_behind(model):
    before = attached(model)
    run_all(model)
    assert attached(model) == before


def test_no_hook_is_left_behind_after_an_error(model):
    before = attached(model)

    def fails(scores):
        raise ArithmeticError("on purpose")

    with pytest.raises(ArithmeticError, match="on purpose"):
        logit_lens(model, TOKENS, read=fails)
    if len(model.blocks) > 1:  # one block alone holds nothing, so it never looks at the layers
        with pytest.raises((RuntimeError, IndexError)):
            freeze_after_saturation(model, TOKENS, torch.zeros(7, 3))
    for run in (record_residual_states, logit_lens, mark_saturation):
        with pytest.raises((RuntimeError, IndexError)):
            run(model, TOKENS + 50)  # no such token
    assert attached(model) == before


def test_hooks_of_the_caller_stay_and_act_first(model):
    calls = []
    handle = model.blocks[0].register_forward_hook(lambda *_: calls.append("block"))
    name = "blocks.0.hook_resid_post"
    with model.hooks(fwd_hooks=[(name, lambda resid, hook: resid * 2)]):
        doubled, _ = record_residual_states(model, TOKENS)
        run_all(model)
        with torch.no_grad():
            inside = model(TOKENS)
    plain, logits = record_residual_states(model, TOKENS)
    handle.remove()
    assert torch.equal(doubled[0], plain[0] * 2)
    assert not torch.equal(inside, logits), "the caller's hook was lost inside"
    assert calls


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_one_short_file_for_a_notebook(path):
    source = path.read_text()
    tree = ast.parse(source)
    imported = {
        (name.name if isinstance(node, ast.Import) else node.module).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert len(source.splitlines()) <= 60
    assert imported <= {"torch", "transformer_lens"}
    public = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert path.stem in public, "the recipe is named like its file"
    assert path.name in (path.parent / "README.md").read_text(), "missing in the index"


def test_the_readout_is_the_same_in_every_recipe():
    texts = set()
    for path in RECIPES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name == "readout":
                texts.add(ast.unparse(node))
    assert len(texts) == 1
