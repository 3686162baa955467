import json
import re

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer

from satlens.errors import InputError
from satlens.zoo import CORPUS, TINY
from satlens.zoo.data import (
    BOUNDARY,
    BOUNDARY_ID,
    SOURCES,
    data_folder,
    encode_documents,
    make_split,
    read_stories,
    train_tokenizer,
)
from satlens.zoo.export import FILES, sample
from satlens.zoo.model import document_nats
from satlens.zoo.settings import Settings, read_settings

SETTINGS = Settings()


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(TINY / "tokenizer.json"))


@pytest.fixture(scope="module")
def metrics():
    return json.loads((TINY / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def stories():
    return read_stories(CORPUS)


def words(text):
    return re.findall(r"[a-z']+", text.lower())


def test_the_folder_is_complete_and_small():
    present = {path.name for path in TINY.iterdir()}
    assert present == {*FILES, "corpus.txt"}
    assert sum(path.stat().st_size for path in TINY.iterdir()) <= 8_000_000


def test_the_model_is_what_the_settings_say(model, metrics):
    config = model.config
    assert config.num_hidden_layers == SETTINGS.layers == 16
    assert config.hidden_size == SETTINGS.hidden
    assert config.num_attention_heads == config.num_key_value_heads == SETTINGS.heads
    assert config.max_position_embeddings == SETTINGS.context
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert not [name for name, _ in model.named_parameters() if name.endswith("bias")]
    assert sum(p.numel() for p in model.parameters()) == metrics["parameters"]
    with safe_open(TINY / "model.safetensors", framework="pt") as file:
        kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert kinds == {torch.float16}


def test_the_tokenizer_loads_and_knows_the_boundary(tokenizer):
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(TINY)
    text = CORPUS.read_text(encoding="utf-8")[:500]
    assert loaded.bos_token_id == loaded.eos_token_id == BOUNDARY_ID
    assert loaded(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text).ids
    assert loaded.decode(tokenizer.encode(text).ids) == text
    assert len(loaded) == SETTINGS.vocab


def test_the_corpus_is_sixty_four_stories_of_about_a_hundred_words(stories):
    text = CORPUS.read_text(encoding="ascii")
    assert text.count(BOUNDARY) == len(stories) - 1 == 63
    assert all(90 <= len(story.split()) <= 115 for story in stories)
    assert len({tuple(story.split()[:4]) for story in stories}) == len(stories)


def test_the_recorded_corpus_loss_is_the_models_and_beats_the_trigram(
    model, tokenizer, stories, metrics
):
    documents = encode_documents(tokenizer, stories)
    tokens = sum(len(ids) - 1 for ids in documents)
    loss = float(document_nats(model, documents, SETTINGS.context).sum()) / tokens
    recorded = metrics["corpus"]
    assert tokens == recorded["tokens"]
    assert loss == pytest.approx(recorded["model"]["nats_per_token"], abs=2e-3)
    assert loss < recorded["trigram"]["nats_per_token"] - 0.3
    # A permutation of the words is no story.
    shuffled = [
        [0, *torch.tensor(d[1:-1])[torch.randperm(len(d) - 2)].tolist(), 0] for d in documents
    ]
    worse = float(document_nats(model, shuffled[:8], SETTINGS.context).sum())
    assert worse / sum(len(d) - 1 for d in shuffled[:8]) > loss + 1


def test_the_model_beats_both_baselines_on_every_held_out_part(metrics):
    for part in (*SOURCES, "both"):
        row = metrics["held_out"][part]
        for unit in ("nats_per_token", "bits_per_byte"):
            assert row["model"][unit] < row["trigram"][unit] < row["unigram"][unit]


def test_the_better_checkpoint_is_the_one_used(metrics):
    chosen = metrics["checkpoint"]
    other = {"best": "last", "last": "best"}[chosen["used"]]
    used = chosen[chosen["used"]]["held_out"]
    assert used <= chosen[other]["held_out"]
    assert used == pytest.approx(metrics["held_out"]["both"]["model"]["nats_per_token"], abs=1e-3)


def test_the_default_settings_are_those_of_the_bundled_run(metrics):
    assert read_settings(TINY / "settings.json") == SETTINGS
    assert metrics["training_tokens"] == SETTINGS.steps * SETTINGS.batch * SETTINGS.context


def test_the_card_states_licences_losses_and_samples(metrics):
    card = (TINY / "README.md").read_text(encoding="utf-8")
    assert "CDLA-Sharing-1.0" in card
    assert "public domain" in card
    for name in ("model", "trigram", "unigram"):
        assert f"{metrics['held_out']['stories'][name]['nats_per_token']:.3f}" in card
    plain = words(card.replace(">", " "))
    for entry in metrics["samples"]:
        assert " ".join(words(entry["text"])) in " ".join(plain)


def test_samples_follow_the_seed(model, tokenizer):
    one, again = (sample(model, tokenizer, "Once upon a time", seed=4) for _ in range(2))
    assert one == again
    assert one != sample(model, tokenizer, "Once upon a time", seed=5)


@pytest.fixture(scope="module")
def training_texts(assets):
    try:
        return data_folder(assets, SETTINGS)
    except InputError:
        pytest.skip("SATLENS_ASSETS does not hold the training texts")


@pytest.mark.assets
def test_no_eight_words_of_the_corpus_are_in_the_training_texts(training_texts, stories):
    seen = set()
    for name in (SETTINGS.stories_file, SETTINGS.plays_file):
        text = words((training_texts / name).read_text(encoding="utf-8", errors="replace"))
        seen |= set(zip(*(text[i:] for i in range(8)), strict=False))
    assert len(seen) > 100_000
    for story in stories:
        own = words(story)
        assert not seen & set(zip(*(own[i:] for i in range(8)), strict=False))


@pytest.mark.assets
def test_split_and_tokenizer_repeat_from_the_texts(training_texts, tokenizer):
    split = make_split(training_texts, SETTINGS)
    assert train_tokenizer(split, SETTINGS.vocab).get_vocab() == tokenizer.get_vocab()
    record = json.loads((TINY / "settings.json").read_text(encoding="utf-8"))
    for source in SOURCES:
        assert len(split.held_out[source]) == record["documents"]["held_out"][source]
        tokens = sum(len(ids) - 1 for ids in encode_documents(tokenizer, split.train[source]))
        assert tokens == record["tokens"]["train"][source]
