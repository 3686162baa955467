"""What a model reads -> its corpus: documents in order, and a hash of what is in them.

    text, masked text    a text file, a folder of .txt files, or "bundled"     (`satlens.survey.corpus`)
    pairs                a .jsonl file with {"source": ..., "target": ...} a line, or source TAB target a line
    images               an image, or a folder of them with the folders inside it
    recordings           a WAV or FLAC file, or a folder of them with the folders inside it
    speech               the same; NAME.txt beside NAME.wav is its transcript

The hash of files is over the name (relative to the folder) and the bytes of each; that of pairs is
over the pairs.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from satlens.errors import InputError
from satlens.models import ResidualModel
from satlens.models.inputs.audio import SUFFIXES as AUDIO
from satlens.models.inputs.audio import InFolder, split_audio
from satlens.models.inputs.images import SUFFIXES as IMAGES
from satlens.models.inputs.images import find_pictures
from satlens.models.protocol import READS
from satlens.report.words import count
from satlens.survey.corpus import BUNDLED, SEPARATOR, Corpus, read_corpus, read_text

TEXTS = (".txt", ".jsonl", ".tsv")
PAIR = '{"source": "...", "target": "..."}'


def corpus_of(model: ResidualModel, source: str, *, separator: str = SEPARATOR) -> Corpus:
    """The corpus that a model reads; ``model.reads`` says what it may be.

    Args:
        source: "bundled", or the path of a file or folder.
        separator: the text between two documents of a text file.

    Returns:
        The corpus; its documents are texts, (source, target) pairs, paths of images or of recordings, or
        for speech (path, transcript or None).

    Raises:
        InputError: nothing there, or nothing that this model reads.

    Example:
        >>> import satlens
        >>> model = satlens.wrap(satlens.load_model("tiny"))
        >>> corpus_of(model, "bundled").reads
        'text'
    """
    kind, path = KINDS[model.reads], Path(source)
    if source == BUNDLED:
        if kind.read is not text:
            raise refusal(model, f'"{BUNDLED}" is text')
        return replace(read_corpus(source, separator=separator), reads=model.reads)
    check_there(source)
    others = {*IMAGES, *AUDIO, *TEXTS} - set(kind.files)
    if path.is_file() and path.suffix.lower() in others:
        raise refusal(model, f"{path} is a {path.suffix} file")
    if path.is_dir() and not any(one.suffix.lower() in kind.in_folder for one in files_in(path)):
        raise refusal(model, f"{path} is a folder with {inventory(files_in(path))}")
    found = replace(kind.read(path, separator), reads=model.reads)
    return replace(found, notes=left_out(found, path)) if path.is_dir() else found


def check_there(source: str) -> None:
    """Refuse a corpus that is not there, whatever the model reads."""
    # os.path answers False where a text is no possible path; pathlib would raise.
    if source != BUNDLED and not os.path.exists(source):
        raise InputError(
            f'No corpus at {source}: give a file, a folder, or "{BUNDLED}" (stories, for models that read '
            "text)."
        )


def refusal(model: ResidualModel, found: str) -> InputError:
    """What the model reads, what was found, and what to pass."""
    return InputError(
        f"{model.name} reads {READS[model.reads]}, and {found}. Its corpus is {KINDS[model.reads].wanted}."
    )


def text(path: Path, separator: str) -> Corpus:
    """Texts, as every language model reads them."""
    return read_corpus(path, separator=separator)


def pairs(path: Path, _separator: str) -> Corpus:
    """The pairs of a file, one a line; empty lines are left out."""
    parse = pair_of_json if path.suffix.lower() == ".jsonl" else pair_of_columns
    lines = enumerate(read_text(path).split("\n"), 1)
    found = tuple(parse(line, f"Line {number} of {path}") for number, line in lines if line.strip())
    if not found:
        raise InputError(f"The corpus {path} is empty: no line holds a pair.")
    digest = hashlib.sha256("\n".join(map(json.dumps, found)).encode()).hexdigest()
    return Corpus(path.name, found, digest)


def pair_of_json(line: str, where: str) -> tuple[str, str]:
    """The source and the target of one line of JSON; other keys are left alone."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON ({error}); each line is {PAIR}.") from error
    if not isinstance(fields, Mapping) or not {"source", "target"} <= fields.keys():
        keys = sorted(fields) if isinstance(fields, Mapping) else type(fields).__name__
        raise InputError(f"{where} holds {keys}; each line is {PAIR}.")
    pair = fields["source"], fields["target"]
    if not all(isinstance(one, str) and one.strip() for one in pair):
        raise InputError(f"{where}: source and target are texts, and neither is empty.")
    return pair


def pair_of_columns(line: str, where: str) -> tuple[str, str]:
    """The source and the target of one line with a tab between them."""
    columns = [column.strip() for column in line.split("\t")]
    if len(columns) != 2 or not all(columns):
        raise InputError(
            f"{where} has {count(len(columns), 'column')}; each line is a source, a tab and a target, and "
            f"neither is empty (in a .jsonl file: {PAIR})."
        )
    return columns[0], columns[1]


def images(path: Path, _separator: str) -> Corpus:
    """The images of a folder, in order of path, or one."""
    found = find_pictures(path)
    return of_files(path, [(one.name, Path(one.source)) for one in found])


def recordings(path: Path, _separator: str) -> Corpus:
    """The recordings of a folder, in order of path, or one."""
    found = [item for item in split_audio(path) if isinstance(item, InFolder)]
    return of_files(path, [(one.name, one.path) for one in found] or [(path.name, path)])


def speech(path: Path, separator: str) -> Corpus:
    """Recordings, each with the transcript that lies beside it, or None: the model then writes one."""
    found = recordings(path, separator)
    documents = []
    digest = hashlib.sha256(found.sha256.encode())
    for recording in found.documents:
        beside = recording.with_suffix(".txt")
        transcript = read_text(beside).strip() if beside.is_file() else None
        documents.append((recording, transcript))
        digest.update(json.dumps(transcript).encode())
    return replace(found, documents=tuple(documents), sha256=digest.hexdigest())


def of_files(path: Path, named: Sequence[tuple[str, Path]]) -> Corpus:
    """A corpus of (name, file); names are relative to the folder, so a folder may be moved."""
    digest = hashlib.sha256()
    for name, file in named:
        name = name if path.is_dir() else path.name
        try:
            with file.open("rb") as stream:
                inside = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"Could not read {file}: {error.strerror}.") from error
        digest.update(f"{name}\0{inside}\n".encode())
    return Corpus(path.resolve().name, tuple(file for _, file in named), digest.hexdigest())


def files_in(folder: Path) -> list[Path]:
    """The files of a folder and the folders in it, but for hidden ones."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    ]


def inventory(files: Sequence[Path]) -> str:
    """How many files of which kind.

    >>> inventory([Path("a.txt"), Path("b.TXT"), Path("c.png")])
    '2 .txt files, 1 .png file'
    """
    found = Counter(file.suffix.lower() or "other" for file in files)
    named = [count(number, f"{suffix} file") for suffix, number in found.most_common(5)]
    return ", ".join(named) or "no files"


def left_out(corpus: Corpus, folder: Path) -> tuple[str, ...]:
    """A note on files that some model reads, and this one does not."""
    kind = KINDS[corpus.reads]
    used = {file for file in files_in(folder) if file.suffix.lower() in kind.in_folder}
    if kind.read is speech:
        used |= {file.with_suffix(".txt") for file in used}
    readable = {*IMAGES, *AUDIO, ".txt"}
    others = [f for f in files_in(folder) if f.suffix.lower() in readable and f not in used]
    if not others:
        return ()
    said = f"The folder holds {inventory(others)} besides, left out: the model reads"
    return (f"{said} {READS[corpus.reads]}.",)


@dataclass(frozen=True)
class Kind:
    """What models of one kind read, in words and in files.

    Attributes:
        document, position: what one document, and one position that counts, is called.
        wanted: what a corpus may be.
        read: (path, separator) -> corpus.
        files: suffixes of a single file; one that is of no kind is tried.
        in_folder: suffixes of the files that are read of a folder; none: a folder is refused.
    """

    document: str
    position: str
    wanted: str
    read: Callable[[Path, str], Corpus]
    files: tuple[str, ...]
    in_folder: tuple[str, ...] = ()


_TEXT: dict[str, Any] = {
    "wanted": f'a text file, a folder of .txt files, or "{BUNDLED}"',
    "read": text,
    "files": TEXTS,
    "in_folder": (".txt",),
}
_HEARD = "a WAV or FLAC file, or a folder of them"
KINDS = {
    "text": Kind("document", "token", **_TEXT),
    "masked text": Kind("document", "masked token", **_TEXT),
    "pairs": Kind(
        "pair", "token", f"a .jsonl file of lines {PAIR}, or a file of lines source TAB target",
        pairs, TEXTS,
    ),
    "images": Kind(
        "image", "class token", f"an image or a folder of images ({', '.join(IMAGES)})", images,
        IMAGES, IMAGES,
    ),
    "recordings": Kind("recording", "frame", _HEARD, recordings, AUDIO, AUDIO),
    "speech": Kind(
        "recording", "token", f"{_HEARD}; NAME.txt beside NAME.wav is its transcript", speech,
        AUDIO, AUDIO,
    ),
}  # fmt: skip
"""By what a model reads, `satlens.models.protocol.READS`."""
