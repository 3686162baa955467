import numpy as np
import pytest
import torch
from scipy import stats

from satlens.nulls import paths
from satlens.nulls.paths import Paths

L, N, D = 7, 40, 16


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def states(seed=0, n_layers=L, n=N, d=D):
    return torch.randn(n_layers, n, d, generator=generator(seed)).cumsum(0)


def away(resid):
    return resid[:-1] - resid[-1]


def steps(resid):
    return (resid[1:] - resid[:-1]).norm(dim=-1)


MAKERS = {
    "rotated": lambda p: paths.rotated(p, generator(1)),
    "exchanged": lambda p: paths.exchanged(p, torch.arange(p.end.shape[0]).roll(1)),
    "walk": lambda p: paths.walk(p, generator(1)),
    "line": lambda p: paths.line(p, generator(1)),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_null_ends_where_the_real_states_end(kind):
    resid = states()
    made = MAKERS[kind](Paths.of(resid))
    assert made.shape == resid.shape
    assert torch.equal(made[-1], resid[-1])
    assert not torch.allclose(made[:-1], resid[:-1])


@pytest.mark.parametrize("kind", MAKERS)
def test_nothing_is_shared_with_the_real_states(kind):
    resid = states()
    before = resid.clone()
    geometry = Paths.of(resid)
    first = MAKERS[kind](geometry)
    kept = first.clone()
    first += 1
    assert torch.equal(resid, before)
    assert torch.equal(MAKERS[kind](geometry), kept)  # the geometry is untouched as well
    resid += 1
    assert torch.equal(MAKERS[kind](geometry), kept)


@pytest.mark.parametrize("d", [3, 8, 16, 64])
def test_rotation_keeps_all_norms_and_angles(d):
    resid = states(d=d)
    made = paths.rotated(Paths.of(resid), generator())
    real, turned = away(resid).permute(1, 0, 2), away(made).permute(1, 0, 2)
    torch.testing.assert_close(turned @ turned.mT, real @ real.mT, rtol=1e-4, atol=2e-4)
    torch.testing.assert_close(steps(made), steps(resid), rtol=1e-4, atol=1e-4)


def test_rotation_is_one_and_the_same_for_all_layers_of_a_token():
    """The turned d_l are a fixed linear image of the real ones: solve for it and apply it."""
    resid = states(n_layers=30, d=5)
    made = paths.rotated(Paths.of(resid), generator())
    real, turned = away(resid)[:, 0], away(made)[:, 0]
    rotation = torch.linalg.lstsq(real[:10], turned[:10]).solution
    torch.testing.assert_close(rotation.T @ rotation, torch.eye(5), rtol=0, atol=1e-3)
    torch.testing.assert_close(real @ rotation, turned, rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(resid[:-1, 1].shape, made[:-1, 1].shape)


@pytest.mark.parametrize("r, d", [(1, 6), (3, 6), (5, 6), (6, 6)])
def test_frames_are_orthonormal_and_uniform(r, d):
    n = 20_000
    frames = paths.haar_frames(n, r, d, generator())
    torch.testing.assert_close(frames @ frames.mT, torch.eye(r).expand(n, r, r), rtol=0, atol=2e-4)
    # Every entry has mean 0 and variance 1 / d, and any row's direction is uniform: its first
    # coordinate squared is Beta(1/2, (d - 1) / 2).
    assert frames.mean(0).abs().max() < 5 / np.sqrt(d * n)
    torch.testing.assert_close(
        frames.square().mean(0), torch.full((r, d), 1 / d), rtol=0, atol=0.01
    )
    for row in range(r):
        square = frames[:, row, 0].square().numpy()
        assert stats.kstest(square, stats.beta(0.5, (d - 1) / 2).cdf).pvalue > 0.001


def test_rotation_is_isotropic_whatever_the_real_direction():
    resid = torch.zeros(3, 20_000, 4)
    resid[0, :, 0], resid[1, :, 1] = 3.0, 1.0
    turned = away(paths.rotated(Paths.of(resid), generator()))
    for layer, norm in enumerate([3.0, 1.0]):
        assert turned[layer].mean(0).abs().max() < 5 * norm / np.sqrt(20_000 * 4)
        spread = turned[layer].T @ turned[layer] / 20_000
        torch.testing.assert_close(spread, torch.eye(4) * norm**2 / 4, rtol=0, atol=0.03 * norm**2)


def test_exchange_takes_the_donors_direction_at_the_own_distance():
    resid = states()
    donor = torch.arange(N).roll(3)
    made = paths.exchanged(Paths.of(resid), donor)
    torch.testing.assert_close(away(made).norm(dim=-1), away(resid).norm(dim=-1))
    cosine = torch.cosine_similarity(away(made), away(resid)[:, donor], dim=-1)
    torch.testing.assert_close(cosine, torch.ones(L - 1, N))


def test_exchange_with_a_donor_that_has_arrived():
    resid = states()
    resid[2:, 5] = resid[-1, 5]
    made = paths.exchanged(Paths.of(resid), torch.full((N,), 5))
    assert torch.equal(made[2:], resid[-1].expand(L - 2, N, D)) and made.isfinite().all()


def test_walk_and_line_have_the_real_step_lengths():
    resid = states()
    geometry = Paths.of(resid)
    torch.testing.assert_close(geometry.steps.squeeze(-1), steps(resid))
    torch.testing.assert_close(steps(paths.walk(geometry, generator())), steps(resid))
    line = paths.line(geometry, generator())
    share = torch.arange(L)[:, None, None] / (L - 1)
    noise = line - (resid[-1] + (1 - share) * (resid[0] - resid[-1]))
    torch.testing.assert_close(noise[:-1].norm(dim=-1), steps(resid), rtol=1e-4, atol=1e-4)


def test_one_layer_is_the_end_itself():
    resid = states(n_layers=1)
    for make in MAKERS.values():
        assert torch.equal(make(Paths.of(resid)), resid)


def test_donors_are_uniform_among_the_others():
    doc = torch.tensor([0, 0, 1, 1, 2, 2])
    top1 = torch.tensor([5, 6, 5, 7, 6, 8])
    able = [[i for i in range(6) if doc[i] != doc[t] and top1[i] != top1[t]] for t in range(6)]
    assert paths.donor_counts(doc, top1).tolist() == [len(a) for a in able]
    gen = generator()
    drawn = torch.stack([paths.pick_donors(doc, top1, gen) for _ in range(3000)]).numpy()
    for token in range(6):
        found, counts = np.unique(drawn[:, token], return_counts=True)
        assert found.tolist() == able[token]
        assert stats.chisquare(counts).pvalue > 0.001


def test_a_rare_donor_is_found(monkeypatch):
    monkeypatch.setattr(paths, "_REDRAWS", 0)
    doc, top1 = torch.tensor([0] * 50 + [1]), torch.tensor([5] * 50 + [6])
    assert (paths.pick_donors(doc, top1, generator())[:50] == 50).all()


def test_same_seed_same_paths():
    geometry = Paths.of(states())
    for make in (paths.rotated, paths.walk, paths.line):
        assert torch.equal(make(geometry, generator(4)), make(geometry, generator(4)))
        assert not torch.equal(make(geometry, generator(4)), make(geometry, generator(5)))
