import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score

import satlens
from satlens.errors import InputError, NumericsError
from satlens.lenses import LinearShortcut, LogitLens, ShortcutFitter, measure, split_documents
from satlens.lenses.agreement import MEASURES, TOPS, FullOutput, agreement
from satlens.lenses.quality_sums import UNITS, QualitySums
from satlens.resampling import by_document
from tests.builders import random_hooked, random_ids
from tests.lenses.toys import linear_model


def plain_agreement(scores, full):
    """Token by token, by the definitions."""
    rows = []
    for z, f in zip(scores.double().numpy(), full.double().numpy(), strict=True):
        p = np.exp(f - f.max()) / np.exp(f - f.max()).sum()
        q = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        v = min(i for i in range(len(z)) if z[i] == z.max())
        ranking = sorted(range(len(f)), key=lambda i: (-f[i], i))
        hits = [float(v in ranking[:k]) for k in TOPS]
        rows.append([*hits, -np.log(p[v]), (p * np.log(p / q)).sum()])
    return np.array(rows)


@given(st.integers(0, 2**31), st.integers(1, 20), st.booleans())
def test_the_measures_are_their_definitions_ties_included(seed, outputs, coarse):
    rng = np.random.default_rng(seed)
    scores, full = rng.standard_normal((2, 12, outputs)) * 2
    if coarse:
        scores, full = scores.round(), full.round()
    scores, full = torch.from_numpy(scores).float(), torch.from_numpy(full).float()
    found = agreement(scores, full).numpy()
    assert np.allclose(found, plain_agreement(scores, full), atol=1e-5)


def test_an_output_that_is_ruled_out_adds_nothing():
    full = torch.tensor([[1.0, -torch.inf, 0.0]])
    found = agreement(torch.tensor([[1.0, 5.0, 0.0]]), full)[0]
    assert found[3] == torch.inf and found[4].isfinite() and found[4] > 0
    assert found[:3].tolist() == [0, 1, 1]


DOCS = random_ids(40, [20, 31, 9, 25, 14, 18, 2])


@pytest.fixture(scope="module")
def problem():
    """A model, two lenses, and everything they say in plain arrays."""
    model = satlens.wrap(random_hooked(n_layers=3, d=16, vocab=40))
    lenses = {
        "identity": LogitLens(model),
        "shortcut": LinearShortcut.fit(model, random_ids(40, [30] * 5, seed=8)),
    }
    states = [model.states(batch) for batch in model.batches(DOCS, 8)]
    resid = torch.cat([one.resid for one in states], 1)
    doc = torch.cat([one.doc for one in states]).numpy()
    return model, lenses, resid, doc


def test_means_and_r2_are_those_of_all_tokens(problem):
    model, lenses, resid, doc = problem
    found = measure(model, DOCS, lenses)
    assert found.tokens == len(doc) and found.documents == len(DOCS) and found.layers == (0, 1)
    full = model.readout(resid[-1])
    for name, lens in lenses.items():
        for layer in found.layers:
            want = agreement(lens.scores(resid[layer], layer), full).mean(0)
            got = [found.estimate(name, one).value[layer] for one in MEASURES]
            assert got == pytest.approx(want.tolist(), rel=1e-6)
            state = resid[layer] if name == "identity" else lens.transport(resid[layer], layer)
            want = r2_score(resid[-1].double().numpy(), state.double().numpy())
            assert found.estimate(name, "r2").value[layer] == pytest.approx(want, rel=1e-6)


def test_intervals_and_differences_are_the_bootstrap_over_documents(problem):
    model, lenses, resid, doc = problem
    found = measure(model, DOCS, lenses, draws=300, seed=4)
    full = model.readout(resid[-1])
    kl = {
        name: agreement(lens.scores(resid[1], 1), full)[:, 4].numpy()
        for name, lens in lenses.items()
    }
    sums = by_document(np.stack([kl["shortcut"], kl["identity"], np.ones(len(doc))], 1), doc)
    weights = np.random.default_rng(4).multinomial(
        len(DOCS), np.full(len(DOCS), 1 / len(DOCS)), size=300
    )
    drawn = weights @ sums
    for got, values in (
        (found.estimate("shortcut", "kl")[1], drawn[:, 0] / drawn[:, 2]),
        (found.difference("shortcut", "identity", "kl")[1],
         (drawn[:, 0] - drawn[:, 1]) / drawn[:, 2]),
    ):  # fmt: skip
        assert [got.low, got.high] == pytest.approx(np.quantile(values, [0.025, 0.975]).tolist())
        assert got.documents == len(DOCS) and got.draws == 300
    over = found.difference("shortcut", "identity", "kl", layers=[0, 1])[0]
    each = found.difference("shortcut", "identity", "kl").value
    assert over.value == pytest.approx(each.mean())


def test_r2_of_a_draw_is_the_r2_of_the_drawn_documents(problem):
    model, lenses, resid, doc = problem
    found = measure(model, DOCS, lenses, draws=50, seed=1)
    y, x = resid[-1].double().numpy(), lenses["shortcut"].transport(resid[0], 0).double().numpy()
    weights = np.random.default_rng(1).multinomial(
        len(DOCS), np.full(len(DOCS), 1 / len(DOCS)), size=50
    )
    drawn = [r2_score(y, x, sample_weight=w[doc]) for w in weights]
    got = found.estimate("shortcut", "r2")[0]
    assert [got.low, got.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist())
    over = found.difference("shortcut", "identity", "r2", layers=[0, 1])[0].value
    each = found.estimate("shortcut", "r2").value - found.estimate("identity", "r2").value
    assert over == pytest.approx(each.mean())


def test_the_best_of_several_is_found_in_every_draw(problem):
    model, lenses, resid, doc = problem
    lenses = lenses | {"mean": ShortcutFitter(model).fit(DOCS).mean_state()}
    found = measure(model, DOCS, lenses, draws=200, seed=2)
    full = model.readout(resid[-1])
    for one, column, sign in (("precision@5", 1, 1), ("surprisal", 3, -1)):
        per_token = [
            np.mean([sign * agreement(lens.scores(resid[layer], layer), full)[:, column].numpy()
                     for layer in (0, 1)], axis=0)
            for lens in lenses.values()
        ]  # fmt: skip
        sums = by_document(np.stack([*per_token, np.ones(len(doc))], 1), doc)
        weights = np.random.default_rng(2).multinomial(
            len(DOCS), np.full(len(DOCS), 1 / len(DOCS)), size=200
        )
        drawn = weights @ sums
        means = drawn[:, :3] / drawn[:, 3:]
        ahead = means[:, 1] - means[:, [0, 2]].max(1)
        best, got = found.over_best("shortcut", ("identity", "mean"), one, [0, 1])
        assert [got.low, got.high] == pytest.approx(np.quantile(ahead, [0.025, 0.975]).tolist())
        whole = sums.sum(0)[:3]
        assert best == ("identity", "mean")[int(np.argmax(whole[[0, 2]]))]
    with pytest.raises(InputError, match="wants other methods and one of precision@1"):
        found.over_best("shortcut", (), "kl", [0])


@settings(max_examples=10)
@given(st.integers(1, 8))
def test_a_stream_is_all_at_once(batch_size):
    if "problem" not in _KEPT:
        model = satlens.wrap(random_hooked(n_layers=3, d=16, vocab=40))
        _KEPT["problem"] = model, measure(model, DOCS, {"identity": LogitLens(model)}).to_frame()
    model, want = _KEPT["problem"]
    got = measure(model, DOCS, {"identity": LogitLens(model)}, batch_size=batch_size).to_frame()
    for column in ("value", "low", "high"):
        assert np.allclose(got[column], want[column], rtol=1e-4, atol=1e-5)
    for column in ("method", "layer", "measure"):
        assert (got[column] == want[column]).all()


_KEPT = {}


def test_what_is_planted_is_found_and_nulls_are_null():
    model = linear_model(n_layers=3, d=8, vocab=30)
    train, test = random_ids(30, [30] * 80, seed=1), random_ids(30, [30] * 30, seed=2)
    fitter = ShortcutFitter(model).fit(train)
    shuffled = ShortcutFitter(model, shuffle=0).fit(train)
    found = measure(
        model, test,
        {
            "identity": LogitLens(model), "shortcut": fitter.shortcut(),
            "mean": fitter.mean_state(), "shuffled": shuffled.shortcut(intercept=True),
        },
    )  # fmt: skip
    assert found.estimate("shortcut", "r2").value == pytest.approx([1, 1])
    assert found.estimate("shortcut", "precision@1").value.tolist() == [1, 1]
    assert found.estimate("shortcut", "kl").value == pytest.approx([0, 0], abs=1e-6)
    for null in ("mean", "shuffled"):
        assert (np.abs(found.estimate(null, "r2").value) < 0.05).all()
        assert (found.estimate(null, "precision@1").value < 0.3).all()
        assert (found.difference("shortcut", null, "precision@1").low > 0.5).all()
    assert (found.estimate("identity", "r2").value < 0.5).all()
    assert found.combined([("shortcut", 1), ("mean", -1)], "kl").high.max() < 0


def test_coordinates_that_do_not_vary_explain_nothing_and_cost_nothing():
    y = torch.randn(50, 4, generator=torch.manual_seed(0))
    y[:, 1], y[:, 3] = 7.0, 0.0
    x = y + 0.1
    sums = QualitySums(("m",), (0,), 4)
    doc = torch.arange(50) // 5
    sums.count(doc, y)
    sums.add("m", 0, doc, torch.zeros(50, 3), FullOutput.of(torch.zeros(50, 3)), x - y)
    found = satlens.lenses.Quality(sums)
    want = r2_score(y[:, [0, 2]].numpy(), x[:, [0, 2]].numpy())
    assert found.estimate("m", "r2").value[0] == pytest.approx(want, rel=1e-5)
    assert sums.varies().tolist() == [True, False, True, False]
    still = QualitySums(("m",), (0,), 4)
    still.count(doc, torch.ones(50, 4))
    still.add("m", 0, doc, torch.zeros(50, 3), FullOutput.of(torch.zeros(50, 3)), torch.ones(50, 4))
    assert np.isnan(satlens.lenses.Quality(still).estimate("m", "r2").value[0])


def test_memory_does_not_grow_with_the_documents_and_each_is_of_one_unit():
    sizes = []
    for documents in (3, UNITS, 5 * UNITS):
        sums = QualitySums(("m",), (0,), 4, np.arange(documents) * 3)
        doc = torch.arange(documents).repeat_interleave(2) * 3
        sums.count(doc, torch.randn(len(doc), 4))
        full = FullOutput.of(torch.randn(len(doc), 3))
        sums.add("m", 0, doc, torch.randn(len(doc), 3), full, None)
        sizes.append(sums.agreed.nbytes + sums.error.nbytes + sums.final.nbytes)
        assert (sums.tokens > 0).sum() == min(documents, UNITS) == sums.units
        assert (sums.tokens[sums.tokens > 0] % 2 == 0).all()
        assert np.isnan(satlens.lenses.Quality(sums).estimate("m", "r2").value[0])
    assert sizes[0] < sizes[1] == sizes[2]


def test_scores_that_are_not_finite_name_nothing():
    full = torch.randn(4, 9, generator=torch.manual_seed(0))
    scores = full.clone()
    scores[1, 3], scores[2] = torch.nan, torch.inf
    found = agreement(scores, full)
    assert found[[0, 3], 0].tolist() == [1, 1] and found[[1, 2], :3].sum() == 0
    assert found[[1, 2], 3:].isnan().all() and not found[[0, 3]].isnan().any()
    sums = QualitySums(("m",), (0,), 2)
    doc = torch.arange(4)
    sums.count(doc, torch.randn(4, 2))
    sums.add("m", 0, doc, scores, FullOutput.of(full), torch.tensor([[0.0, torch.inf]] * 4))
    found = satlens.lenses.Quality(sums)
    assert sums.lost.tolist() == [[2]] and found.estimate("m", "precision@1").value[0] == 0.5
    assert np.isnan(found.estimate("m", "kl").value[0])
    assert np.isnan(found.estimate("m", "r2").value[0])
    with pytest.raises(NumericsError, match="NaN in the model's own output at 1 of 4 positions"):
        FullOutput.of(
            torch.where(torch.eye(4, 9) * (torch.arange(4) == 2)[:, None] > 0, torch.nan, full)
        )


class OnlyScores:
    """The least that is a lens."""

    name = "scores"

    def __init__(self, model):
        self.scores = lambda resid, layer: model.readout(resid)


def test_a_lens_that_gives_no_state_has_every_measure_but_r2(problem):
    model, _, _, _ = problem
    found = measure(model, DOCS, {"scores": OnlyScores(model), "identity": LogitLens(model)})
    assert np.isnan(found.estimate("scores", "r2").value).all()
    for one in MEASURES:
        assert (found.difference("scores", "identity", one).value == 0).all()


def test_one_document_has_no_interval(problem):
    model, lenses, _, _ = problem
    found = measure(model, DOCS[:1], lenses).estimate("identity", "kl")[0]
    assert np.isnan(found.low) and "at least 2" in found.note


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda m: measure(m, DOCS, {}), "No lenses to measure"),
        (lambda m: measure(m, DOCS, {"a": LogitLens(m)}).estimate("b", "kl"), "No method 'b' here; there"),
        (lambda m: measure(m, DOCS, {"a": LogitLens(m)}).estimate("a", "f1"), "No measure 'f1' here; .*r2"),
        (lambda m: measure(m, DOCS, {"a": LogitLens(m)}).difference("a", "a", "kl", [2]), "No layer 2 here"),
        (lambda m: measure(m, DOCS, {"a": LogitLens(m)}).difference("a", "a", "kl", []), "No layers to take"),
        (lambda m: split_documents(m.batches(DOCS, 2), 1.0), "must lie between 0 and 1, got 1.0"),
        (lambda m: split_documents(m.batches([DOCS[0]] * 3, 2), 0.5), "hold 3, of 1 different content"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_what_was_found(problem, call, words):
    with pytest.raises(InputError, match=words):
        call(problem[0])


@given(st.integers(0, 100), st.floats(0.05, 0.95), st.integers(2, 20), st.booleans())
def test_no_document_is_on_both_sides(seed, share, documents, repeated):
    model = linear_model()
    docs = random_ids(30, [5 + n % 7 for n in range(documents)], seed)
    if repeated:
        docs = [*docs, *docs[: documents // 2]]
    first, second = split_documents(model.batches(docs, 4), share, seed)
    sides = [{tuple(row.ids.tolist()) for row in part.rows} for part in (first, second)]
    assert not sides[0] & sides[1] and all(sides)
    assert first.n_documents + second.n_documents == len(docs)
    if not repeated:
        assert abs(first.n_documents - share * len(docs)) <= 1.5
    again = split_documents(model.batches(docs[::-1], 4), share, seed)[0]
    if not repeated:
        assert {tuple(row.ids.tolist()) for row in again.rows} == sides[0]
