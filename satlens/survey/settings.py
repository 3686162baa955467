"""What decides the bytes of a survey: `SurveySettings`, kept in its manifest.

Which engine runs it, and on how many workers, is not among them: it changes nothing in the files.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError
from satlens.survey.corpus import BUNDLED, SEPARATOR
from satlens.survey.source import FIELD, SPLIT, Source, open_source

NULL_TOKENS, NULL_DRAWS = 500, 5
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class SurveySettings:
    """Every setting that the files of a survey depend on.

    Attributes:
        model, corpus: names or paths; a run that is resumed may find them at another place.
        k: ranks to follow.
        shards: how many; None: one for every half megabyte of text.
        batch_size: windows in one forward pass.
        separator, field, split: how the corpus is cut (see `satlens.survey.source.open_source`).
        null_tokens: tokens of each shard that the path nulls are drawn for; 0: none.
        null_draws: draws of each of the two path nulls.
        seed: of everything random.
        threads: threads of each worker. Sums are cut by it, so it is part of what makes the bytes.
        device: "cpu", "cuda", ...; dtype: "float32", "bfloat16" or "float16".
    """

    model: str
    corpus: str = BUNDLED
    k: int = DEFAULT_K
    shards: int | None = None
    batch_size: int = 8
    separator: str = SEPARATOR
    field: str = FIELD
    split: str = SPLIT
    null_tokens: int = NULL_TOKENS
    null_draws: int = NULL_DRAWS
    seed: int = DEFAULT_SEED
    threads: int = 1
    device: str = "cpu"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        least = {
            "k": 1,
            "batch_size": 1,
            "null_tokens": 0,
            "null_draws": 1,
            "seed": 0,
            "threads": 1,
        }
        least |= {"shards": 1} if self.shards is not None else {}
        for name, floor in least.items():
            if getattr(self, name) < floor:
                raise InputError(f"{name} must be at least {floor}, got {getattr(self, name)}.")
        if self.dtype not in DTYPES:
            raise InputError(f"dtype must be one of {', '.join(DTYPES)}; got {self.dtype!r}.")
        if self.null_tokens and self.k < 2:
            raise InputError(
                "The nulls are of the order of the ranks and need k of 2 or more; got k=1. Ask for "
                "more ranks, or for null_tokens=0."
            )

    def source(self) -> Source:
        """The corpus, opened."""
        return open_source(
            self.corpus, separator=self.separator, field=self.field, split=self.split
        )

    def to_dict(self) -> dict[str, Any]:
        """Every setting by name."""
        return dataclasses.asdict(self)
