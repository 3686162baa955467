"""Split, tokenizer and token streams for the bundled model.

The training part and the held-out part share no document: the stories are split at random by
story, the plays are cut at one point near their end.  The tokenizer sees the training part only.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from satlens.errors import InputError
from satlens.zoo.settings import Settings

BOUNDARY = "<|endoftext|>"
BOUNDARY_ID = 0
SOURCES = ("stories", "plays")

# Typographic marks occur in few documents; as ASCII they share tokens with all the others.
_ASCII = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "…": "..."})


@dataclasses.dataclass(frozen=True)
class Split:
    """Documents of the training part and of the held-out part, by source."""

    train: dict[str, list[str]]
    held_out: dict[str, list[str]]


def data_folder(given: str | os.PathLike[str] | None, settings: Settings) -> Path:
    """The folder that holds both text files: ``given``, or one named by ``SATLENS_ASSETS``."""
    root = given or os.environ.get("SATLENS_ASSETS")
    if not root:
        raise InputError(
            "No data folder: pass --data DIR or set SATLENS_ASSETS to the folder that holds "
            f"{settings.stories_file} and {settings.plays_file}."
        )
    names = (settings.stories_file, settings.plays_file)
    for folder in (Path(root), Path(root) / "data"):
        if all((folder / name).is_file() for name in names):
            return folder
    raise InputError(
        f"Looked in {root} and {Path(root) / 'data'} for {names[0]} and {names[1]}; at least one "
        "is missing. Pass --data with the folder that holds both."
    )


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").translate(_ASCII)


def read_stories(path: Path) -> list[str]:
    """Distinct stories of a file that separates them by ``<|endoftext|>``, in file order."""
    pieces = (piece.strip() for piece in _read(path).split(BOUNDARY))
    return list(dict.fromkeys(piece for piece in pieces if piece))


def cut_passages(text: str, at_least: int) -> list[str]:
    """Cut at blank lines into passages of at least ``at_least`` characters each."""
    passages: list[str] = []
    current: list[str] = []
    for block in text.strip().split("\n\n"):
        current.append(block)
        if sum(len(part) + 2 for part in current) >= at_least:
            passages.append("\n\n".join(current))
            current = []
    if current:
        passages.append("\n\n".join(current))
    return passages


def make_split(folder: Path, settings: Settings) -> Split:
    """Hold out a random share of the stories and the last share of the plays."""
    stories = read_stories(folder / settings.stories_file)
    plays = _read(folder / settings.plays_file)
    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(len(stories), generator=generator).tolist()
    count = round(settings.held_out * len(stories))
    # The cut falls on a blank line, so that no speech lies on both sides.
    cut = plays.rfind("\n\n", 0, round(len(plays) * (1 - settings.held_out)))
    if count == 0 or count == len(stories) or cut <= 0:
        raise InputError(
            f"Cannot hold out {settings.held_out:.0%} of {len(stories)} stories and "
            f"{len(plays)} characters of plays; give more text or another share."
        )
    size = settings.passage_chars
    train_plays = cut_passages(plays[:cut], size)
    # Passages in seeded order, so that a crop of the stream is not always followed by the same.
    shuffle = torch.randperm(len(train_plays), generator=generator).tolist()
    return Split(
        train={
            "stories": [stories[i] for i in order[count:]],
            "plays": [train_plays[i] for i in shuffle],
        },
        held_out={
            "stories": [stories[i] for i in sorted(order[:count])],
            "plays": cut_passages(plays[cut:], size),
        },
    )


def train_tokenizer(split: Split, vocab: int) -> Tokenizer:
    """Byte-level BPE on the training part; ``<|endoftext|>`` is token 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[BOUNDARY],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    documents = [text for source in SOURCES for text in split.train[source]]
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """Write the two files that ``AutoTokenizer.from_pretrained(folder)`` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOUNDARY,
        "eos_token": BOUNDARY,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    text = json.dumps(config, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def encode_documents(tokenizer: Tokenizer, documents: list[str]) -> list[list[int]]:
    """Token ids of each document between two ``<|endoftext|>``: [0, w_1, ..., w_n, 0]."""
    return [
        [BOUNDARY_ID, *encoding.ids, BOUNDARY_ID]
        for encoding in tokenizer.encode_batch(documents, add_special_tokens=False)
    ]


class Stream:
    """Random crops of the training documents of each source, joined by ``<|endoftext|>``.

    ``batch(step)`` depends on the seed and the step alone, so a run that stops and goes on reads
    the same tokens as one that does not stop.
    """

    def __init__(self, documents: dict[str, list[list[int]]], settings: Settings) -> None:
        self.settings = settings
        self.tokens: list[torch.Tensor] = []
        self.starts: list[torch.Tensor] = []
        for source in SOURCES:
            # Each document's closing boundary is the next one's opening boundary.
            flat = [token for ids in documents[source] for token in ids[:-1]] + [BOUNDARY_ID]
            stream = torch.tensor(flat, dtype=torch.long)
            if len(stream) <= settings.context + 1:
                raise InputError(
                    f"The {source} give {len(stream)} training tokens; a crop needs "
                    f"{settings.context + 1}. Give more text or a shorter context."
                )
            starts = (stream == BOUNDARY_ID).nonzero().flatten()
            self.tokens.append(stream)
            self.starts.append(starts[starts < len(stream) - settings.context])

    def batch(self, step: int) -> torch.Tensor:
        """Tokens ``[batch, context + 1]`` for the (0-based) step."""
        settings = self.settings
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        rows = []
        for _ in range(settings.batch):
            story, boundary, where = torch.rand(3, generator=generator, dtype=torch.double).tolist()
            source = 0 if story < settings.stories_share else 1
            tokens, starts = self.tokens[source], self.starts[source]
            if boundary < settings.boundary_share and len(starts):
                start = int(starts[int(where * len(starts))])
            else:
                start = int(where * (len(tokens) - settings.context))
            rows.append(tokens[start : start + settings.context + 1])
        return torch.stack(rows)
