"""A small random model with a real tokenizer, a small corpus, and surveys of it that can be killed."""

import os
import signal
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from satlens import survey
from satlens.survey.store import file_sha256
from tests.builders import random_hf

SETTINGS = {"k": 3, "null_tokens": 30, "null_draws": 2, "batch_size": 4}
NEEDS_PROC = "looks processes up in /proc: Linux only"


def save_model(path: Path, seed: int = 0) -> Path:
    """A Llama of 3 layers with a byte-pair tokenizer of 300 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(survey.read_corpus("bundled").documents, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>").save_pretrained(path)
    random_hf("llama", seed, vocab=300, layers=3, n_ctx=64).save_pretrained(path)
    return path


def texts(number: int, length: int = 160) -> list[str]:
    """Different short documents."""
    stories = survey.read_corpus("bundled").documents
    return [f"{i}: {stories[i % len(stories)][i : i + length].strip()}" for i in range(number)]


def save_corpus(path: Path, number: int, length: int = 160) -> Path:
    """A text file of so many documents."""
    path.write_text("\n<|endoftext|>\n".join(texts(number, length)), encoding="utf-8")
    return path


def digests(out: Path) -> dict[str, str]:
    """Every parquet file of a survey with the hash of its bytes."""
    return {
        str(path.relative_to(out)): file_sha256(path)
        for folder in ("shards", "nulls")
        for path in sorted((out / folder).glob("*.parquet"))
    }


def documents(out: Path) -> list[int]:
    """The number of every document in the records, as often as it is in one."""
    found = survey.open(out)
    return [record["first"] + i for record in found.records for i in range(record["documents"])]


def job(model: Path, corpus: Path, out: Path, kw: dict, environment: dict | None = None) -> None:
    """A survey in a process of its own, which the tests may kill."""
    os.environ.update(environment or {})
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    survey.run(model, corpus, out, resume=True, **kw)


def children(parent: int) -> list[int]:
    """Processes whose parent this is."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def descendants(parent: int) -> list[int]:
    """Its children, their children, and so on."""
    found = children(parent)
    return found + [pid for child in found for pid in descendants(child)]


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended and is not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(pid: int) -> None:
    """End it at once, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
