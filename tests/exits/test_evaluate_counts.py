"""Every token is counted once, in its own document, whatever the batches; nothing of a batch is kept."""

import gc
import weakref

import numpy as np
import pytest

from satlens.errors import InputError
from satlens.exits import Never, Patience, SoftmaxResponse, evaluate
from satlens.models.protocol import ResidualModel
from tests.exits.toys import documents, unit_costs, whole_numbers


class TestCounts:
    def test_documents_windows_and_batches_change_nothing(self):
        model, inputs = whole_numbers(), documents(lengths=(9, 3, 20, 1, 6))
        one = evaluate(model, inputs, SoftmaxResponse(0.4), cost=unit_costs(), batch_size=1)
        many = evaluate(model, inputs, SoftmaxResponse(0.4), cost=unit_costs(), batch_size=5)
        np.testing.assert_array_equal(one.doc, [0, 1, 2, 3, 4])
        np.testing.assert_array_equal(one.exits, many.exits)
        np.testing.assert_allclose(one.values(), many.values(), atol=1e-6)
        np.testing.assert_array_equal(one.tokens, [9, 3, 20, 1, 6])
        np.testing.assert_array_equal(one.known, [8, 2, 19, 0, 5])

    def test_more_documents_than_the_first_room(self):
        found = evaluate(
            whole_numbers(), documents(lengths=[2] * 50), Patience(2), cost=unit_costs()
        )
        np.testing.assert_array_equal(found.tokens, [2] * 50)

    def test_some_documents_of_a_result_are_a_result_of_some_documents(self):
        model, inputs = whole_numbers(), documents(lengths=(9, 3, 20, 1, 6))
        policies = [SoftmaxResponse(0.4), Patience(2)]
        every = evaluate(model, inputs, policies, cost=unit_costs())
        some = evaluate(model, [inputs[1], inputs[4]], policies, cost=unit_costs())
        taken = every.take([4, 1])
        assert taken.doc.tolist() == [1, 4]
        np.testing.assert_allclose(taken.values(), some.values(), atol=1e-6)
        for bad in ([1, 9], [1, 1], []):
            with pytest.raises(InputError, match="documents of this result, each once"):
                every.take(bad)

    def test_no_batch_is_kept(self, monkeypatch):
        """Memory does not grow with the corpus: of all states that were read, one batch's are alive."""
        read, states = [], ResidualModel.states

        def watched(self, batch, logits=True):
            gc.collect()
            alive.append(sum(one() is not None for one in read))
            found = states(self, batch, logits)
            read.append(weakref.ref(found.resid))
            return found

        alive: list[int] = []
        monkeypatch.setattr(ResidualModel, "states", watched)
        evaluate(
            whole_numbers(), documents(lengths=[5] * 12), [Patience(2), SoftmaxResponse(0.4)],
            cost=unit_costs(), batch_size=2,
        )  # fmt: skip
        assert len(alive) == 6 and max(alive) <= 1

    def test_every_token_leaves_once(self):
        found = evaluate(whole_numbers(), documents(), [Patience(2), Never()], cost=unit_costs())
        np.testing.assert_array_equal(found.exits.sum(2), np.tile(found.tokens, (3, 1)))

    def test_a_model_that_does_not_read_left_to_right_has_no_accuracy(self):
        model = whole_numbers(causal=False)
        found = evaluate(model, documents(), Patience(2), cost=unit_costs())
        assert found.table()[["accuracy", "loss"]].isna().all(axis=None)
        assert not found.table().agreement.isna().any()
        assert any("no accuracy and no loss" in note for note in found.notes)

    def test_swept_thresholds_share_one_signal(self):
        class Counting(SoftmaxResponse):
            calls = 0

            def signal(self, peek):
                Counting.calls += 1
                return super().signal(peek)

        evaluate(whole_numbers(), [[1, 2]], [Counting(t / 10) for t in range(9)], cost=unit_costs())
        assert Counting.calls == 4

    def test_intervals_are_over_documents(self):
        table = evaluate(whole_numbers(), documents(), Patience(2), cost=unit_costs()).table(
            intervals=True, draws=200
        )
        assert (table.agreement_low <= table.agreement).all()
        assert (table.agreement_high >= table.agreement).all()
        alone = evaluate(whole_numbers(), [[1, 2, 3]], Patience(2), cost=unit_costs())
        assert alone.table(intervals=True).agreement_low.isna().all()
