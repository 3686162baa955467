"""`detect` end to end: exact on random models, and the same for every way of giving the inputs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformer_lens.hook_points import HookPoint

import satlens
from satlens.errors import InputError, NumericsError
from satlens.models.inputs.text import token_batches
from satlens.models.readout import LinearReadout
from satlens.saturation.detect import stream
from tests.builders import random_hooked
from tests.saturation.exactly import exact_layers


class Stack(nn.Module):
    """A causal stack small enough to make hundreds of: h += tanh(h W_l + mean of the past), then W_U.

    Integer weights and states of few steps give exact ties, weights of one decimal ties but for rounding;
    half of the rows of W_U come twice.
    """

    def __init__(self, n_layers, d, outputs, dtype, coarse, generator):
        super().__init__()

        def weights(*shape):
            values = torch.randn(*shape, generator=generator)
            rounded = {
                "integer": values.round(),
                "decimal": values.round(decimals=1),
                "fine": values,
            }
            return nn.Parameter(rounded[coarse].to(dtype))

        self.steps = 8 if coarse == "integer" else 2**10
        self.embed = weights(outputs, d)
        self.blocks = nn.ParameterList([weights(d, d) for _ in range(n_layers)])
        self.points = nn.ModuleList([HookPoint() for _ in range(n_layers)])
        self.unembed = nn.Linear(d, outputs, bias=False)
        self.unembed.weight = weights(outputs, d)
        if coarse != "fine":  # repeated rows: true ties in every layer
            half = self.unembed.weight.data
            half[outputs // 2 :] = half[: outputs - outputs // 2].clone()

    def forward(self, tokens):
        h = self.embed[tokens]
        count = torch.arange(1, tokens.shape[1] + 1)[:, None].to(h.dtype)
        for weight, point in zip(self.blocks, self.points, strict=True):
            update = torch.tanh(h @ weight + h.cumsum(1) / count)
            h = point(h + (update * self.steps).round() / self.steps)
        return self.unembed(h)

    def wrapped(self):
        def batches(inputs, batch_size, include_bos=False):
            return token_batches(inputs, batch_size, include_bos, vocabulary=len(self.embed))

        return satlens.ResidualModel(
            host=self, name="stack", hook_points=tuple(self.points), batches=batches,
            readout=LinearReadout((), self.unembed), forward=lambda batch: self(batch.tokens),
            d_model=self.embed.shape[1], n_outputs=len(self.embed),
        )  # fmt: skip


@st.composite
def stacks(draw):
    generator = torch.manual_seed(draw(st.integers(0, 2**32)))
    outputs = draw(st.integers(2, 40))
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16]))
    stack = Stack(
        draw(st.integers(1, 6)),
        draw(st.integers(1, 8)),
        outputs,
        dtype,
        draw(st.sampled_from(["integer", "decimal", "fine"])),
        generator,
    )
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    docs = [torch.randint(outputs, (n,), generator=generator) for n in lengths]
    return stack.wrapped(), docs, draw(st.integers(1, outputs)), draw(st.integers(1, 4))


def by_definition(model, docs, k, batch_size):
    """Every score of every layer by exact arithmetic, and the definition, with nothing of the scans."""
    head, layers = model.readout.head(), {}
    for states, _ in stream(model, docs, k=k, batch_size=batch_size):
        x = model.readout.features(states.resid)
        s, _ = exact_layers(x, head.weight, head.bias, k)
        for doc, pos, row in zip(states.doc.tolist(), states.pos.tolist(), s.tolist(), strict=True):
            layers[doc, pos] = row
    return [layers[key] for key in sorted(layers)]


@settings(max_examples=500)
@given(stacks())
def test_detect_is_the_definition_on_random_models(problem):
    model, docs, k, batch_size = problem
    events = satlens.detect(model, docs, k=k, batch_size=batch_size)
    assert events.layer.tolist() == by_definition(model, docs, k, batch_size)
    for method in ("plain", "certified"):
        again = satlens.detect(model, docs, k=k, batch_size=batch_size, method=method)
        assert np.array_equal(again.layer, events.layer)
    followed = satlens.detect(model, docs, k=k, batch_size=batch_size, trajectory=True)
    assert np.array_equal(followed.layer, events.layer)
    assert np.array_equal(followed.top[:, -1], events.token)


@pytest.mark.parametrize("seed", range(10))
def test_detect_is_the_definition_on_transformers(seed):
    model = satlens.wrap(random_hooked(n_layers=4, d=16, vocab=60, seed=seed))
    generator = torch.manual_seed(seed)
    docs = [torch.randint(60, (n,), generator=generator) for n in (3, 9, 1, 6)]
    events = satlens.detect(model, docs, k=5, batch_size=3)
    assert events.layer.tolist() == by_definition(model, docs, 5, 3)


def same(a, b):
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("layer", "token", "doc", "pos", "input")
    )


def test_padding_on_either_side_and_none_give_the_same_events():
    model = random_hooked(n_layers=4, d=16, vocab=60, seed=0)
    docs = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]]
    width = max(map(len, docs))
    pairs = [(doc, [0] * (width - len(doc))) for doc in docs]
    left = {
        "input_ids": torch.tensor([pad + doc for doc, pad in pairs]),
        "attention_mask": torch.tensor([[0] * len(pad) + [1] * len(doc) for doc, pad in pairs]),
    }
    right = {
        "input_ids": torch.tensor([doc + pad for doc, pad in pairs]),
        "attention_mask": torch.tensor([[1] * len(doc) + [0] * len(pad) for doc, pad in pairs]),
    }
    ragged = satlens.detect(model, docs)
    assert ragged.doc.tolist() == [0] * 5 + [1] * 2 + [2] * 3
    assert ragged.input.tolist() == sum(docs, [])
    for other in (left, right):
        assert same(satlens.detect(model, other), ragged)
    for batch_size in (1, 2):
        assert same(satlens.detect(model, docs, batch_size=batch_size), ragged)


def test_bfloat16_ties_do_not_depend_on_the_batch():
    model = random_hooked(n_layers=4, d=16, vocab=60, seed=0, dtype=torch.bfloat16)
    docs = [torch.randint(60, (12,), generator=torch.manual_seed(i)) for i in range(12)]
    events = satlens.detect(model, docs, k=20, batch_size=4)
    assert same(satlens.detect(model, docs, k=20, batch_size=4, trajectory=True), events)


def test_events_do_not_share_memory_with_the_states():
    model = satlens.wrap(random_hooked(n_layers=2, d=8, vocab=20, seed=0))
    states, events = next(stream(model, [[1, 2, 3]], k=2))
    before = events.layer.copy(), events.doc.copy()
    states.doc.fill_(9), states.resid.zero_()
    assert np.array_equal(events.layer, before[0]) and np.array_equal(events.doc, before[1])


def test_a_lens_of_ones_own_is_used():
    model = satlens.wrap(random_hooked(n_layers=5, d=8, vocab=20, seed=0))

    class Late:
        """Knows the answer from layer 2 on and says something else before."""

        name = "late"

        def scores(self, resid, layer):
            last = model.readout(finals[: len(resid)]) if layer >= 2 else -model.readout(finals)
            return last[: len(resid)]

    states, _ = next(stream(model, [list(range(20)) * 2], k=1))
    finals = states.resid[-1]
    events = satlens.detect(model, [list(range(20)) * 2], k=1, lens=Late(), trajectory=True)
    assert set(events.layer.ravel().tolist()) == {2}
    assert events.settings["lens"] == "late"


def test_nan_states_are_refused_and_no_hook_stays():
    host = random_hooked(n_layers=3, d=8, vocab=20, seed=0)
    model = satlens.wrap(host)
    with (
        pytest.raises(NumericsError, match="NaN scores"),
        model.hooks([(1, lambda resid, hook: resid * float("nan"))]),
    ):
        satlens.detect(model, [[1, 2, 3]])
    assert all(not point._forward_hooks for point in model.hook_points)
    satlens.detect(model, [[1, 2, 3]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 21}, "k=21; k must be between 1 and the model's 20 outputs"),
        ({"k": 0}, "k=0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(InputError, match=message):
        satlens.detect(random_hooked(n_layers=2, d=8, vocab=20, seed=0), [[1, 2]], **change)
