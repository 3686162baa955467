import gc

import pytest
import torch

from satlens.errors import InputError, NumericsError
from satlens.models import wrap
from satlens.patching import Edit, intervene
from tests.builders import random_bridge, random_hf, random_hooked, random_ids
from tests.contracts.residual_model import hooks_left

HOSTS = {"hooked": random_hooked, "bridge": random_bridge, "hf": lambda: random_hf(layers=4)}
BEFORE = 2  # layers before the edited one, in models of 4


@pytest.fixture(scope="module", params=HOSTS)
def model(request):
    return wrap(HOSTS[request.param]())


@pytest.fixture(scope="module")
def batch(model):
    return next(iter(model.batches(random_ids(50, [7, 9, 9]), 4)))


@torch.no_grad()
def run(model, batch):
    """States ``[layer, row, column, d]`` of a forward pass, and its logits."""
    kept = {}
    hooks = [
        (layer, lambda resid, hook, layer=layer: kept.update({layer: resid.clone()}))
        for layer in range(model.n_layers)
    ]
    with model.hooks(hooks):
        logits = model.forward(batch)
    return torch.stack([kept[layer] for layer in range(model.n_layers)]), logits


def test_nothing_but_the_edited_states_and_what_follows_changes(model, batch):
    clean, logits = run(model, batch)
    state = torch.randn(2, 32, generator=torch.Generator().manual_seed(1)) * 5
    with intervene(model, Edit([BEFORE, BEFORE], [0, 2], [3, 8], state)):
        edited, changed = run(model, batch)
    assert torch.equal(edited[:BEFORE], clean[:BEFORE])
    assert torch.equal(edited[BEFORE][[0, 2], [3, 8]], state)
    touched = torch.zeros(clean.shape[1:3], dtype=torch.bool)
    touched[0, 3:] = touched[2, 8:] = True
    assert torch.equal(edited[:, ~touched], clean[:, ~touched])
    assert torch.equal(changed[~touched], logits[~touched])
    assert not torch.isclose(changed[touched], logits[touched]).all(-1).any()


def test_a_state_put_back_changes_nothing_bit_for_bit(model, batch):
    clean, logits = run(model, batch)
    for layer in range(model.n_layers):
        own = clean[layer, [0, 1, 2], [2, 0, 5]]
        with intervene(model, Edit([layer] * 3, [0, 1, 2], [2, 0, 5], own)):
            edited, same = run(model, batch)
        assert torch.equal(edited, clean) and torch.equal(same, logits)


def test_nothing_added_changes_nothing_and_additions_add_up(model, batch):
    clean, logits = run(model, batch)
    with intervene(model, Edit(1, 0, 2, torch.zeros(32), "add")):
        edited, same = run(model, batch)
    assert torch.equal(edited, clean) and torch.equal(same, logits)
    one = Edit([1, 1], [0, 0], [2, 2], torch.ones(2, 32), "add")  # the same place, twice
    with intervene(model, [one, Edit(1, 0, 2, torch.ones(32), "add")]):
        edited, _ = run(model, batch)
    torch.testing.assert_close(edited[1, 0, 2], clean[1, 0, 2] + 3)


def test_edits_act_in_order(model, batch):
    put, add = Edit(1, 0, 2, torch.ones(32)), Edit(1, 0, 2, torch.ones(32), "add")
    for edits, expected in (((put, add), 2.0), ((add, put), 1.0)):
        with intervene(model, edits):
            edited, _ = run(model, batch)
        assert torch.equal(edited[1, 0, 2], torch.full((32,), expected))


def test_a_handle_removes_what_was_attached_and_no_more(model, batch):
    before, (_, logits) = hooks_left(model.host), run(model, batch)
    intervention = intervene(model, Edit(1, 0, 2, torch.ones(32)))
    handle = intervention.attach()
    second = intervene(model, Edit(2, 1, 2, torch.ones(32))).attach()
    _, both = run(model, batch)
    assert not torch.equal(both[0], logits[0]) and not torch.equal(both[1], logits[1])
    handle.remove()
    handle.remove()  # nothing left to do
    _, one = run(model, batch)
    assert torch.equal(one[0], logits[0]) and torch.equal(one[1], both[1])
    second.remove()
    assert torch.equal(run(model, batch)[1], logits)
    assert hooks_left(model.host) == before
    with intervention as entered:  # the same edits once more
        assert torch.equal(run(model, batch)[1][0], both[0])
        entered.remove()
        assert torch.equal(run(model, batch)[1], logits)


def test_an_intervention_stays_on_though_nobody_keeps_its_handle():
    model = wrap(random_hooked())
    batch = next(iter(model.batches(random_ids(50, [7]), 1)))
    _, logits = run(model, batch)
    intervene(model, Edit(1, 0, 2, torch.ones(32))).attach()
    gc.collect()
    assert not torch.equal(run(model, batch)[1], logits)


def test_what_the_caller_kept_of_a_state_is_not_written_into(model, batch):
    kept = []
    keep = (1, lambda resid, hook: kept.extend([resid, resid.clone()]))
    with model.hooks([keep]), intervene(model, Edit(1, 0, 2, torch.ones(32))):
        model.forward(batch)
    assert torch.equal(kept[0], kept[1])


def test_the_hooks_of_the_caller_stay_and_act_first(model, batch):
    _, logits = run(model, batch)
    seen = []
    handle = model.hook_points[1].register_forward_hook(lambda m, i, out: seen.append(1) or out + 1)
    try:
        own = run(model, batch)[0][1, 0, 2]
        with intervene(model, Edit(1, 0, 2, torch.ones(32), "add")):
            torch.testing.assert_close(run(model, batch)[0][1, 0, 2], own + 1)
        count = len(seen)
        assert not torch.equal(run(model, batch)[1], logits)
        assert len(seen) == count + 1
    finally:
        handle.remove()


def test_an_error_inside_leaves_the_model_clean(model, batch):
    before, (_, logits) = hooks_left(model.host), run(model, batch)

    def broken(resid, hook):
        raise ZeroDivisionError("in the middle of the forward pass")

    with pytest.raises(ZeroDivisionError, match="in the middle"):  # the real error  # noqa: SIM117
        with intervene(model, Edit(1, 0, 2, torch.ones(32))), model.hooks([(2, broken)]):
            model.forward(batch)
    assert hooks_left(model.host) == before
    assert torch.equal(run(model, batch)[1], logits)
    with pytest.raises(
        InputError,
        match=r"an edit at row 3, column 2 after block 1; this batch has 3 rows of 9 columns",
    ), intervene(model, Edit([1, 1], [0, 3], [2, 2], torch.ones(2, 32))):  # fmt: skip
        model.forward(batch)
    assert hooks_left(model.host) == before
    assert torch.equal(run(model, batch)[1], logits)


def test_an_edit_keeps_its_own_copy():
    state, layer = torch.ones(1, 32), torch.tensor([1])
    edit = Edit(layer, [0], [2], state)
    state.zero_(), layer.zero_()
    assert edit.layer.tolist() == [1] and bool((edit.state == 1).all())


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((1, 0, 0, torch.ones(32), "set"), InputError, "one of replace, add; got 'set'"),
        (([1, 1], [0], [0], torch.ones(1, 32)), InputError, r"layer \(2,\), row \(1,\)"),
        ((1.5, 0, 0, torch.ones(32)), InputError, "Edit.layer wants whole numbers; got torch.float32"),
        ((1, -1, 0, torch.ones(32)), InputError, "Edit.row counts from 0; got -1"),
        ((1, 0, 0, torch.tensor([torch.nan] * 32)), NumericsError, "1 of 1 states to put in are NaN"),
        (([1, 1], [0, 0], [2, 2], torch.ones(2, 32)), InputError, "one place can hold one state"),
    ],
)  # fmt: skip
def test_edits_that_mean_nothing_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Edit(*arguments)


def test_edits_of_another_model_are_refused(model):
    with pytest.raises(InputError, match="after block 4; .* has blocks 0 to 3"):
        intervene(model, Edit(4, 0, 0, torch.ones(32)))
    with pytest.raises(InputError, match="have width 16; the residual stream of .* has 32"):
        intervene(model, Edit(1, 0, 0, torch.ones(16)))
