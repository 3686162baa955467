"""The tasks that Token-Selective Attention was shown on, and models of the published shapes.

    copy        BOS x_1 .. x_n SEP x_1 .. x_n           scored: what comes after SEP
    sort        BOS x_1 .. x_n SEP sorted(x)            scored: what comes after SEP
    characters  a text, every next character scored

x_i uniform over the symbols, with repeats. The published figures come with the width and the number of blocks
of the copy and sort models (128, 6), not with the length of their sequences nor the number of symbols: those
here are ours. The text is a file that you give.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Int
from torch import Tensor

from satlens.errors import InputError
from satlens.models import wrap
from satlens.models.protocol import Host, ResidualModel
from satlens.models.untrained import seeded
from satlens.routing.examples import NOT_SCORED, Examples, Source, step_seed

BOS, SEP = 0, 1
FIRST = 2
"""The id of the first symbol of copy and sort."""
TOYS = ("copy", "sort")


def toy(
    kind: str, batch_size: int, *, length: int = 16, symbols: int = 30, seed: int = 0
) -> Source:
    """Sequences to copy or to sort, new ones in every step.

    Raises:
        InputError: another task, or sizes below 1.

    Example:
        >>> one = toy("sort", 1, length=3, symbols=5)(0)
        >>> one.ids.tolist(), one.target.tolist()
        ([[0, 6, 5, 4, 1, 4, 5]], [[-100, -100, -100, -100, 4, 5, 6]])
    """
    if kind not in TOYS:
        raise InputError(f"The toy tasks are {', '.join(TOYS)}; got {kind!r}.")
    if min(batch_size, length, symbols) < 1:
        raise InputError(
            f"batch_size, length and symbols are 1 or more; got {batch_size}, {length}, {symbols}."
        )

    def draw(step: int) -> Examples:
        drawn = step_seed(seed, step).integers(0, symbols, size=(batch_size, length))
        x = torch.from_numpy(drawn) + FIRST
        answer = x if kind == "copy" else x.sort(dim=1).values
        ends = torch.tensor([BOS, SEP]).expand(batch_size, 2)
        whole = torch.cat([ends[:, :1], x, ends[:, 1:], answer], 1)
        target = whole[:, 1:].clone()
        target[:, : length + 1] = NOT_SCORED
        return Examples(whole[:, :-1], target)

    return draw


def held_out(source: Source, batches: int, first: int = 10**9) -> list[Examples]:
    """Rows of steps that no training reaches."""
    return [source(first + i) for i in range(batches)]


@dataclass(frozen=True, eq=False)
class Characters:
    """A text by its characters.

    Attributes:
        vocabulary: the characters in order; the id of a character is its place.
        train, test: ids of the first 90 % and of the rest.
    """

    vocabulary: tuple[str, ...]
    train: Int[Tensor, " character"]
    test: Int[Tensor, " character"]

    @property
    def classes(self) -> Mapping[str, list[int]]:
        """Ids by kind of character, in words."""
        kinds: dict[str, list[int]] = {
            name: [] for name in ("vowel", "consonant", "digit", "space", "line end", "punctuation")
        }
        for index, one in enumerate(self.vocabulary):
            kinds[kind_of(one)].append(index)
        return {name: ids for name, ids in kinds.items() if ids}


def kind_of(one: str) -> str:
    r"""The kind of a character.

    >>> [kind_of(one) for one in "aTé7 \n;"]
    ['vowel', 'consonant', 'consonant', 'digit', 'space', 'line end', 'punctuation']
    """
    if one.lower() in "aeiou":
        return "vowel"
    if one == "\n":
        return "line end"
    if one.isspace():
        return "space"
    return "consonant" if one.isalpha() else "digit" if one.isdigit() else "punctuation"


def characters(path: str | Path, *, as_bytes: bool = False, share: float = 0.9) -> Characters:
    """A text file as ids of its characters.

    Args:
        as_bytes: a character is a byte (enwik8).
        share: of the text that is for training; it comes first.

    Raises:
        InputError: no such file, no UTF-8, or next to nothing in it.
    """
    file = Path(path)
    try:
        raw = file.read_bytes()
        text = raw.decode("latin-1" if as_bytes else "utf-8")
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} is no UTF-8 text ({error}). Read it with as_bytes=True."
        ) from error
    if not 0 < share < 1:
        raise InputError(f"share lies between 0 and 1, got {share}.")
    if len(text) < 20:
        raise InputError(f"{file} holds {len(text)} characters: too few to train on.")
    vocabulary = tuple(sorted(set(text)))
    number = {one: index for index, one in enumerate(vocabulary)}
    ids = torch.tensor([number[one] for one in text])
    cut = int(len(ids) * share)
    return Characters(vocabulary, ids[:cut], ids[cut:])


def fresh_model(
    vocabulary: int,
    *,
    width: int = 128,
    layers: int = 6,
    heads: int = 4,
    context: int = 64,
    dropout: float = 0.1,
    seed: int = 0,
) -> ResidualModel:
    """A GPT-2 of a shape, with weights from a seed: a Hugging Face module, the same on every TransformerLens.

    Example:
        >>> model = fresh_model(32, width=16, layers=2, heads=2, context=8)
        >>> model.n_layers, model.d_model, model.n_outputs
        (2, 16, 32)
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    if width % heads:
        raise InputError(f"A width of {width} cannot be shared by {heads} heads.")
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=context, n_embd=width, n_layer=layers, n_head=heads,
        resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
        bos_token_id=BOS, eos_token_id=BOS,
    )  # fmt: skip
    with seeded(seed):
        host = GPT2LMHeadModel(config)
    cast(Host, host.config)._name_or_path = f"gpt2 of {layers} x {width}"
    return wrap(host.eval())
