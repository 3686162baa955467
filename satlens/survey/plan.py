"""Which documents are in which shard, found in one pass over the corpus that keeps none of them.

    identity      SHA-256 of the documents in order, joined by NUL (the hash of `satlens.survey.read_corpus`)
    fingerprint   of a shard: sum over its documents of BLAKE2b(number, document) mod 2^128

Shards are runs of neighbouring documents. A fingerprint is a sum, so that shards can be joined from smaller
runs: with the number of shards given, runs are kept and joined two by two as the corpus goes on, some
`RUNS` of them, and cut into shards of about equal bytes at the end.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from satlens.errors import InputError
from satlens.survey.slots import Slot
from satlens.survey.source import Source

SHARD_BYTES = 2**19
"""A shard ends with the document that reaches this size, where the number of shards is not given."""
RUNS = 64
"""Runs kept for each shard asked for (4,096 at least): a shard is even to about 1 / RUNS."""
_MODULUS = 2**128


@dataclass
class Shard:
    """A run of neighbouring documents.

    Attributes:
        first: number of its first document.
        documents: how many there are, unreadable ones among them.
        size: bytes.
        at: where a reader begins.
        fingerprint: of the documents, with their numbers.
    """

    index: int
    first: int
    documents: int
    size: int
    at: tuple[Any, ...]
    fingerprint: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest and for workers."""
        return {**asdict(self), "at": list(self.at), "fingerprint": f"{self.fingerprint:032x}"}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Shard":
        """What `to_dict` gave."""
        at, fingerprint = tuple(values["at"]), int(values["fingerprint"], 16)
        named: dict[str, Any] = {**values, "at": at, "fingerprint": fingerprint}
        return Shard(**named)


@dataclass(frozen=True)
class Plan:
    """The shards of a corpus, and which corpus it is."""

    sha256: str
    documents: int
    unreadable: int
    size: int
    shards: tuple[Shard, ...]


def make_plan(source: Source, shards: int | None = None) -> Plan:
    """The plan of a corpus; the same corpus and number always give the same one.

    Args:
        shards: how many; fewer where there are fewer documents. None: as many as `SHARD_BYTES` gives.

    Raises:
        InputError: no document that can be read, a file that cannot, or shards below 1.

    Example:
        >>> from satlens.survey.source import open_source
        >>> plan = make_plan(open_source("bundled"), shards=4)
        >>> [shard.first for shard in plan.shards], plan.documents
        ([0, 17, 33, 49], 64)
    """
    if shards is not None and shards < 1:
        raise InputError(f"shards must be at least 1, got {shards}.")
    digest, unreadable, why, documents = hashlib.sha256(), 0, "", 0

    def watched() -> Iterator[Slot]:
        nonlocal unreadable, why, documents
        for slot in source.slots():
            digest.update(b"\0" * bool(documents) + identity(slot))
            documents += 1
            if slot.text is None:
                unreadable += 1
                why = why or f" The first: {slot.place}: {slot.reason}."
            yield slot

    runs = _by_size(watched()) if shards is None else _joined(watched(), shards)
    if documents == unreadable:
        raise InputError(
            f"The corpus {source.name} has no document that can be read, of {documents}.{why}"
        )
    found = runs if shards is None else _cut(runs, shards)
    for index, shard in enumerate(found):
        shard.index = index
    size = sum(shard.size for shard in found)
    return Plan(digest.hexdigest(), documents, unreadable, size, tuple(found))


def shard_slots(source: Source, shard: Shard) -> Iterator[tuple[int, Slot]]:
    """The documents of a shard with their numbers.

    Raises:
        InputError: they are not those that were planned: the corpus was changed meanwhile.
    """
    total, number = 0, shard.first - 1
    for number, slot in enumerate(islice(source.slots(shard.at), shard.documents), shard.first):
        total += fingerprint(number, slot)
        yield number, slot
    if total % _MODULUS != shard.fingerprint or number != shard.first + shard.documents - 1:
        raise InputError(
            f"The documents {shard.first} to {shard.first + shard.documents - 1} of {source.name} are not "
            "those that the survey was planned with: the corpus was changed. Put it back, or give another "
            "folder for a survey of the new one."
        )


def identity(slot: Slot) -> bytes:
    """What a document adds to the hash of the corpus; 0xff cannot occur in one that can be read."""
    return b"\xff" + slot.reason.encode() if slot.text is None else slot.text.encode()


def fingerprint(number: int, slot: Slot) -> int:
    """What a document adds to the fingerprint of its shard."""
    data = number.to_bytes(8, "big") + identity(slot)
    return int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "big")


def _runs(slots: Iterable[Slot]) -> Iterator[Shard]:
    for number, slot in enumerate(slots):
        yield Shard(0, number, 1, slot.size, slot.at, fingerprint(number, slot))


def _join(run: Shard, more: Shard) -> None:
    run.documents += more.documents
    run.size += more.size
    run.fingerprint = (run.fingerprint + more.fingerprint) % _MODULUS


def _by_size(slots: Iterable[Slot]) -> list[Shard]:
    found: list[Shard] = []
    for run in _runs(slots):
        if found and found[-1].size < SHARD_BYTES:
            _join(found[-1], run)
        else:
            found.append(run)
    return found


def _joined(slots: Iterable[Slot], shards: int) -> list[Shard]:
    """Runs of 2^j documents each, j such that not many more than `RUNS` a shard are left."""
    most, every = max(4096, RUNS * shards), 1
    found: list[Shard] = []
    for run in _runs(slots):
        if found and found[-1].documents < every:
            _join(found[-1], run)
            continue
        if len(found) == 2 * most:
            for first, second in zip(found[::2], found[1::2], strict=True):
                _join(first, second)
            found, every = found[::2], 2 * every
        found.append(run)
    return found


def _cut(runs: list[Shard], shards: int) -> list[Shard]:
    """Runs joined into shards of about equal bytes, one run in each at least."""
    shards = min(shards, len(runs))
    total, passed = sum(run.size for run in runs), 0
    found: list[Shard] = []
    for index, run in enumerate(runs):
        full = passed * shards >= total * len(found) and len(found) < shards
        needed = len(runs) - index == shards - len(found)
        passed += run.size
        if not found or full or needed:
            found.append(run)
        else:
            _join(found[-1], run)
    return found
