"""The documents of some inputs: which they are, and parts of them that share none."""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.models import Batches

CONTENT = ("ids", "source", "pixels", "real")
"""What of a row is hashed first; then every other tensor that it holds (a waveform, features, an item)."""

SPLITS = 3
"""Splits of the documents whose verdicts must agree."""
FIRST_OF = "Verdicts are taken on {} splits of the documents; all other numbers are of the first."
"""What a reader of several splits is told."""


def documents_of(batches: Any) -> Int[ndarray, " doc"] | None:
    """The numbers of the documents, ascending, where the inputs tell before they are read."""
    rows = getattr(batches, "rows", None)
    return None if rows is None else np.unique([row.doc for row in rows])


def split_documents(
    batches: Batches, share: float, seed: int = DEFAULT_SEED
) -> tuple[Batches, Batches]:
    """Two parts of the documents, the first with this share of them; no text is in both.

    Documents of equal content go to one side together. They are dealt by a hash of their content and the
    seed, so a document's side does not hang on the order of the inputs.

    Raises:
        InputError: a share outside (0, 1), or fewer than two different documents.

    Example:
        >>> import satlens
        >>> model = satlens.wrap(satlens.load_model("tiny"))
        >>> texts = ["Lily ran.", "Tom sat.", "Lily ran.", "A dog."]
        >>> first, second = split_documents(model.batches(texts, 2), 0.5)
        >>> len(first.rows) + len(second.rows), len({row.doc for row in first.rows})
        (4, 2)
    """
    if isinstance(share, bool) or not 0 < share < 1:
        raise InputError(f"The share of the first part must lie between 0 and 1, got {share!r}.")
    content = _contents(batches, seed)
    same: dict[bytes, list[int]] = {}
    for doc, digest in content.items():
        same.setdefault(digest, []).append(doc)
    if len(same) < 2:
        raise InputError(
            f"Two parts that share no document need at least two different ones; the inputs hold "
            f"{len(content)}, of {len(same)} different content(s)."
        )
    first: set[int] = set()
    wanted = min(max(round(share * len(content)), 1), len(content) - 1)
    order = [same[key] for key in sorted(same)]
    for docs in order:
        if len(first) + len(docs) <= wanted:  # fewer than all: some are left for the other side
            first.update(docs)
    first = first or set(min(order, key=len))
    return _part(batches, first), _part(batches, content.keys() - first)


def split_several(
    batches: Batches, share: float, seed: int = DEFAULT_SEED, n: int = SPLITS
) -> list[tuple[Batches, Batches]]:
    """``n`` splits of the same documents, each as `split_documents` deals them; the first by the seed itself.

    One split is one draw: what is found on it may hang on which documents it was fitted on.

    Raises:
        InputError: no split, or a seed below 0; and as `split_documents`.

    Example:
        >>> import satlens
        >>> model = satlens.wrap(satlens.load_model("tiny"))
        >>> batches = model.batches(["Lily ran.", "Tom sat.", "A dog.", "The sun."], 2)
        >>> [(first.n_documents, second.n_documents) for first, second in split_several(batches, 0.5, n=3)]
        [(2, 2), (2, 2), (2, 2)]
    """
    if n < 1 or seed < 0:
        raise InputError(
            f"Splits take n of at least 1 and a seed of at least 0; got {n} and {seed}."
        )
    more = np.random.SeedSequence(seed).generate_state(n - 1).tolist()
    return [split_documents(batches, share, one) for one in (seed, *more)]


def check_apart(training: Batches, held_out: Batches) -> None:
    """Refuse a document that something is fitted on and that is judged on too.

    Raises:
        InputError: documents of equal content on both sides.
    """
    fitted = set(_contents(training).values())
    both = [doc for doc, digest in _contents(held_out).items() if digest in fitted]
    if both:
        raise InputError(
            f"{len(both):,} of the {held_out.n_documents:,} held-out documents are among the training ones, "
            f"word for word (held-out document {both[0]} is the first). Give documents that are on one side "
            "only; satlens.lenses.split_documents deals them."
        )


def inputs_sha256(batches: Batches) -> str:
    """SHA-256 of the rows of some inputs, in the order given."""
    digest = hashlib.sha256(f"{len(batches.rows)} rows, {batches.batch_size} a batch".encode())
    for row in batches.rows:
        _feed(digest, row)
    return digest.hexdigest()


def _contents(batches: Batches, seed: int = DEFAULT_SEED) -> dict[int, bytes]:
    """A hash of what each document gives the model to read, by its number."""
    content: dict[int, Any] = {}
    for row in batches.rows:
        content.setdefault(row.doc, hashlib.sha256(f"{seed}\n".encode()))
        _feed(content[row.doc], row)
    return {doc: digest.digest() for doc, digest in content.items()}


def _part(batches: Batches, docs: Any) -> Batches:
    rows = tuple(row for row in batches.rows if row.doc in docs)
    return replace(batches, rows=rows, n_documents=len(docs), note=None)


def _feed(digest: Any, row: Any) -> None:
    """All that a row gives the model to read, and which of its positions count."""
    others = sorted(getattr(row, "__dict__", {}).keys() - set(CONTENT))
    for name in (*CONTENT, *others):
        values = getattr(row, name, None)
        if isinstance(values, Tensor):
            digest.update(f"{name} {tuple(values.shape)}\n".encode())
            digest.update(values.detach().cpu().contiguous().numpy().tobytes())
