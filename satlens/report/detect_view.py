"""One text in the terminal: its tokens, and the layer from which each rank of the answer is fixed."""

import functools
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Any

from satlens.errors import InputError
from satlens.report.words import count, visible
from satlens.saturation.events import SaturationEvents

CENSORED = "*"


def detect_text(
    events: SaturationEvents,
    read: Sequence[str],
    answer: Sequence[str] | None = None,
    *,
    width: int = 100,
    rows: int | None = None,
) -> str:
    r"""A line for every token: position, saturation layer per rank, the token read, the answer given.

    Args:
        events: the events of one text or of a few; a new document starts a new block.
        read: the text of the token at each row of ``events``.
        answer: the text of the model's own top-1 at each row.
        width: columns of the terminal; ranks that find no room are counted in the legend.
        rows: show at most this many tokens.

    Raises:
        InputError: the texts do not match the events in number.

    Example:
        >>> events = SaturationEvents([[0, 3], [2, 2]], [[7, 5], [1, 2]], [0, 0], [0, 1], n_layers=4)
        >>> print(detect_text(events, [" the", "\n"], [" cat", "."]))
        pos  rank 1  rank 2   read -> answer
          0       0       3*  ·the -> ·cat
          1       2       2   ⏎    -> .
        Layers 0 .. 3, the state after block l. * seen fixed only at the output (censored).
    """
    for name, texts in (("read", read), ("answer", answer)):
        if texts is not None and len(texts) != len(events):
            raise InputError(f"{name} has {len(texts)} texts for events of {len(events)} tokens.")
    shown = len(events) if rows is None else min(rows, len(events))
    ranks = max(1, min(events.k, (width - 40) // 8))
    texts = [_cell(visible(text)) for text in read[:shown]]
    column = max([_columns(text) for text in texts] + [len("read") if answer is None else 4])
    head = "pos" + "".join(f"{f'rank {i + 1}':>8}" for i in range(ranks)) + "   read"
    if answer is not None:
        head += " " * (column - 4) + " -> answer"
    lines = [head]
    for i in range(shown):
        if i and events.doc[i] != events.doc[i - 1]:
            lines.append("")
        marks = (CENSORED if mark else " " for mark in events.censored[i, :ranks])
        cells = (f"{s:>7}{mark}" for s, mark in zip(events.layer[i, :ranks], marks, strict=True))
        line = f"{events.pos[i]:>3} " + "".join(cells) + "  " + texts[i]
        if answer is not None:
            line += " " * (column - _columns(texts[i])) + " -> " + _cell(visible(answer[i]))
        lines.append(line.rstrip())
    return "\n".join(lines + _legend(events, shown, ranks, width))


def detect_table(events: SaturationEvents, tokenizer: Any = None) -> str:
    """`detect_text` with the texts looked up in a tokenizer; ids stand in where there is none."""
    read = token_texts(tokenizer, events.input.tolist())
    return detect_text(events, read, token_texts(tokenizer, events.token[:, 0].tolist()))


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text of each token by itself, the space in front of a word kept.

    Args:
        tokenizer: a Hugging Face tokenizer, or None: then a token is shown as ``#id``.
        ids: token ids; -1 (not known) is an empty text.
    """
    return [_text(tokenizer, int(token)) for token in ids]


@functools.lru_cache(maxsize=100_000)
def _text(tokenizer: Any, token: int) -> str:
    if token < 0:
        return ""
    if tokenizer is None:
        return f"#{token}"
    # Decoding one SentencePiece token drops the space it begins with; its piece still shows it.
    piece = tokenizer.convert_ids_to_tokens(token)
    begins = isinstance(piece, str) and piece.startswith("▁")
    text = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    return " " + text.removeprefix(" ") if begins else text


def _legend(events: SaturationEvents, shown: int, ranks: int, width: int) -> list[str]:
    last = events.n_layers - 1
    meaning = f"{CENSORED} seen fixed only at the output (censored)."
    lines = textwrap.wrap(f"Layers 0 .. {last}, the state after block l. {meaning}", width)
    if shown < len(events):
        lines.append(f"{count(len(events) - shown, 'more token')} not shown.")
    if ranks < events.k:
        lines.append(f"{count(events.k - ranks, 'more rank')} found no room.")
    return lines


def _cell(text: str, longest: int = 20) -> str:
    return text if _columns(text) <= longest else text[: longest // 2] + "…"


def _columns(text: str) -> int:
    """Columns of a terminal that this text takes: wide characters two, combining ones none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
