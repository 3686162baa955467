"""The documented record of one training run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from satlens.errors import InputError


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything the trained weights depend on, besides the data and the library versions.

    One step reads ``batch * context`` tokens, so a run reads
    ``steps * batch * context`` tokens of the training part.
    """

    # Data
    stories_file: str = "tinystories_2mb.txt"
    plays_file: str = "tinyshakespeare.txt"
    held_out: float = 0.05  # share of the stories, and of the end of the plays
    passage_chars: int = 1000  # the plays are cut into passages of at least this length
    stories_share: float = 0.75  # share of the rows of a batch that come from the stories
    boundary_share: float = 0.5  # share of the rows that begin at a document's <|endoftext|>
    vocab: int = 4096

    # Model
    architecture: str = "llama"  # or "lstm", which has neither heads nor intermediate
    layers: int = 16
    hidden: int = 128
    heads: int = 4
    intermediate: int = 344
    context: int = 256

    # Optimisation
    seed: int = 0
    steps: int = 1800
    batch: int = 8
    optimizer: str = "muon"  # "muon": block matrices by Muon, the rest by AdamW; or "adamw"
    lr: float = 3e-3
    warmup: int = 100
    decay: float = 0.3  # share of the steps, at the end, over which the rate falls
    final_lr: float = 0.05  # share of lr at which the rate ends
    weight_decay: float = 0.1
    clip: float = 1.0
    dropout: float = 0.1  # on what each attention and MLP (each LSTM) adds to the residual stream
    autocast: bool = True  # bfloat16 products, float32 weights and optimizer state
    threads: int = 2

    # Reporting
    eval_every: int = 250
    snapshots: int = 8  # weights kept at this many log-spaced steps

    def __post_init__(self) -> None:
        if self.architecture not in ("llama", "lstm"):
            raise InputError(
                f"architecture is {self.architecture!r}, which is not known; use 'llama' or 'lstm'."
            )
        if self.optimizer not in ("muon", "adamw"):
            raise InputError(
                f"optimizer is {self.optimizer!r}, which is not known; use 'muon' or 'adamw'."
            )
        for name in ("steps", "batch", "context", "layers", "eval_every", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("held_out", "stories_share", "boundary_share", "dropout", "decay", "final_lr"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"{name} is {getattr(self, name)}; it must lie in [0, 1].")

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return dataclasses.asdict(self)


def read_settings(path: Path) -> Settings:
    """The settings stored by a run in ``settings.json`` (its ``settings`` entry)."""
    if not path.is_file():
        raise InputError(f"No settings at {path}; give the output folder of a training run.")
    return Settings(**json.loads(path.read_text(encoding="utf-8"))["settings"])
