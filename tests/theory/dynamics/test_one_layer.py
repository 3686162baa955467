"""The step against autograd, training against torch's own optimizer, and what is recorded by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens.errors import InputError, NumericsError
from satlens.theory.dynamics import Sequences, train_one_layer
from satlens.theory.dynamics.one_layer import Layer, gradients
from tests.theory.dynamics.reference import plain_gradients, plain_loss

SMALL = {"common": 3, "distinct": 3, "length": 12}


def batch_of(sequences, rng, size):
    return tuple(torch.from_numpy(one) for one in sequences.draw(rng, size))


@settings(max_examples=25)
@given(
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([2, 5, 20]),
    st.sampled_from([0.0, 0.3, 3.0, 30.0]),
)
def test_the_gradients_are_those_of_autograd(seed, queries, next_per_query, length, scale):
    sequences = Sequences(queries, next_per_query, common=2, distinct=3, length=length)
    rng = np.random.default_rng(seed)
    batch = batch_of(sequences, rng, 5)
    shapes = ((3, sequences.vocabulary, sequences.keys), (3, queries, sequences.keys))
    layer = Layer(*(torch.from_numpy(scale * rng.normal(size=shape)) for shape in shapes))
    loss, d_decoder, d_attention = gradients(layer, *batch)
    for rate in range(3):
        plain = plain_gradients(layer.decoder[rate], layer.attention[rate], *batch)
        for fast, slow in zip((loss[rate], d_decoder[rate], d_attention[rate]), plain, strict=True):
            torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("start", ["zero", "uniform"])
def test_training_is_sgd(momentum, start):
    sequences, rates = Sequences(queries=2, **SMALL), [(0.5, 1.0), (1.0, 5.0)]
    fast = train_one_layer(
        sequences, rates, steps=6, batch=7, momentum=momentum, start=start, seed=4
    )
    for index, (eta_z, ratio) in enumerate(rates):
        rng = np.random.default_rng(4)
        layer = Layer.start(sequences, 1, start, rng)
        decoder, attention = layer.decoder[0].requires_grad_(), layer.attention[0].requires_grad_()
        optimizer = torch.optim.SGD(
            [{"params": [decoder], "lr": ratio * eta_z}, {"params": [attention], "lr": eta_z}],
            momentum=momentum,
        )
        losses, speeds, at_first = [], [], attention.detach().clone()
        for _ in range(6):
            loss = plain_loss(decoder, attention, *batch_of(sequences, rng, 7))
            optimizer.zero_grad()
            loss.backward()
            before = attention.detach().clone()
            optimizer.step()
            losses.append(loss.item())
            speeds.append((attention - before).norm().item())
        assert fast.loss[index] == pytest.approx(losses, rel=1e-9)
        assert fast.speed[index] == pytest.approx(speeds, rel=1e-9, abs=1e-12)
        recorded_by_hand(fast, index, sequences, attention.detach(), at_first)


def recorded_by_hand(fast, index, sequences, attention, at_first):
    """Entropy, masses and logits of the last state, class by class."""
    masses, logits, entropies, tops = [], [], [], []
    for n, tokens in enumerate(sequences.tokens):
        z = attention[n // sequences.next_per_query].numpy()[tokens]
        z0 = at_first[n // sequences.next_per_query].numpy()[tokens]
        c = sequences.probability * np.exp(z)
        c /= c.sum()
        masses.append(c)
        logits.append(z - z0)
        entropies.append(-(c * np.log(c)).sum())
        tops.append(c.max())
    assert fast.mass[index, -1] == pytest.approx(np.mean(masses, 0))
    assert fast.logit[index, -1] == pytest.approx(np.mean(logits, 0))
    assert fast.entropy[index, -1] == pytest.approx(np.mean(entropies))
    assert fast.top[index] == pytest.approx(np.mean(tops))


def test_it_starts_where_attention_is_uniform():
    sequences = Sequences()
    found = train_one_layer(sequences, [(1.0, 1.0)], steps=2, start="zero")
    assert found.mass[0, 0] == pytest.approx(sequences.probability)
    assert found.logit[0, 0] == pytest.approx(0)


def test_rates_do_not_touch_each_other_and_seeds_repeat():
    both = train_one_layer(Sequences(), [(1.0, 1.0), (3.0, 10.0)], steps=5, seed=2)
    alone = train_one_layer(Sequences(), [(3.0, 10.0)], steps=5, seed=2)
    other = train_one_layer(Sequences(), [(3.0, 10.0)], steps=5, seed=3)
    assert np.allclose(both.mass[1], alone.mass[0], rtol=1e-12)
    assert not np.allclose(alone.mass, other.mass, rtol=1e-6)


def test_what_attention_leaves_and_when():
    sequences = Sequences(
        queries=1, next_per_query=1
    )  # one class: the mean over classes is the class
    found = train_one_layer(sequences, [(1.0, 2.0)], steps=40, start="uniform", seed=1)
    own = found.mass[0, :, sequences.common :]
    share = own / own.sum(1, keepdims=True)
    low = share < 0.95 * np.maximum.accumulate(share)
    for token, column in enumerate(low.T):
        plain = 40
        for time in range(40, -1, -1):
            if not column[time]:
                break
            plain = time
        assert found.left[0, 0, token] == plain
    assert (found.left < 40).any() and (found.left == 40).any()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"rates": []}, "rates must be pairs"),
        ({"rates": [(1.0, 0.0)]}, "rates must be pairs .* above 0"),
        ({"rates": [(1.0,)]}, "rates must be pairs"),
        ({"steps": 0}, "steps must be a whole number of 1 or more, got 0"),
        ({"batch": 2.5}, "batch must be"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\)"),
        ({"start": "ones"}, "start is 'ones'; it must be 'uniform' or 'zero'"),
    ],
)
def test_unusable_settings_are_refused(bad, words):
    with pytest.raises(InputError, match=words):
        train_one_layer(Sequences(), **{"rates": [(1.0, 1.0)], **bad})


def test_rates_that_overflow_are_refused():
    with pytest.raises(
        NumericsError, match=r"NaN or infinite .* \[\[1e\+200, 1e\+100\]\]: lower the rates"
    ):
        train_one_layer(Sequences(), [(1.0, 1.0), (1e200, 1e100)], steps=8)
