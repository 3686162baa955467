import pytest
import torch

from satlens.errors import InputError
from satlens.zoo.data import (
    BOUNDARY,
    BOUNDARY_ID,
    SOURCES,
    Stream,
    cut_passages,
    data_folder,
    encode_documents,
    make_split,
    read_stories,
    save_tokenizer,
    train_tokenizer,
)

from .synthetic import MICRO, micro, write_texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def split(folder):
    return make_split(folder, MICRO)


@pytest.fixture(scope="module")
def tokenizer(split):
    return train_tokenizer(split, MICRO.vocab)


@pytest.fixture(scope="module")
def documents(split, tokenizer):
    return {source: encode_documents(tokenizer, split.train[source]) for source in SOURCES}


def test_the_parts_are_disjoint_and_complete(folder, split):
    stories = read_stories(folder / MICRO.stories_file)
    train, held_out = set(split.train["stories"]), set(split.held_out["stories"])
    assert len(stories) == 120
    assert len(held_out) == 6
    assert not train & held_out
    assert train | held_out == set(stories)


def test_the_end_of_the_plays_is_held_out_and_no_passage_is_on_both_sides(folder, split):
    text = (folder / MICRO.plays_file).read_text(encoding="utf-8")
    held_out = "\n\n".join(split.held_out["plays"])
    assert text.endswith(held_out)
    assert 0.04 < len(held_out) / len(text) < 0.08
    assert not set(split.train["plays"]) & set(split.held_out["plays"])
    speeches = {s for passage in split.train["plays"] for s in passage.split("\n\n")}
    assert len(speeches) + held_out.count("\n\n") + 1 == 200


def test_a_story_that_occurs_twice_cannot_be_on_both_sides(tmp_path):
    path = tmp_path / "stories.txt"
    path.write_text(f"One.\n{BOUNDARY}\nTwo.\n{BOUNDARY}\nOne.\n{BOUNDARY}\n\n", encoding="utf-8")
    assert read_stories(path) == ["One.", "Two."]


def test_the_split_follows_the_seed(folder, split):
    assert make_split(folder, MICRO) == split
    assert make_split(folder, micro(seed=1)).held_out["stories"] != split.held_out["stories"]


def test_passages_keep_the_text_and_their_length():
    text = "\n\n".join("x" * n for n in (5, 30, 8, 8, 8, 3))
    passages = cut_passages(text, 20)
    assert "\n\n".join(passages) == text
    assert all(len(passage) >= 18 for passage in passages[:-1])
    assert len(passages) == 3


def test_the_tokenizer_gives_back_any_text(tokenizer):
    for text in ("The dog saw a red ball.", "  two  spaces\n\nÅngström 北京 🙂"):
        ids = tokenizer.encode(text).ids
        assert BOUNDARY_ID not in ids
        assert tokenizer.decode(ids) == text
    assert tokenizer.token_to_id(BOUNDARY) == BOUNDARY_ID
    assert tokenizer.get_vocab_size() == MICRO.vocab


def test_the_tokenizer_is_learned_from_the_training_part_only(split):
    import dataclasses

    other = dataclasses.replace(split, held_out={s: ["zzzz zzzz zzzz"] * 500 for s in SOURCES})
    ours, theirs = train_tokenizer(split, MICRO.vocab), train_tokenizer(other, MICRO.vocab)
    assert ours.to_str() == theirs.to_str()


def test_the_tokenizer_folder_loads_in_transformers(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    save_tokenizer(tokenizer, tmp_path, MICRO.context)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "The cat likes the green ball."
    assert loaded(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text).ids
    assert loaded.bos_token_id == loaded.eos_token_id == BOUNDARY_ID
    assert loaded(BOUNDARY)["input_ids"] == [BOUNDARY_ID]


def test_documents_stand_between_two_boundaries(documents):
    for ids in documents["stories"]:
        assert ids[0] == ids[-1] == BOUNDARY_ID
        assert BOUNDARY_ID not in ids[1:-1]


def test_a_batch_depends_on_the_seed_and_the_step_alone(documents):
    one, two = Stream(documents, MICRO), Stream(documents, MICRO)
    one.batch(0)  # having read another batch before makes no difference
    torch.manual_seed(1)
    assert torch.equal(one.batch(7), two.batch(7))
    assert not torch.equal(one.batch(7), one.batch(8))
    assert not torch.equal(one.batch(7), Stream(documents, micro(seed=1)).batch(7))


def test_rows_are_crops_of_the_documents_in_the_asked_shares(documents):
    settings = micro(batch=400, stories_share=0.75, boundary_share=0.5)
    stream = Stream(documents, settings)
    rows = stream.batch(0)
    assert rows.shape == (400, MICRO.context + 1)
    joined = [",".join(map(str, tokens.tolist())) for tokens in stream.tokens]
    from_stories = [",".join(map(str, row.tolist())) in joined[0] for row in rows]
    from_plays = [",".join(map(str, row.tolist())) in joined[1] for row in rows]
    assert all(a or b for a, b in zip(from_stories, from_plays, strict=True))
    assert 0.65 < sum(from_stories) / 400 < 0.85
    assert 0.4 < float((rows[:, 0] == BOUNDARY_ID).float().mean()) < 0.65


def test_too_little_text_is_refused(documents):
    with pytest.raises(InputError, match="a crop needs 100001"):
        Stream(documents, micro(context=100_000))


def test_the_folder_is_found_by_argument_or_environment(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("SATLENS_ASSETS", raising=False)
    assert data_folder(folder, MICRO) == folder
    with pytest.raises(InputError, match="pass --data DIR or set SATLENS_ASSETS"):
        data_folder(None, MICRO)
    write_texts(tmp_path / "assets" / "data")
    monkeypatch.setenv("SATLENS_ASSETS", str(tmp_path / "assets"))
    assert data_folder(None, MICRO) == tmp_path / "assets" / "data"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.*tinystories_2mb.txt.*is missing"):
        data_folder(tmp_path / "nowhere", MICRO)
