import numpy as np
import pytest

from satlens.errors import InputError
from satlens.reranking import Reranker, rerank
from satlens.reranking.comparison import PAIRS, VARIANTS
from satlens.reranking.folds import document_folds
from tests.reranking.planted import planted


@pytest.fixture(scope="module")
def helped():
    return rerank(planted(0, documents=60, effect=2.0))


def test_a_planted_effect_makes_a_better_distribution(helped):
    assert helped.loss_saved.low > 0 and helped.strictest["loss"] in ("ranks", "shuffled")
    loss = {name: found.loss.value for name, found in helped.variants.items()}
    assert loss["saturation"] < min(loss["ranks"], loss["shuffled"], loss["temperature"])
    assert helped.variants["saturation"].accuracy.value > helped.variants["model"].accuracy.value


def test_layers_that_say_nothing_do_not():
    saved, lower = [], 0
    for seed in range(8):
        found = rerank(planted(100 + seed), draws=500)
        saved.append(found.loss_saved.value)
        lower += found.loss_saved.low > 0
    assert lower <= 1 and max(saved) < 0.003 and np.mean(saved) < 0.0


def test_a_model_that_is_too_sure_is_mended_by_temperature():
    found = rerank(planted(0, documents=60, sharpness=0.7), draws=200)
    by = {(one.of, one.against): one for one in found.differences}
    assert by["temperature", "model"].loss.low > 0
    assert by["temperature", "model"].accuracy.value == 0
    assert 0.6 < found.variants["temperature"].beta < 0.8


def test_differences_are_paired_and_add_up(helped):
    assert [(one.of, one.against) for one in helped.differences] == list(PAIRS)
    for one in helped.differences:
        of, against = helped.variants[one.of], helped.variants[one.against]
        assert one.loss.value == pytest.approx(against.loss.value - of.loss.value)
        assert one.accuracy.value == pytest.approx(of.accuracy.value - against.accuracy.value)
    own, other = helped.variants["saturation"].loss, helped.variants["model"].loss
    wide = (own.high - own.low) + (other.high - other.low)
    paired = next(
        one for one in helped.differences if one.against == "model" and one.of != "temperature"
    )
    assert paired.loss.high - paired.loss.low < wide


def test_numbers_are_those_of_fits_that_had_not_seen_the_document():
    tokens = planted(2, documents=12, effect=1.0)
    found = rerank(tokens, folds=3, draws=20)
    fold = document_folds(tokens.doc, 3)
    loss, hit = [], []
    for part in range(3):
        one = Reranker().fit(tokens[fold != part])
        loss.append(one.losses(tokens[fold == part]))
        hit.append(one.hits(tokens[fold == part]))
    assert found.variants["saturation"].loss.value == pytest.approx(np.concatenate(loss).mean())
    assert found.variants["saturation"].accuracy.value == pytest.approx(np.concatenate(hit).mean())
    assert found.variants["model"].loss.value == pytest.approx(-tokens.next_logp.mean())
    assert found.reranker.coef_.shape == (4, 5)


def test_parts_are_of_whole_documents_and_of_like_size():
    doc = np.repeat(np.arange(11), 7)
    fold = document_folds(doc, 4, seed=3)
    assert all(len(set(fold[doc == d])) == 1 for d in range(11))
    assert sorted(np.bincount(fold[::7])) == [2, 3, 3, 3]
    assert (fold != document_folds(doc, 4, seed=4)).any()
    with pytest.raises(InputError, match="12 folds need at least 12 documents"):
        document_folds(doc, 12)


def test_the_dictionary(helped):
    made = helped.to_dict()
    assert tuple(made["variants"]) == VARIANTS
    assert made["variants"]["saturation"]["parameters"] == 21
    assert made["weights"]["features"] == list(helped.reranker.features_)
    assert helped.notes == []
