import pytest

from satlens.errors import InputError
from satlens.survey import read_corpus


def test_separators_cut_and_empty_documents_go(tmp_path):
    (tmp_path / "a.txt").write_text(
        "One.\n<|endoftext|>\n\n<|endoftext|>\nTwo\nlines.\n<|endoftext|>\n"
    )
    assert read_corpus(tmp_path / "a.txt").documents == ("One.", "Two\nlines.")


def test_a_file_without_separator_is_one_document_unless_told(tmp_path):
    (tmp_path / "a.txt").write_text("One.\n\nTwo.")
    assert len(read_corpus(tmp_path / "a.txt").documents) == 1
    assert read_corpus(tmp_path / "a.txt", separator="\n\n").documents == ("One.", "Two.")


def test_a_folder_is_read_in_order_of_name(tmp_path):
    (tmp_path / "sub").mkdir()
    for name, text in (("b.txt", "B"), ("a.txt", "A"), ("sub/c.txt", "C"), ("d.md", "no")):
        (tmp_path / name).write_text(text)
    corpus = read_corpus(tmp_path)
    assert corpus.documents == ("A", "B", "C")
    assert corpus.name == tmp_path.name


def test_the_hash_is_of_the_text_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfHi\r\nyou")
    (tmp_path / "b.txt").write_text("Hi\nyou")
    (tmp_path / "c.txt").write_text("Hi\nyou!")
    a, b, c = (read_corpus(tmp_path / f"{name}.txt").sha256 for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: no text"),
        (b"<|endoftext|>\n \n", "is empty: no text"),
        (b"caf\xe9", r"not UTF-8 text \(byte 3 is 0xe9\)"),
        (b"a\0b", "not text: it holds NUL bytes"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_corpus(tmp_path / "bad.txt")
    assert "bad.txt" in str(caught.value)


def test_missing_and_empty_places(tmp_path):
    with pytest.raises(InputError, match='give a text file, a folder, or "bundled"'):
        read_corpus(tmp_path / "none.txt")
    with pytest.raises(InputError, match="holds no .txt file"):
        read_corpus(tmp_path)
    with pytest.raises(InputError, match="separator .* must not be empty"):
        read_corpus("bundled", separator="")
