"""Sources and targets -> `Batches`, for encoder-decoder models.

The states that satlens follows are the decoder's, so a document is a target; the source is only
read. Accepted: a list of ``(source, target)`` pairs, each text or ids, or a mapping with ``input_ids``,
``attention_mask``, ``decoder_input_ids`` and optionally ``decoder_attention_mask``.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from satlens.errors import InputError
from satlens.models.inputs.batches import Batches, Row, pad_rows
from satlens.models.inputs.text import check_ids, encode, split_documents, strip_padding
from satlens.models.protocol import Batch

ACCEPTED_PAIRS = (
    "a list of (source, target) pairs, or a mapping with input_ids, attention_mask and "
    "decoder_input_ids"
)


def pair_batches(
    inputs: Any,
    batch_size: int,
    include_bos: bool = False,
    *,
    tokenizer: Any = None,
    context: int | None = None,
    vocabulary: int | None = None,
    decoder_start: int | None = None,
    device: torch.device | str = "cpu",
) -> Batches:
    """One row a pair. Text sources get the tokenizer's special tokens, text targets the decoder's
    start token in front; it plays the part of a BOS and does not count unless ``include_bos``.

    Raises:
        InputError: as `satlens.models.inputs.text.token_batches`; also a source or target longer than the
            context, since a target cannot be split without losing what it was decoded from.
    """
    rows: list[Row] = []
    for index, (source, target) in enumerate(split_pairs(inputs)):
        row = make_row(index, source, target, tokenizer, vocabulary, decoder_start, include_bos)
        for name, ids in (("source", source_of(row)), ("target", row.ids)):
            if context is not None and len(ids) > context:
                raise InputError(
                    f"The {name} of pair {index} has {len(ids)} tokens; the model reads {context}. "
                    "Pairs are not split into windows: shorten it."
                )
        if not bool(row.real.any()):
            raise InputError(
                f"The target of pair {index} has no token besides the start token; pass "
                "include_bos=True to count it, or leave the pair out."
            )
        rows.append(row)
    return Batches(tuple(rows), batch_size, partial(collate_pairs, device=device), len(rows))


def make_row(
    index: int,
    source: Any,
    target: Any,
    tokenizer: Any,
    vocabulary: int | None,
    start: int | None,
    include_bos: bool,
) -> Row:
    """One pair as the encoder and the decoder read it."""
    if isinstance(source, str):
        encode(source, index, tokenizer)  # the errors of an empty text, or of no tokenizer
        source = list(tokenizer(source, verbose=False)["input_ids"])
    if isinstance(target, str):
        target = encode(target, index, tokenizer)
        target = target if start is None else [start, *target]
    ids = check_ids(target, index, vocabulary)
    real = torch.ones(len(ids), dtype=torch.bool)
    real[0] = include_bos or int(ids[0]) != start
    return Row(index, 0, ids, real, source=check_ids(source, index, vocabulary))


def split_pairs(inputs: Any) -> Sequence[tuple[Any, Any]]:
    """The (source, target) pairs of any accepted input."""
    if isinstance(inputs, Mapping):
        sources = strip_padding(inputs)
        targets = strip_padding(inputs, prefix="decoder_")
        if len(sources) != len(targets):
            raise InputError(
                f"input_ids has {len(sources)} rows, decoder_input_ids {len(targets)}."
            )
        return list(zip(sources, targets, strict=True))
    if not isinstance(inputs, Sequence) or isinstance(inputs, str | bytes):
        raise InputError(
            f"An encoder-decoder model cannot read {type(inputs).__name__}; pass {ACCEPTED_PAIRS}."
        )
    if not inputs:
        raise InputError(f"Got no pairs (an empty list); pass {ACCEPTED_PAIRS}.")
    for index, pair in enumerate(inputs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(f"Item {index} is no (source, target) pair; pass {ACCEPTED_PAIRS}.")
    return [(one_document(source), one_document(target)) for source, target in inputs]


def one_document(side: Any) -> Any:
    """One side of a pair: a text, or ids with or without a leading batch axis of one."""
    documents = split_documents(side)
    if len(documents) != 1:
        raise InputError(f"One side of a pair holds {len(documents)} documents; it must be one.")
    return documents[0]


def source_of(row: Row) -> Int[Tensor, " source"]:
    """What the encoder reads; every row of a pair has it."""
    return cast(Tensor, row.source)


def collate_pairs(rows: Sequence[Row], device: torch.device | str) -> Batch:
    """One batch for an encoder-decoder model; positions are the decoder's."""
    source, mask = pad_rows([source_of(row) for row in rows], device)
    ids, decoder_mask = pad_rows([row.ids for row in rows], device)
    real: Int[Tensor, "batch pos"] = pad_sequence([row.real for row in rows], batch_first=True)
    return Batch(
        args={
            "input_ids": source,
            "attention_mask": mask,
            "decoder_input_ids": ids,
            "decoder_attention_mask": decoder_mask,
        },
        real=real.to(device),
        doc=torch.tensor([row.doc for row in rows], device=device),
        start=torch.tensor([row.start for row in rows], device=device),
        tokens=ids,
    )
