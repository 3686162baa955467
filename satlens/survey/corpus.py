"""A file, a folder or the bundled stories -> documents.

A document is what lies between two separators (``<|endoftext|>`` unless said otherwise); a file without
one is a single document. Documents are the unit of every interval, so a corpus that is one long
document gives numbers without intervals: pass a separator such as a blank line to cut it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satlens.errors import InputError
from satlens.zoo import CORPUS

BUNDLED = "bundled"
SEPARATOR = "<|endoftext|>"


@dataclass(frozen=True)
class Corpus:
    """Documents in order, with what identifies them.

    Attributes:
        documents: texts; for a model that reads something else what `satlens.runs.corpora` makes of it.
        sha256: of what is in the documents: two corpora of one hash give the same run.
        reads: what a document is, a key of `satlens.models.protocol.READS`.
        notes: what a reader must know of the choice of the documents.
    """

    name: str
    documents: tuple[Any, ...]
    sha256: str
    reads: str = "text"
    notes: tuple[str, ...] = ()


def read_corpus(source: str | Path = BUNDLED, *, separator: str = SEPARATOR) -> Corpus:
    """The documents of a text file, of every ``.txt`` file of a folder, or of the bundled stories.

    Args:
        source: "bundled", a file (UTF-8), or a folder, read in order of name, subfolders included.
        separator: the text between two documents. Empty documents are left out.

    Raises:
        InputError: no such file, not text, nothing in it, or an empty separator.

    Example:
        >>> corpus = read_corpus("bundled")
        >>> corpus.name, len(corpus.documents) >= 60
        ('bundled', True)
    """
    if not separator:
        raise InputError("The separator between documents must not be empty.")
    path = CORPUS if str(source) == BUNDLED else Path(source)
    if path.is_dir():
        files = sorted(path.rglob("*.txt"))
        if not files:
            raise InputError(f"The corpus folder {path} holds no .txt file.")
    elif path.is_file():
        files = [path]
    else:
        raise InputError(f'No corpus at {path}: give a text file, a folder, or "{BUNDLED}".')
    pieces = [piece.strip() for file in files for piece in read_text(file).split(separator)]
    documents = tuple(piece for piece in pieces if piece)
    if not documents:
        raise InputError(f"The corpus {path} is empty: no text between its separators.")
    digest = hashlib.sha256("\0".join(documents).encode()).hexdigest()
    name = BUNDLED if path == CORPUS else path.name
    return Corpus(name, documents, digest)


def read_text(file: Path) -> str:
    """The text of a file, with line feeds alone.

    Raises:
        InputError: the file cannot be read, or is not UTF-8 text.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} is not UTF-8 text (byte {error.start} is {error.object[error.start]:#04x}). "
            "Convert it, or take it out of the corpus."
        ) from error
    except OSError as error:
        raise InputError(f"Could not read {file}: {error.strerror}.") from error
    if "\0" in text:
        raise InputError(f"{file} is not text: it holds NUL bytes.")
    return text.replace("\r\n", "\n")
