import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import satlens
from satlens.errors import InputError, NumericsError
from satlens.lenses import LinearLens, LinearMap, LinearShortcut, LogitLens, ShortcutFitter
from satlens.saturation.method import Scan
from tests.builders import random_bridge, random_hf, random_hooked, random_ids
from tests.contracts.lens import LensContract
from tests.lenses.toys import linear_model

KINDS = {
    "full": {},
    "ridge and intercept": {"ridge": 0.01, "intercept": True},
    "rank": {"rank": 3},
    "one subspace": {"rank": 3, "shared": "subspace"},
    "one map": {"rank": 3, "shared": "map", "intercept": True},
    "residual": {"rank": 2, "residual": True, "intercept": True},
}
DOCS = random_ids(40, [20, 31, 9, 25, 14])


class ShortcutContract(LensContract):
    kind: dict

    @pytest.fixture
    def lens(self, model):
        return LinearShortcut.fit(model, DOCS, **self.kind)

    def test_it_ends_in_the_models_own_head(self, lens):
        assert isinstance(lens, LinearLens) and Scan(lens).linear

    def test_every_method_gives_the_same_events(self, lens, model):
        want = satlens.detect(model, DOCS, k=3, lens=lens, method="plain")
        for method in ("backward", "certified", "auto"):
            events = satlens.detect(model, DOCS, k=3, lens=lens, method=method)
            assert (events.layer == want.layer).all() and (events.token == want.token).all()

    def test_a_loaded_one_gives_the_same_bit_for_bit(self, lens, model, states, tmp_path):
        lens.save(tmp_path / "s")
        again = LinearShortcut.load(tmp_path / "s.json", model)
        for layer in range(model.n_layers):
            assert torch.equal(
                again.scores(states.resid[layer], layer), lens.scores(states.resid[layer], layer)
            )
        assert again.name == lens.name and dict(again.settings) == dict(lens.settings)
        assert again.parameters == lens.parameters and again.identity == lens.identity


class TestFull(ShortcutContract):
    kind = KINDS["full"]


class TestRidgeAndIntercept(ShortcutContract):
    kind = KINDS["ridge and intercept"]


class TestRank(ShortcutContract):
    kind = KINDS["rank"]


class TestOneSubspace(ShortcutContract):
    kind = KINDS["one subspace"]


class TestOneMap(ShortcutContract):
    kind = KINDS["one map"]


class TestResidual(ShortcutContract):
    kind = KINDS["residual"]


class TestShift(ShortcutContract):
    @pytest.fixture
    def lens(self, model):
        return ShortcutFitter(model).fit(DOCS).shift()


class TestMeanState(ShortcutContract):
    @pytest.fixture
    def lens(self, model):
        return ShortcutFitter(model).fit(DOCS).mean_state()


def fit(model, **kw):
    return LinearShortcut.fit(model, random_ids(model.n_outputs, [30] * 12, seed=5), **kw)


def test_a_planted_map_is_found_between_all_pairs_of_layers():
    model = linear_model(dtype=torch.float64)
    lens = fit(model, pairs="all")
    assert list(lens.maps) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    states = model.states(next(iter(model.batches([list(range(1, 25))], 1))))
    for (i, j), one in lens.maps.items():
        assert one.factors[0].dtype == torch.float64
        torch.testing.assert_close(one.weight, model.host.product(i, j), rtol=1e-9, atol=1e-9)
        moved = lens.transport(states.resid[i], i, j)
        torch.testing.assert_close(moved, states.resid[j], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(lens.scores(states.resid[0], 0), states.logits)


def test_a_planted_map_with_an_offset_needs_the_intercept():
    model = linear_model(dtype=torch.float64, offset=3.0)
    states = model.states(next(iter(model.batches([list(range(1, 25))], 1))))
    with_it, without = fit(model, intercept=True), fit(model)
    torch.testing.assert_close(with_it.maps[1, 3].weight, model.host.product(1, 3))
    torch.testing.assert_close(with_it.transport(states.resid[1], 1), states.resid[-1])
    assert float((without.transport(states.resid[1], 1) - states.resid[-1]).abs().max()) > 0.01


def test_a_planted_low_rank_is_found_and_a_lower_one_is_not_enough():
    model = linear_model(dtype=torch.float64, rank=2)
    states = model.states(next(iter(model.batches([list(range(1, 25))], 1))))
    for shared in (None, "subspace"):  # all layers end in the two directions of the last step
        lens = fit(model, rank=2, shared=shared)
        torch.testing.assert_close(lens.transport(states.resid[0], 0), states.resid[-1])
        assert lens.maps[0, 3].rank == 2
    low = fit(model, rank=1)
    assert float((low.transport(states.resid[0], 0) - states.resid[-1]).abs().max()) > 0.1


def test_residual_maps_are_the_same_without_rank_and_the_identity_with_endless_ridge():
    model = satlens.wrap(a_host())
    fitter = ShortcutFitter(model).fit(DOCS)
    plain, residual = fitter.shortcut(), fitter.shortcut(residual=True)
    ridged, whole = (fitter.shortcut(residual=r, ridge=1e12) for r in (True, False))
    for pair in plain.maps:
        torch.testing.assert_close(residual.maps[pair].weight, plain.maps[pair].weight)
        torch.testing.assert_close(ridged.maps[pair].weight, torch.eye(16))
        assert float(whole.maps[pair].weight.abs().max()) < 1e-9
    states = model.states(next(iter(model.batches(DOCS, 8))))
    y = states.resid[-1]
    for rank in (1, 4, 15):
        low = fitter.shortcut(rank=rank, residual=True)
        x = (y - states.resid[2]).double().numpy()
        change = low.maps[2, 3].weight.double() - torch.eye(16, dtype=torch.float64)
        assert np.linalg.matrix_rank(change, tol=1e-4) == rank
        left = [float(((lens.transport(states.resid[2], 2) - y) ** 2).sum())
                for lens in (plain, low, fitter.shortcut(rank=rank - 1 or 1, residual=True))]  # fmt: skip
        assert left[0] < left[1] <= left[2] < float((x**2).sum())


def test_what_is_shared_counts_once():
    model = satlens.wrap(random_hooked(n_layers=4, d=16, vocab=40))
    full, low, subspace, one = (
        LinearShortcut.fit(model, DOCS, **kw)
        for kw in ({}, {"rank": 3}, {"rank": 3, "shared": "subspace"}, {"rank": 3, "shared": "map"})
    )
    counts = [lens.parameters for lens in (full, low, subspace, one)]
    assert counts == [3 * 256, 3 * 96, 3 * 48 + 48, 96]
    assert [lens.name for lens in (full, low, subspace, one)] == [
        "shortcut", "shortcut, rank 3", "shortcut, rank 3, one subspace", "shortcut, rank 3, one map",
    ]  # fmt: skip
    assert one.maps[0, 3] is one.maps[2, 3]


def test_one_map_is_the_least_squares_map_of_all_layers_together():
    model = satlens.wrap(random_hooked(n_layers=4, d=16, vocab=40))
    lens = LinearShortcut.fit(model, DOCS, rank=16, shared="map")
    resid = torch.cat([model.states(b).resid for b in model.batches(DOCS, 8)], 1).double()
    x = resid[:-1].flatten(0, 1).numpy()
    want = np.linalg.lstsq(x, resid[-1].repeat(3, 1).numpy(), rcond=None)[0].T
    assert np.allclose(lens.maps[1, 3].weight, want, atol=1e-4)


@pytest.mark.parametrize("build", [random_hooked, random_bridge], ids=["hooked", "bridge"])
def test_it_is_the_least_squares_map_of_the_states(build):
    model = satlens.wrap(build(n_layers=3, d=16, vocab=40))
    lens = LinearShortcut.fit(model, DOCS, intercept=True, batch_size=2)
    resid = torch.cat([model.states(b).resid for b in model.batches(DOCS, 8)], 1).double().numpy()
    design = np.concatenate([resid[0], np.ones((resid.shape[1], 1))], axis=1)
    want = np.linalg.lstsq(design, resid[2], rcond=None)[0].T
    assert np.allclose(lens.maps[0, 2].weight, want[:, :-1], atol=1e-4)
    assert np.allclose(lens.maps[0, 2].bias, want[:, -1], atol=1e-4)
    assert lens.settings["states"] == resid.shape[1]


@settings(max_examples=20)
@given(st.lists(st.integers(0, 2), min_size=5, max_size=5), st.integers(1, 5))
def test_merged_fitters_are_one_fitter_over_all(owner, batch_size):
    model = satlens.wrap(a_host())
    together = ShortcutFitter(model).fit(DOCS)
    parts = [ShortcutFitter(model) for _ in range(3)]
    for doc, part in zip(DOCS, owner, strict=True):
        parts[part].fit([doc], batch_size=batch_size)
    merged = parts[0].merge(parts[1]).merge(parts[2])
    assert merged.n == together.n == sum(map(len, DOCS)) - len(DOCS) * has_bos(model)
    one, other = merged.shortcut(rank=4), together.shortcut(rank=4)
    for pair in one.maps:
        torch.testing.assert_close(one.maps[pair].weight, other.maps[pair].weight)


_HOSTS = {}


def a_host():
    """One model for all examples."""
    return _HOSTS.setdefault("one", random_hooked(n_layers=4, d=16, vocab=40))


def has_bos(model):
    states = model.states(next(iter(model.batches([DOCS[0]], 1))))
    return len(DOCS[0]) - len(states.pos)


def test_a_frozen_shortcut_shares_nothing_with_its_fitter():
    model = satlens.wrap(a_host())
    fitter = ShortcutFitter(model).fit(DOCS)
    lens = fitter.shortcut()
    before = lens.maps[0, 3].weight.clone()
    fitter.fit(random_ids(40, [30, 30], seed=9))
    assert torch.equal(lens.maps[0, 3].weight, before)
    assert not torch.equal(fitter.shortcut().maps[0, 3].weight, before)
    with pytest.raises(dataclasses.FrozenInstanceError):
        lens.maps = {}
    with pytest.raises(TypeError):
        lens.maps[0, 3] = None


def test_maps_that_are_the_identity_are_the_logit_lens():
    model = satlens.wrap(a_host())
    eye = LinearMap((torch.eye(16),))
    lens = LinearShortcut(model, {(layer, 3): eye for layer in range(3)})
    want = satlens.detect(model, DOCS, k=5, trajectory=True)
    got = satlens.detect(model, DOCS, k=5, trajectory=True, lens=lens)
    assert (got.layer == want.layer).all() and (got.top == want.top).all()
    states = model.states(next(iter(model.batches(DOCS, 8))))
    for layer in range(4):
        own = LogitLens(model).scores(states.resid[layer], layer)
        assert torch.equal(lens.scores(states.resid[layer], layer), own)


def test_shuffled_pairs_know_nothing_of_their_token():
    model = linear_model(dtype=torch.float64)
    docs = random_ids(30, [30] * 60, seed=5)
    shuffled = ShortcutFitter(model, shuffle=0).fit(docs)
    again, other = (ShortcutFitter(model, shuffle=seed).fit(docs) for seed in (0, 1))
    null = shuffled.shortcut()
    assert null.name == "shortcut, shuffled"
    assert torch.equal(null.maps[0, 3].weight, again.shortcut().maps[0, 3].weight)
    assert not torch.equal(null.maps[0, 3].weight, other.shortcut().maps[0, 3].weight)
    assert float(null.maps[0, 3].weight.abs().max()) < 0.2
    assert float(fit(model).maps[0, 3].weight.abs().max()) > 0.4
    with pytest.raises(InputError, match="shuffle is 0 here and 1 in the other"):
        shuffled.merge(other)


def test_the_shift_moves_the_mean_and_the_mean_state_is_the_mean():
    model = satlens.wrap(a_host())
    resid = torch.cat([model.states(batch).resid for batch in model.batches(DOCS, 8)], 1)
    fitter = ShortcutFitter(model).fit(DOCS)
    shift, mean = fitter.shift(), fitter.mean_state()
    for layer in range(3):
        moved = shift.transport(resid[layer], layer)
        torch.testing.assert_close(moved.mean(0), resid[-1].mean(0), rtol=1e-4, atol=1e-4)
        step = moved - resid[layer]
        torch.testing.assert_close(step, step[:1].expand_as(step), rtol=1e-3, atol=1e-4)
        assert torch.equal(shift.maps[layer, 3].weight, torch.eye(16))
        still = mean.transport(resid[layer], layer)
        torch.testing.assert_close(still, resid[-1].mean(0).expand_as(still), rtol=1e-4, atol=1e-4)
    assert shift.parameters == mean.parameters == 3 * 16 and mean.maps[0, 3].rank == 0
    with pytest.raises(InputError, match="needs a matrix, or two factors, or a bias"):
        LinearMap(())


def test_bfloat16_states_are_carried_in_float32():
    model = satlens.wrap(random_bridge(n_layers=3, d=16, vocab=40, dtype=torch.bfloat16))
    lens = LinearShortcut.fit(model, DOCS, ridge=1e-3)
    assert lens.maps[0, 2].weight.dtype == torch.float32
    states = model.states(next(iter(model.batches(DOCS, 8))))
    assert lens.transport(states.resid[0], 0).dtype == torch.bfloat16
    want = satlens.detect(model, DOCS, k=3, lens=lens, method="plain")
    assert (satlens.detect(model, DOCS, k=3, lens=lens).layer == want.layer).all()


def test_a_hugging_face_model_is_a_host_like_any_other():
    model = satlens.wrap(random_hf("llama", layers=3, d=16, vocab=40))
    lens = LinearShortcut.fit(model, DOCS)
    assert satlens.detect(model, DOCS, k=3, lens=lens).settings["lens"] == "shortcut"


def test_a_gradient_goes_through_the_lens():
    model = satlens.wrap(a_host())
    lens = LinearShortcut.fit(model, DOCS)
    resid = torch.randn(3, 16, requires_grad=True)
    lens.scores(resid, 1).sum().backward()
    assert resid.grad.abs().sum() > 0


BAD = [
    (lambda m: LinearShortcut.fit(m, [DOCS[2]]), r"from layer 0 to 3: n = \d, .*d = 16"),
    (lambda m: LinearShortcut.fit(m, DOCS, rank=17), "from 1 to the width of the states, 16; got 17"),
    (lambda m: LinearShortcut.fit(m, DOCS, rank=3, shared="all"), "'subspace' or 'map'; got 'all'"),
    (lambda m: LinearShortcut.fit(m, DOCS, shared="map"), "shared='map' is for maps of low rank: give rank"),
    (lambda m: LinearShortcut.fit(m, DOCS, pairs="every"), "pairs must be None, \"all\" or a list"),
    (lambda m: LinearShortcut.fit(m, DOCS, pairs=[(2, 1)]), "to a later one; got 2 to 1"),
    (lambda m: LinearShortcut.fit(m, DOCS, pairs=[(0, 4)]), "ends at must be a block of .*, 0 to 3; got 4"),
    (lambda m: LinearShortcut.fit(m, DOCS, pairs=[3]), r"pairs of layers \(i, j\); got 3"),
    (lambda m: LinearShortcut.fit(m, DOCS, pairs=[]), "No pairs of layers to fit"),
    (lambda m: ShortcutFitter(m).shortcut(), "has seen no states yet"),
    (lambda m: ShortcutFitter(m).merge("other"), "takes a ShortcutFitter; got str"),
    (lambda m: ShortcutFitter(m).merge(ShortcutFitter(m, pairs="all")), "pairs is .* in the other"),
    (lambda m: ShortcutFitter(m).merge(ShortcutFitter(random_hooked(n_layers=4, d=16, vocab=40, seed=3))),
     "This fitter is of the model .* the model given is"),
    (lambda m: LinearShortcut(m, {(0, 3): LinearMap((torch.eye(15),))}), r"\[\(15, 15\)\]; .* width 16"),
    (lambda m: LinearShortcut.fit(m, DOCS).transport(torch.ones(2, 15), 0), r"of width 16; got \(2, 15\)"),
    (lambda m: LinearShortcut.fit(m, DOCS).transport(torch.ones(2, 16), 4), "layer must be a block"),
    (lambda m: LinearShortcut.fit(m, DOCS).transport(torch.ones(2, 16), 0, 2),
     r"no map from layer 0 to 2; it has 0 to 3, 1 to 3, 2 to 3. Fit it with pairs=\[..., \(0, 2\)\]"),
]  # fmt: skip


@pytest.mark.parametrize("call, words", BAD)
def test_bad_input_is_refused_with_what_was_found(call, words):
    with pytest.raises(InputError, match=words):
        call(satlens.wrap(a_host()))


def test_a_lens_is_refused_beside_another_model():
    model, other = satlens.wrap(a_host()), random_hooked(n_layers=4, d=16, vocab=40, seed=2)
    for lens in (LinearShortcut.fit(model, DOCS), LogitLens(model)):
        with pytest.raises(
            InputError, match=f"The lens '{lens.name}' reads the states of .*another model"
        ):
            satlens.detect(other, DOCS, k=3, lens=lens)
        with pytest.raises(InputError, match="Fit it on that one, or load it with that one"):
            satlens.lenses.measure(other, DOCS, {"one": lens})


def test_states_of_another_model_or_not_finite_add_nothing():
    model = satlens.wrap(a_host())
    fitter = ShortcutFitter(model)
    states = model.states(next(iter(model.batches(DOCS, 8))))
    with pytest.raises(InputError, match=r"are \[4 layers, token, 16\]; got \(3, "):
        fitter.update(dataclasses.replace(states, resid=states.resid[:3]))
    broken = states.resid.clone()
    broken[2, 5, 1] = float("nan")
    with pytest.raises(NumericsError, match="NaN or infinite values at layer 2"):
        fitter.update(dataclasses.replace(states, resid=broken))
    assert fitter.n == 0
