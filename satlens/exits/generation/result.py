"""What generation gives: tokens, the layer that each left after, and what was computed for them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Generation:
    """Generated tokens, prompt by prompt, in the order of the prompts.

    Attributes:
        tokens: the new ids of each prompt, its stop token included.
        exit_layer: the layer each token left after; ``n_layers - 1`` where the whole model answered, as it
            does for the first token behind a prompt.
        drafted: whether it was drafted by an exit and accepted (``verify``).
        prompts: the ids that were read, a BOS in front of text included.
        text: the new text of each prompt, without special tokens; None without a tokenizer.
        blocks: blocks computed for tokens behind the first one of each prompt, one row counting one;
            rejected drafts and their verification are in it.
        seconds_prompt, seconds_new: wall time of the prompts with the first token of each, and of the others.
        proposed, accepted: drafts, and how many of them the full model accepted.
        settings: what repeats the call.
    """

    tokens: tuple[Tensor, ...]
    exit_layer: tuple[Tensor, ...]
    drafted: tuple[Tensor, ...]
    prompts: tuple[Tensor, ...]
    text: tuple[str, ...] | None
    n_layers: int
    blocks: int
    seconds_prompt: float
    seconds_new: float
    proposed: int = 0
    accepted: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    pieces: tuple[tuple[str, ...], ...] | None = field(default=None, repr=False)
    """The text of each token alone."""

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[Tensor]:
        """The new ids, prompt by prompt."""
        return iter(self.tokens)

    @property
    def sequences(self) -> tuple[Tensor, ...]:
        """Prompt and new ids."""
        pairs = zip(self.prompts, self.tokens, strict=True)
        return tuple(torch.cat([prompt, new]) for prompt, new in pairs)

    @property
    def later(self) -> int:
        """Tokens behind the first one of each prompt: those that could leave early."""
        return sum(len(new) for new in self.tokens) - len(self.tokens)

    @property
    def tokens_per_second(self) -> float:
        """Of the tokens behind the first one of each prompt; NaN if there are none."""
        return self.later / self.seconds_new if self.later else math.nan

    @property
    def mean_blocks(self) -> float:
        """Blocks computed for one of these tokens, ``n_layers`` without exits; NaN if there are none."""
        return self.blocks / self.later if self.later else math.nan

    @property
    def acceptance_rate(self) -> float | None:
        """Share of the drafts that the full model accepted; None without ``verify``."""
        return self.accepted / self.proposed if self.proposed else None

    def to_frame(self) -> pd.DataFrame:
        """One row a new token: prompt, step, pos, token, exit_layer, drafted, and its text."""
        rows = []
        for index, (prompt, new) in enumerate(zip(self.prompts, self.tokens, strict=True)):
            for step, token in enumerate(new.tolist()):
                row = {
                    "prompt": index,
                    "step": step,
                    "pos": len(prompt) + step,
                    "token": token,
                    "exit_layer": int(self.exit_layer[index][step]),
                    "drafted": bool(self.drafted[index][step]),
                }
                rows.append(
                    row if self.pieces is None else row | {"text": self.pieces[index][step]}
                )
        return pd.DataFrame(rows)
