import math
import random

import pytest

from satlens.errors import InputError
from satlens.zoo.ngrams import NGram


def documents(seed, count=60):
    """Words 1..5 in a cycle with a little noise: two tokens of context tell the next."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        state, ids = rng.randint(1, 5), [0]
        for _ in range(30):
            state = rng.randint(1, 5) if rng.random() < 0.1 else state % 5 + 1
            ids.append(state)
        made.append([*ids, 0])
    return made


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("context", [(), (0, 0), (1, 2), (2, 1), (7, 9), (9, 1), (3, 9)])
def test_probabilities_sum_to_one(order, context):
    model = NGram(order, vocab=10).fit(documents(0))
    total = sum(model.probability(token, context) for token in range(10))
    assert total == pytest.approx(1.0, abs=1e-12)
    assert all(model.probability(token, context) > 0 for token in range(10))


def test_unigram_by_hand():
    # Predicted: 1, 1, 2, 0, so n1 = 2, n2 = 1, D = 2 / 4; three of four tokens were seen.
    model = NGram(1, vocab=4).fit([[0, 1, 1, 2, 0]])
    rest = 0.5 * 3 / 4 / 4
    assert model.probability(1, ()) == pytest.approx(1.5 / 4 + rest)
    assert model.probability(2, (1,)) == pytest.approx(0.5 / 4 + rest)
    assert model.probability(3, ()) == pytest.approx(rest)


def test_bigram_by_hand():
    # 01, 12, 12, 21, 20: D = 3 / (3 + 2); token 2 follows one distinct token, of four in all.
    model = NGram(2, vocab=4).fit([[0, 1, 2, 1, 2, 0]])
    lower = 0.5 / 4 + 0.5 * 3 / 4 / 4
    assert model.probability(2, (1,)) == pytest.approx(1.4 / 2 + 0.6 * 1 / 2 * lower)
    assert model.probability(2, (3,)) == pytest.approx(lower)  # unseen context


def test_nats_add_up_over_the_document():
    model = NGram(3, vocab=10).fit(documents(0))
    ids = documents(1, 1)[0]
    padded = [0, *ids]
    expected = -sum(
        math.log(model.probability(padded[i], padded[i - 2 : i])) for i in range(2, len(padded))
    )
    assert model.nats(ids) == pytest.approx(expected)


def test_context_helps_on_structured_text_and_not_on_noise():
    train, test = documents(0), documents(1)
    tokens = sum(len(ids) - 1 for ids in test)
    loss = {n: sum(NGram(n, 10).fit(train).nats(d) for d in test) / tokens for n in (1, 2, 3)}
    assert loss[3] < loss[1] - 0.5
    rng = random.Random(3)
    noise = [[0, *(rng.randint(1, 5) for _ in range(30)), 0] for _ in range(120)]
    held = noise[60:]
    one, three = (sum(NGram(n, 10).fit(noise[:60]).nats(d) for d in held) for n in (1, 3))
    assert three > 0.95 * one


def test_an_empty_or_unfitted_model_is_refused():
    with pytest.raises(InputError, match="call fit"):
        NGram(2, 5).probability(0, ())
    with pytest.raises(InputError, match="No document has a token"):
        NGram(2, 5).fit([[0]])
    with pytest.raises(InputError, match="order is 0"):
        NGram(0, 5)
