"""The study of all policies: what it fits on what, and its verdicts where the truth is known."""

import numpy as np
import pytest

import satlens
from satlens.errors import InputError
from satlens.exits import StageExit, report
from satlens.exits.frontier import compare
from satlens.exits.study.judging import COIN, DECAYING, LOGIT, SHORTCUT, STAGE, Study, judge
from satlens.exits.study.report import mean_length
from satlens.probes import StageProbe
from satlens.verdicts import agreed
from tests.exits.planted import planted
from tests.exits.toys import unit_costs
from tests.patching.toys import documents as toy_documents
from tests.patching.toys import toy

SOFTMAX, SATURATION = "softmax response", "state saturation"


def study(signals, agree, doc, correct=None):
    """A study of these policies: by name, a signal ``[token, layer]`` that is swept."""
    layers = agree.shape[1]
    policies = {}
    for name, signal in signals.items():
        best = np.maximum.accumulate(signal[:, :-1], axis=1)
        policies[name] = [
            (t, np.where((best >= t).any(1), (best >= t).argmax(1), layers - 1))
            for t in np.quantile(best, np.linspace(0, 1, 10))
        ]
    evaluation = planted(policies, agree, layers, doc=doc, correct=correct)
    how = {"draws": 200}
    return Study(
        evaluation,
        compare(evaluation, **how),
        compare(evaluation, saving="layers_saved", **how),
        compare(evaluation, quality="accuracy", saving="layers_saved", **how),
    )


def world(seed=0, documents=40, tokens=40, layers=6):
    """Tokens that agree from a layer of their own on; documents differ in how early."""
    rng = np.random.default_rng(seed)
    n = documents * tokens
    doc = np.repeat(np.arange(documents), tokens)
    early = np.repeat(rng.integers(0, 2, documents), tokens)
    settles = np.clip(rng.integers(0, layers, n) - early, 0, layers - 1)
    agree = (np.arange(layers) >= settles[:, None]).astype(float)
    return rng, doc, agree


def signal(rng, agree, knows):
    return knows * agree + rng.normal(size=agree.shape)


def by_id(verdicts):
    return {one["id"]: one for one in verdicts}


class TestVerdicts:
    def test_a_stage_probe_that_knows_more_holds(self):
        rng, doc, agree = world()
        signals = {STAGE: signal(rng, agree, 4), SOFTMAX: signal(rng, agree, 1.5),
                   SATURATION: signal(rng, agree, 1)}  # fmt: skip
        found = by_id(judge({LOGIT: study(signals, agree, doc)}, None))
        assert found["stage_exit"]["verdict"] == "holds"
        assert found["stage_exit"]["null"] == SOFTMAX

    def test_one_that_knows_nothing_does_not(self):
        rng, doc, agree = world()
        signals = {STAGE: signal(rng, agree, 0), SOFTMAX: signal(rng, agree, 4),
                   SATURATION: signal(rng, agree, 0)}  # fmt: skip
        found = by_id(judge({LOGIT: study(signals, agree, doc)}, None))
        assert found["stage_exit"]["verdict"] == "does not hold"
        assert found["stage_exit"]["effect"]["value"] < -0.1

    def test_true_null_equal_knowledge_is_seldom_a_finding(self):
        claimed = 0
        for seed in range(40):
            rng, doc, agree = world(seed)
            signals = {name: signal(rng, agree, 2) for name in (STAGE, SOFTMAX, SATURATION)}
            found = by_id(judge({LOGIT: study(signals, agree, doc)}, None))
            claimed += found["stage_exit"]["verdict"] == "holds"
        assert claimed <= 4  # at most 1 expected

    def test_where_nobody_knows_the_coin_is_the_other(self):
        rng, doc, agree = world()
        agree[:, :-1] = (
            rng.random(agree[:, :-1].shape) < 0.5
        )  # every layer alike: nothing beats at once
        signals = {STAGE: signal(rng, agree, 0), SOFTMAX: np.full(agree.shape, 1.0)}
        signals[SATURATION] = signals[SOFTMAX]
        found = by_id(judge({LOGIT: study(signals, agree, doc)}, None))
        assert found["stage_exit"]["null"] == COIN
        assert found["stage_exit"]["verdict"] == "does not hold"

    def test_as_published_only(self):
        """More right than the two that were published, not above a third policy."""
        rng, doc, agree = world()
        signals = {STAGE: signal(rng, agree, 2), SOFTMAX: signal(rng, agree, 0),
                   SATURATION: signal(rng, agree, 0), "classifier": signal(rng, agree, 5)}  # fmt: skip
        found = by_id(judge({LOGIT: study(signals, agree, doc, correct=agree)}, None))
        assert found["stage_exit"]["verdict"] == "does not hold"
        assert found["stage_exit_as_published"]["verdict"] == "holds as published only"
        assert "other policies are left out" in found["stage_exit_as_published"]["why"]

    @pytest.mark.parametrize(
        ("knows", "main", "published"),
        [
            ((4, 1, 1), "holds", "holds"),
            ((3, 1, 3), "does not hold", "holds as published only"),
            ((1, 4, 1), "does not hold", "does not hold"),
        ],
    )
    def test_shortcuts_against_the_lens_and_against_its_mean(self, knows, main, published):
        rng, doc, agree = world(documents=120)
        made = [study({DECAYING: signal(rng, agree, k)}, agree, doc) for k in knows]
        studies = {SHORTCUT: made[0], LOGIT: made[1]}
        found = by_id(judge(studies, made[2].evaluation))
        assert found["shortcut_saves_layers"]["verdict"] == main
        assert found["shortcut_saves_layers_as_published"]["verdict"] == published

    def test_what_is_not_there_cannot_be_told(self):
        rng, doc, agree = world()
        found = judge({LOGIT: study({SOFTMAX: signal(rng, agree, 1)}, agree, doc)}, None)
        assert {one["verdict"] for one in found} == {"cannot be told here"}
        assert all("see the notes" in one["why"] for one in found)
        assert all(one["effect"]["ci"] is None for one in found)


@pytest.fixture(scope="module")
def model():
    return toy()


@pytest.fixture(scope="module")
def fitted():
    return []


@pytest.fixture(scope="module")
def found(model, fitted):
    """The planted stack of `tests.patching.toys`: a flag in the state says that stage 2 has begun."""

    def fit_stage(asked, batches):
        fitted.append((asked, batches))
        states, stages = [], []
        for batch in batches:
            read = asked.states(batch)
            flag = read.resid @ asked.host.flag
            states.append(read.resid[:-1].flatten(0, 1).numpy())
            stages.append(1 + (flag[:-1].flatten() > 4).numpy().astype(int))
        return StageExit(StageProbe().fit(np.concatenate(states), np.concatenate(stages)))

    return report(
        model, toy_documents(8), toy_documents(10, seed=1), fit_stage=fit_stage, points=6, tokens=400,
        untrained_seeds=0, draws=50, cost=unit_costs(10),
    )  # fmt: skip


class TestReport:
    def test_the_planted_stage_is_used_and_nothing_was_fitted_on_what_is_judged(
        self, found, fitted
    ):
        ((asked, batches),) = fitted  # once: stages are the model's own, whatever lens answers
        assert batches.n_documents == 8 and found.read["held_out"]["documents"] == 10
        table = found.studies["logit"].evaluation.table()
        probe = table[(table.policy == "stage probe") & (table.agreement > 0.999)]
        assert probe.layers_saved.max() > 0.3  # what the flag says is known early

    def test_both_lenses_and_the_shift(self, found):
        assert list(found.studies) == ["logit", "shortcut"]
        assert found.shift.families == (DECAYING,)
        names = {name for one in found.studies.values() for name in one.evaluation.families}
        assert len(names) == 8

    def test_calibrated_on_one_half_and_tested_on_the_other(self, found):
        tested = set(found.tested.doc.tolist())
        assert len(tested) == 5 and {one.documents for one in found.calibrations} == {5}
        assert {one.epsilon for one in found.calibrations} == {0.05, 0.1, 0.2}

    def test_its_json_and_its_table(self, found):
        said = found.to_dict()
        assert said["split"]["calibration"]["documents"] + said["split"]["test"]["documents"] == 10
        assert said["split"]["held_out"]["tokens"] == 400
        points = said["studies"]["logit"]["points"]
        near = said["studies"]["logit"]["near"]
        assert {points[place]["policy"] for place in near.values()} == set(near)
        assert all(abs(sum(one["exits"]) - 1) < 1e-9 for one in points)
        frame = found.to_frame()
        assert set(frame.study) == {"logit", "shortcut"} and "agreement_low" in frame

    def test_few_states_are_a_note_and_not_an_end(self, model):
        def none(asked, batches):
            raise InputError("No layer has 50 states of every stage.\nmore")

        made = report(
            model, toy_documents(1, length=20), toy_documents(1, seed=1), fit_stage=none, points=2,
            untrained_seeds=0, draws=20, cost=unit_costs(10),
        )  # fmt: skip
        assert any("no stage probe. No layer has 50" in note for note in made.notes)
        assert any(note.startswith("No linear shortcut: ") for note in made.notes)
        assert any("takes two held-out documents" in note for note in made.notes)
        assert made.calibrations == [] and "shortcut" not in made.studies


class TestSplits:
    def test_each_is_judged_as_if_it_were_alone_and_together_they_decide(self, model):
        how = dict(points=3, tokens=400, untrained_seeds=0, draws=50, cost=unit_costs(10))
        pairs = [(toy_documents(8, seed=i), toy_documents(10, seed=10 + i)) for i in (0, 1)]
        alone = [report(model, *pair, **how) for pair in pairs]
        both = report(model, *pairs[0], more_splits=[pairs[1]], **how)
        assert list(both.by_split) == [list(one.verdicts) for one in alone]
        assert both.verdicts == [
            agreed(same, "splits of the documents") for same in zip(*both.by_split, strict=True)
        ]
        assert any("on 2 splits of the documents" in note for note in both.notes)
        assert both.read == alone[0].read and both.settings["splits"] == 2
        found = by_id(both.verdicts)["shortcut_saves_layers"]
        assert "of 2 splits of the documents" in found["why"].lower()

    def test_no_document_is_on_both_sides_of_another_split(self, model):
        with pytest.raises(InputError, match="held-out documents are among the training"):
            report(model, [[1, 2]], [[4]], more_splits=[([[4]], [[4], [1, 2]])])


def test_an_untrained_model_is_fitted_anew():
    model = satlens.wrap(satlens.load_model("tiny"))
    texts = [
        "Lily had a red ball. She ran to the park.",
        "One day a dog sat on the mat. It was warm.",
    ]
    others = ["Tom saw a big cat by the tree.", "The sun was hot, so they sat in the shade."]
    made = report(model, texts, others, points=2, draws=20)
    assert "untrained" in made.studies
    assert made.studies["untrained"].evaluation.settings["model"] == "tiny untrained"


def test_a_document_on_both_sides_is_refused(model):
    with pytest.raises(InputError, match="1 of the 2 held-out documents are among the training"):
        report(model, [[1, 2], [3]], [[4], [1, 2]])


def test_mean_length():
    model = toy()
    assert mean_length(model.batches(toy_documents(4, length=7), 2)) == 7


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"points": 1}, "points must be a whole number of at least 2"),
        ({"tokens": 0}, "tokens must be a whole number of at least 1"),
        ({"untrained_seeds": -1}, "untrained_seeds must be"),
        ({"epsilons": (0.1, 1.0)}, "epsilons must lie between 0 and 1, got 1.0"),
        ({"delta": 0.0}, "delta must lie between 0 and 1"),
        ({"draws": 0}, "draws must be"),
        ({"margin": 0.0}, "margin must be above 0"),
    ],
)
def test_settings(model, change, said):
    with pytest.raises(InputError, match=said):
        report(model, [[1]], [[2]], **change)
