import numpy as np
import pytest
import torch

import satlens
from satlens.errors import InputError, ModelError
from satlens.exits import Costs, FixedLayer, evaluate, measure
from tests.builders import HAS_HOOKED, random_bridge, random_hf, random_hooked, random_other
from tests.exits.toys import unit_costs, whole_numbers
from tests.models.speech import random_ctc, random_whisper

D, VOCABULARY, HEADS = 32, 50, 4


def counted(host, lens=None):
    model = satlens.wrap(host)
    return measure(model, lens or satlens.LogitLens(model))


def matrices(host, part: str) -> int:
    """Numbers in the matrices of one block, by the names of its parameters."""
    return sum(p.numel() for name, p in host.named_parameters() if part in name and p.ndim > 1)


class TestFromTheModelItself:
    """What is counted is what the shapes of the parameters say."""

    def check(self, costs, weights, kv_width=D):
        np.testing.assert_array_equal(costs.per_token, weights)
        np.testing.assert_array_equal(costs.per_pair, 2 * D)
        np.testing.assert_array_equal(costs.kv, 2 * D * kv_width)
        np.testing.assert_array_equal(costs.look, D * VOCABULARY)

    def test_a_gpt2_block_is_12_d_squared(self):
        self.check(counted(random_hf("gpt2")), 12 * D**2)

    def test_the_host_of_the_bundled_kind(self):
        self.check(counted(random_hooked()), 12 * D**2)

    def test_a_bridge_counts_no_matrix_twice(self):
        host = random_bridge()
        assert matrices(host, ".1.") > 12 * D**2  # it keeps q, k and v apart and together
        self.check(counted(host), 12 * D**2)

    def test_gated_mlp_and_grouped_heads(self):
        host = random_hf("llama", num_key_value_heads=2)
        self.check(counted(host), matrices(host, ".layers.1."), kv_width=D // 2)

    def test_grouped_heads_of_a_bridge(self):
        host = random_bridge(family="llama", num_key_value_heads=1)
        assert counted(host).kv.tolist() == [2 * D * D // HEADS] * 4

    @pytest.mark.skipif(not HAS_HOOKED, reason="settings of a HookedTransformer")
    def test_grouped_heads_of_a_hooked_transformer(self):
        assert counted(random_hooked(n_key_value_heads=1)).kv.tolist() == [2 * D * D // HEADS] * 4

    @pytest.mark.parametrize("family", ["gpt_neox", "opt", "phi", "gemma2"])
    def test_other_families(self, family):
        host = random_hf(family)
        assert counted(host).per_token[1] == matrices(host, ".layers.1.")

    def test_an_encoder_is_not_counted_into_the_first_block(self):
        costs = counted(random_other("bart"))
        assert costs.per_token[0] == costs.per_token[1] == costs.per_token[2] > 0

    def test_speech_counts_a_token_of_the_transcript(self):
        costs = counted(random_whisper())
        heard, mlp = 50, 64
        # Self-attention, queries and output of cross-attention (its keys are the recording's), the MLP.
        np.testing.assert_array_equal(costs.per_token, (4 + 2) * D**2 + 2 * D * mlp + 2 * D * heard)
        np.testing.assert_array_equal(costs.per_pair, 2 * D)

    def test_frames_have_one_length(self):
        costs = counted(random_ctc())
        assert (costs.per_pair == 0).all() and (costs.per_token > 0).all()

    def test_images_have_one_length(self):
        costs = counted(random_other("vit"))
        assert (costs.per_pair == 0).all() and (costs.per_token > 0).all()
        assert (costs.kv == 2 * D**2).all()

    def test_a_lens_pays_for_its_own_map(self):
        model = satlens.wrap(random_hf("gpt2"))

        class Mapped:
            name = "mapped"
            map = torch.eye(D)

            def scores(self, resid, layer):
                return model.readout(resid @ self.map)

        costs = measure(model, Mapped())
        assert costs.look.tolist() == [D * VOCABULARY + D**2] * 2 + [D * VOCABULARY]

    def test_half_precision_and_short_contexts(self):
        self.check(counted(random_hf("gpt2").to(torch.bfloat16)), 12 * D**2)
        self.check(counted(random_hf("gpt2", n_ctx=3)), 12 * D**2)

    def test_nothing_is_left_on_the_model(self):
        model = satlens.wrap(random_hf("gpt2"))
        measure(model, satlens.LogitLens(model))
        assert all(not point._forward_hooks for point in model.hook_points)


class TestErrors:
    def test_a_context_of_two(self):
        with pytest.raises(ModelError, match=r"its context of 2 has no three lengths. Pass cost="):
            counted(random_hf("gpt2", n_ctx=2))

    def test_no_example(self):
        model = whole_numbers()
        with pytest.raises(ModelError, match="no example input"):
            measure(model, satlens.LogitLens(model))

    @pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
    def test_numbers(self, bad):
        with pytest.raises(InputError, match=r"Costs\.kv must be numbers of 0 or more"):
            Costs([1.0, 1.0], [1.0, 1.0], [1.0, bad], [1.0, 1.0])

    def test_shapes(self):
        with pytest.raises(InputError, match="one number a layer in each array"):
            Costs([1.0, 1.0], [1.0], [1.0, 1.0], [1.0, 1.0])


class TestFormula:
    costs = Costs([10.0, 20.0, 30.0], [1.0, 2.0, 3.0], [5.0, 6.0, 7.0], [100.0, 101.0, 102.0])

    def test_body(self):
        body = self.costs.body(np.array([1, 4]))
        assert body[0].tolist() == [10 + 1 + 6 + 7, 30 + 3 + 7, 60 + 6]
        assert body[1].tolist() == [10 + 4 + 6 + 7, 30 + 12 + 7, 60 + 24]

    def test_a_policy_that_reads_scores_pays_every_look_and_its_answer_once(self):
        said = self.costs.deciding(np.ones(2), 0.0)
        assert said.tolist() == [100, 201, 201 + 102]

    def test_a_policy_that_reads_none_pays_its_own_looks_and_one_answer(self):
        said = self.costs.deciding(np.zeros(2), 4.0)
        assert said.tolist() == [4 + 100, 8 + 101, 8 + 102]

    def test_everything_is_counted_in_the_share_saved(self):
        """Three tokens after block 0, by hand: attention grows, two blocks' keys, one reading."""
        found = evaluate(whole_numbers(layers=3), [[1, 2, 3]], FixedLayer(0), cost=self.costs)
        spent = sum(10 + n + 6 + 7 + 100 for n in (1, 2, 3))
        full = sum(60 + 6 * n + 102 for n in (1, 2, 3))
        assert found.table().compute_saved[0] == pytest.approx(1 - spent / full)


def test_positions_attended_to_after_a_window_starts_anew():
    model = whole_numbers()
    context = satlens.models.ResidualModel(**{**vars(model), "batches": None})
    assert context.context is None
    from functools import partial

    from satlens.models.inputs.text import token_batches

    windowed = satlens.models.ResidualModel(
        **{**vars(model), "batches": partial(token_batches, vocabulary=12, context=4)}
    )
    cost = unit_costs(a=0.0, kv=0.0, look=0.0)
    found = evaluate(windowed, [[1] * 6], FixedLayer(4), cost=cost)
    assert found.full.tolist() == [5 * (1 + 2 + 3 + 4 + 1 + 2)]
