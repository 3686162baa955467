"""What each kind of model takes for a corpus, what identifies it, and what is refused with which words."""

import json
import shutil
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import satlens
from satlens.errors import InputError, ModelError
from satlens.models.protocol import READS
from satlens.runs.corpora import KINDS, corpus_of
from satlens.survey import read_corpus
from tests.builders import random_hf
from tests.models.pictures import write_pictures
from tests.runs.kinds import words, write_pairs, write_recordings

NO_TEXT = ("images", "recordings", "speech", "pairs")


@pytest.fixture(scope="module")
def model():
    return satlens.wrap(random_hf())


def of(model, reads, source, **kw):
    return corpus_of(replace(model, name="little", reads=reads), str(source), **kw)


@pytest.fixture
def photos(tmp_path):
    write_pictures(tmp_path / "photos", 5)
    return tmp_path / "photos"


@pytest.fixture
def voices(tmp_path):
    pytest.importorskip("soundfile")
    write_recordings(tmp_path / "voices", [400, 300, 500])
    return tmp_path / "voices"


def test_every_kind_of_model_has_its_corpus():
    assert set(KINDS) == set(READS)


def test_another_word_is_refused(model):
    with pytest.raises(ModelError, match="reads 'smells', which is not known. Choices .* 'images'"):
        replace(model, reads="smells")


@pytest.mark.parametrize("reads", ["text", "masked text"])
def test_texts_are_those_of_the_library(model, reads, tmp_path):
    for source in ("bundled", tmp_path / "a.txt"):
        (tmp_path / "a.txt").write_text("One.\n--\nTwo.")
        found = of(model, reads, source, separator="--")
        assert replace(found, reads="text") == read_corpus(source, separator="--")
        assert found.reads == reads


def test_images_of_a_folder_and_the_folders_in_it(model, photos):
    found = of(model, "images", photos)
    assert found.documents == tuple(sorted(photos.rglob("*.png"))) and len(found.documents) == 5
    assert (found.name, found.reads, found.notes) == ("photos", "images", ())
    (one,) = of(model, "images", found.documents[0]).documents
    assert one == found.documents[0]


def test_recordings_of_a_folder_and_the_folders_in_it(model, voices):
    found = of(model, "recordings", voices)
    assert found.documents == tuple(sorted(voices.rglob("*.wav"))) and len(found.documents) == 3
    (one,) = of(model, "recordings", found.documents[1]).documents
    assert one == found.documents[1]


def test_a_transcript_beside_a_recording(model, voices):
    first, second, third = sorted(voices.rglob("*.wav"))
    first.with_suffix(".txt").write_text(" a b\n")
    third.with_suffix(".txt").write_text("")  # nobody speaks
    found = of(model, "speech", voices)
    assert found.documents == ((first, "a b"), (second, None), (third, ""))
    assert found.notes == ()
    second.with_suffix(".txt").write_text("c")
    assert of(model, "speech", voices).sha256 != found.sha256


def test_what_identifies_a_folder_is_what_is_in_it(model, photos, tmp_path):
    found = of(model, "images", photos)
    shutil.copytree(photos, tmp_path / "moved")
    moved = of(model, "images", tmp_path / "moved")
    assert moved.sha256 == found.sha256
    (tmp_path / "moved" / "class0" / "notes.md").write_text("not read")
    assert of(model, "images", tmp_path / "moved").sha256 == found.sha256
    one, other = moved.documents[:2]
    one.rename(one.with_name("renamed.png"))
    renamed = of(model, "images", tmp_path / "moved").sha256
    assert renamed != found.sha256
    other.write_bytes(other.read_bytes() + b"\0")
    assert of(model, "images", tmp_path / "moved").sha256 not in (renamed, found.sha256)


def test_files_of_other_kinds_are_told(model, photos, voices):
    shutil.copytree(voices, photos / "voices")
    (photos / "README.txt").write_text("photos and voices")
    (photos / ".hidden.txt").write_text("hidden")
    (note,) = of(model, "images", photos).notes
    assert note == (
        "The folder holds 3 .wav files, 1 .txt file besides, left out: the model reads images."
    )
    (note,) = of(model, "speech", photos).notes
    assert "5 .png files, 1 .txt file besides" in note
    (note,) = of(model, "text", photos).notes
    assert "5 .png files, 3 .wav files besides" in note


letters = st.characters(blacklist_categories=["Cs"], blacklist_characters="\t\r\n\0\ufeff")
pieces = st.text(letters, min_size=1).map(str.strip).filter(bool)


@given(st.lists(st.tuples(pieces, pieces), min_size=1, max_size=4))
def test_pairs_are_the_same_in_both_formats(tmp_path_factory, model, pairs):
    folder = tmp_path_factory.mktemp("pairs")
    lines = [json.dumps({"source": s, "target": t, "id": 3}) for s, t in pairs]
    (folder / "a.jsonl").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    (folder / "a.tsv").write_text("\n".join(f"{s}\t{t}" for s, t in pairs), encoding="utf-8")
    found = [of(model, "pairs", folder / name) for name in ("a.jsonl", "a.tsv")]
    assert [list(one.documents) for one in found] == [pairs, pairs]
    assert found[0].sha256 == found[1].sha256


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("a.jsonl", "{", r"Line 3 of .*a.jsonl is not JSON .*; each line is \{\"source\""),
        ("a.jsonl", "[" * 100_000, "Line 3 of .*a.jsonl is not JSON"),
        ("a.jsonl", '{"source": "a"}', r"Line 3 of .*a.jsonl holds \['source'\]"),
        ("a.jsonl", '["a", "b"]', "Line 3 of .*a.jsonl holds list"),
        ("a.jsonl", '{"source": "a", "target": 3}', "Line 3 .* are texts, and neither is empty"),
        ("a.jsonl", '{"source": " ", "target": "b"}', "Line 3 .* are texts, and neither is empty"),
        ("a.tsv", "one column", "Line 3 of .*a.tsv has 1 column; each line is a source, a tab"),
        ("a.tsv", "a\tb\tc", "Line 3 of .*a.tsv has 3 columns"),
        ("a.tsv", "a\t ", "Line 3 of .*a.tsv has 2 columns; .* neither is empty"),
    ],
)
def test_a_line_that_is_no_pair_is_named(model, tmp_path, name, line, message):
    good = '{"source": "a", "target": "b"}' if name.endswith("jsonl") else "a\tb"
    (tmp_path / name).write_text(f"{good}\n\n{line}\n{good}")
    with pytest.raises(InputError, match=message):
        of(model, "pairs", tmp_path / name)


def test_no_pairs_at_all(model, tmp_path):
    (tmp_path / "a.jsonl").write_text("\n \n")
    with pytest.raises(InputError, match="a.jsonl is empty: no line holds a pair"):
        of(model, "pairs", tmp_path / "a.jsonl")


@pytest.mark.parametrize("reads", READS)
def test_nothing_there(model, reads, tmp_path):
    for source in (tmp_path / "nowhere", "x" * 5000, "a\0b"):
        with pytest.raises(InputError, match="No corpus at .*: give a file, a folder"):
            of(model, reads, source)


@pytest.mark.parametrize("reads", NO_TEXT)
def test_text_is_refused_with_what_to_pass(model, reads, tmp_path):
    (tmp_path / "texts").mkdir()
    for index in range(2):
        (tmp_path / "texts" / f"{index}.txt").write_text(words(9, index))
    said = f"little reads {READS[reads]}, and "
    wanted = KINDS[reads].wanted
    sources = {"bundled": '"bundled" is text', tmp_path / "texts": "is a folder with 2 .txt files"}
    if reads != "pairs":  # a file of pairs is a text file as well: its lines are looked at
        sources[tmp_path / "texts" / "0.txt"] = "0.txt is a .txt file"
    for source, found in sources.items():
        with pytest.raises(InputError) as refused:
            of(model, reads, source)
        text = str(refused.value)
        assert text.startswith(said) and found in text and text.endswith(f"{wanted}."), text


@pytest.mark.parametrize("reads", READS)
def test_an_empty_folder_is_refused(model, reads, tmp_path):
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    with pytest.raises(InputError, match=f"reads {READS[reads]}, and .*is a folder with no files"):
        of(model, reads, tmp_path / "empty")


@pytest.mark.parametrize("reads", ["text", "masked text", "pairs", "recordings", "speech"])
def test_images_are_refused_where_none_are_read(model, reads, photos):
    for source in (photos, next(photos.rglob("*.png"))):
        with pytest.raises(InputError, match=f"little reads {READS[reads]}, and .*\\.png file"):
            of(model, reads, source)


def test_recordings_are_refused_where_none_are_read(model, voices):
    for source in (voices, next(voices.rglob("*.wav"))):
        with pytest.raises(InputError, match=r"little reads images, and .*\.wav file"):
            of(model, "images", source)


def test_a_folder_of_pairs_is_refused(model, tmp_path):
    write_pairs(tmp_path / "pairs.jsonl")
    with pytest.raises(InputError, match="is a folder with 1 .jsonl file. Its corpus is a .jsonl"):
        of(model, "pairs", tmp_path)
    with pytest.raises(InputError, match="reads text, and .*is a folder with 1 .jsonl file"):
        of(model, "text", tmp_path)
