from dataclasses import replace

import numpy as np
import pytest
import torch

import satlens
from satlens.errors import InputError, ModelError
from satlens.models import untrained, wrap
from satlens.reranking import collect, next_tokens
from satlens.reranking.collect import next_ids
from satlens.reranking.nulls import rows_of
from tests.builders import (
    random_bridge,
    random_hf,
    random_hooked,
    random_ids,
    random_other,
)

COLUMNS = ("layer", "token", "next", "doc", "pos")


@pytest.fixture(scope="module")
def model():
    return wrap(random_hooked(n_layers=5, d=16, vocab=30, n_ctx=16, scale=1.0))


@pytest.fixture(scope="module")
def documents():
    return random_ids(30, [12, 3, 40, 9, 1, 14])


@pytest.fixture(scope="module")
def tokens(model, documents):
    return next_tokens(model, documents, k=3)


def test_the_next_token_is_the_one_that_follows_in_the_window(model, documents, tokens):
    """A context of 16: the third document is three windows; the last position of each has no next token."""
    for doc, ids in enumerate(documents):
        rows = tokens.doc == doc
        wanted = [p for p in range(len(ids) - 1) if (p + 1) % 16]
        assert tokens.pos[rows].tolist() == wanted
        assert tokens.next[rows].tolist() == [ids[p + 1] for p in wanted]


def test_layers_and_ranking_are_those_of_detect(model, documents, tokens):
    events = satlens.detect(model, documents, k=3)
    place = {key: i for i, key in enumerate(zip(events.doc.tolist(), events.pos.tolist()))}  # noqa: B905
    at = [place[key] for key in tokens.places()]
    assert (tokens.layer == events.layer[at]).all()
    assert (tokens.token[:, :3] == events.token[at]).all()


def test_probabilities_are_the_models_own(model, documents, tokens):
    ids = torch.tensor([documents[0]])
    with torch.no_grad():
        logp = model.host(ids).double().log_softmax(-1)[0]
    rows = tokens.doc == 0
    want = logp[np.arange(11), documents[0][1:]].numpy()
    np.testing.assert_allclose(tokens.next_logp[rows], want, atol=1e-5)
    top = logp[:11].sort(descending=True).values[:, :4].numpy()
    np.testing.assert_allclose(tokens.logp[rows], top, atol=1e-5)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_the_size_of_a_batch_changes_nothing(model, documents, tokens, size):
    other = next_tokens(model, documents, k=3, batch_size=size)
    for name in COLUMNS:
        assert (getattr(other, name) == getattr(tokens, name)).all()
    np.testing.assert_allclose(other.tail, tokens.tail, atol=1e-4)


def test_nothing_of_a_later_position_is_read(model, documents, tokens):
    """Other tokens from position 6 on: all up to there is as it was, but for the next token itself."""
    changed = [ids[:6] + [(i + 7) % 29 + 1 for i in ids[6:]] for ids in documents]
    other = next_tokens(model, changed, k=3)
    rows = tokens.pos < 6
    assert (other.next != tokens.next)[tokens.pos == 5].all()
    for name in ("layer", "token", "logp", "tail", "tail_slope"):
        assert (getattr(other, name)[rows] == getattr(tokens, name)[rows]).all()
    assert not (other.logp == tokens.logp)[tokens.pos > 6].all()


def test_next_ids_of_a_padded_batch(model):
    (batch,) = model.batches([[5, 6, 7], [8, 9]], 2)
    assert next_ids(batch).tolist() == [6, 7, -1, 9, -1]


def test_nulls_are_of_the_positions_where_top_1_is_wrong(model, documents):
    found = collect(model, model.batches(documents, 4), k=3, draws=2, untrained_seeds=2)
    assert sorted(found.nulls) == ["exchanged", "rotated", "untrained"] and not found.missing
    wrong = found.tokens[~found.tokens.right]
    for kind, null in found.nulls.items():
        rows = rows_of(wrong, null)
        assert len(null) == 2 and sorted(rows.tolist()) == list(range(len(wrong)))
        assert (null.events.layer == wrong.layer[rows]).all(), kind
        assert (null.layer[0] != null.layer[1]).any(), kind


def test_the_untrained_layers_are_those_that_detect_finds(model, documents):
    found = collect(model, model.batches(documents, 4), k=3, null_tokens=0, seed=3)
    events = satlens.detect(untrained(model, 3), documents, k=3)
    place = {key: i for i, key in enumerate(zip(events.doc.tolist(), events.pos.tolist()))}  # noqa: B905
    null = found.nulls["untrained"]
    at = [place[k] for k in zip(null.events.doc.tolist(), null.events.pos.tolist())]  # noqa: B905
    assert (null.layer[0] == events.layer[at]).all()
    assert found.missing["rotated"] == "None was asked for (null_tokens=0)."


def test_path_nulls_of_the_first_documents_only(model, documents):
    batches = model.batches(documents, 4)
    found = collect(model, batches, k=3, draws=1, null_tokens=13, untrained_seeds=0)
    assert set(found.nulls["rotated"].events.doc.tolist()) <= {0, 1}
    assert found.missing == {"untrained": "None was asked for (untrained_seeds=0)."}


def test_one_document_has_nobody_to_exchange_with(model, documents):
    batches = model.batches(documents[2:3], 4)
    found = collect(model, batches, k=3, draws=1, untrained_seeds=0)
    assert "rotated" in found.nulls and "have no such donor" in found.missing["exchanged"]


def test_the_host_is_left_as_it_was(model, documents):
    collect(model, model.batches(documents, 4), k=3, draws=1)
    assert not any(point._forward_hooks for point in model.hook_points)


HOSTS = {
    "bridge": lambda: random_bridge(4, 16, 30, scale=1.0),
    "hf": lambda: random_hf(vocab=30, d=16, scale=1.0),
    "bfloat16": lambda: random_hf("llama", vocab=30, d=16, scale=1.0).to(torch.bfloat16),
}


@pytest.mark.parametrize("kind", HOSTS)
def test_other_hosts_are_read_as_well(kind, documents):
    found = next_tokens(HOSTS[kind](), documents, k=3)
    assert len(found) and (found.next_logp < 0).all() and np.isfinite(found.tail).all()
    rest = np.exp(found.normaliser(1.0))
    np.testing.assert_allclose(rest, 1, atol=1e-4)


def test_a_model_without_next_tokens_is_refused(model, documents):
    with pytest.raises(ModelError, match="reads both sides of a position, so it does not predict"):
        next_tokens(random_other("bert"), [[5, 6, 7]], k=3)
    with pytest.raises(ModelError, match="one block: every rank is fixed only at the last layer"):
        next_tokens(random_hooked(n_layers=1, d=16, vocab=30), documents)
    with pytest.raises(InputError, match="No position of the inputs has a next token"):
        next_tokens(model, [[5], [6]], k=3)
    with pytest.raises(InputError, match="k=30 leaves none of 30 outputs beside the ranks"):
        next_tokens(model, documents, k=30)
    with pytest.raises(InputError, match="Asked for the top k=31"):
        next_tokens(model, documents, k=31)


def test_a_host_that_cannot_be_built_anew_has_no_untrained_null(model, documents):
    wrapped = replace(model, host=torch.nn.Linear(1, 1))
    found = collect(wrapped, model.batches(documents, 4), k=3, draws=1)
    assert found.missing["untrained"].startswith("satlens.untrained cannot build a Linear")
