"""What users pass -> documents of token ids -> `Batches`, for models that read tokens.

Accepted: a string, a list of strings, a list of 1-D id lists, arrays or tensors of any lengths, a 2-D
id tensor (no padding), one flat list of ids, or a mapping such as a tokenizer returns
(``input_ids`` with ``attention_mask``, padded on either side). Padding is stripped by the mask first,
so left padding, right padding and none give the same rows.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from satlens.errors import InputError
from satlens.models.inputs.batches import Batches, collate_tokens, windows
from satlens.models.inputs.masks import Masks, mask_note

ACCEPTED = (
    "a string, a list of strings, a list of 1-D id lists or tensors, a 2-D id tensor without padding, "
    "or a mapping with input_ids and attention_mask"
)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def token_batches(
    inputs: Any,
    batch_size: int,
    include_bos: bool = False,
    *,
    tokenizer: Any = None,
    context: int | None = None,
    vocabulary: int | None = None,
    prepend_bos: bool = True,
    bidirectional: bool = False,
    masks: Masks | None = None,
    device: torch.device | str = "cpu",
) -> Batches:
    """Documents in padded batches; every position of every document once.

    Text is tokenised without special tokens; the tokenizer's BOS, if it has one, is put in front as
    position 0 (``prepend_bos=False`` for models trained without). A bidirectional model gets its
    ``[CLS]`` and ``[SEP]`` around the text instead. Ids are taken as they are; a leading BOS among
    them is recognised. Neither counts unless ``include_bos``. Where a bidirectional model's document
    holds ``[MASK]``, only those positions count (`satlens.models.inputs.masks`).

    Raises:
        InputError: nothing to read, ids that are no whole numbers or outside the vocabulary, text
            without a tokenizer, or anything but the accepted types.
    """
    bos, eos = special_ids(tokenizer, bidirectional)
    masks = Masks.of(tokenizer, bidirectional) if masks is None else masks
    documents = read_documents(
        inputs,
        tokenizer=tokenizer,
        vocabulary=vocabulary,
        prepend_bos=prepend_bos,
        bidirectional=bidirectional,
    )
    rows, split, n_windows, n_masked = [], 0, 0, 0
    for index, ids in enumerate(documents):
        counts = masks.counted(ids, index)
        pieces = windows(
            index, ids, context=context, bos=bos, eos=eos, include_bos=include_bos, counts=counts
        )
        if not any(bool(piece.real.any()) for piece in pieces):
            raise InputError(
                f"Document {index} has no token besides special ones ({ids.tolist()}); pass "
                "include_bos=True to count them, or leave the document out."
            )
        n_masked += counts is not None
        # A window of a masked document may hold no mask: nothing of it is asked.
        rows += [piece for piece in pieces if counts is None or bool(piece.real.any())]
        if len(pieces) > 1:
            split, n_windows = split + 1, n_windows + len(pieces)
    notes = [mask_note(n_masked, len(documents))] if 0 < n_masked < len(documents) else []
    if split:
        notes.append(
            f"{split} of {len(documents)} documents are longer than the model's context of {context} "
            f"tokens; they were split into {n_windows} windows. Nothing is lost, but a window does "
            "not see the one before."
        )
    collate = partial(collate_tokens, device=device)
    return Batches(tuple(rows), batch_size, collate, len(documents), " ".join(notes) or None)


def read_documents(
    inputs: Any,
    *,
    tokenizer: Any = None,
    vocabulary: int | None = None,
    prepend_bos: bool = True,
    bidirectional: bool = False,
) -> list[Int[Tensor, " _pos"]]:
    """The ids of every document, text framed as the model reads it; errors as in `token_batches`."""
    bos, eos = special_ids(tokenizer, bidirectional)
    documents = []
    for index, document in enumerate(split_documents(inputs)):
        if isinstance(document, str):
            ids = encode(document, index, tokenizer)
            if bos is not None and prepend_bos:
                ids = [bos, *ids] + ([] if eos is None else [eos])
            documents.append(torch.tensor(ids))
        else:
            documents.append(check_ids(document, index, vocabulary))
    return documents


def example_ids(vocabulary: int, context: int | None = None) -> list[int]:
    """A few ids spread over the vocabulary, to run a model once on."""
    return [(37 * i + 3) % vocabulary for i in range(min(8, context or 8))]


def special_ids(tokenizer: Any, bidirectional: bool) -> tuple[int | None, int | None]:
    """The ids that frame a text: (BOS, None), or ([CLS], [SEP]) for a bidirectional model."""
    if tokenizer is None:
        return None, None
    if bidirectional and tokenizer.cls_token_id is not None:
        return tokenizer.cls_token_id, tokenizer.sep_token_id
    return tokenizer.bos_token_id, None


def encode(text: str, index: int, tokenizer: Any) -> list[int]:
    """Token ids of a text, without special tokens."""
    if tokenizer is None:
        raise InputError(
            f"Document {index} is text, but the model has no tokenizer. Pass token ids, or give the "
            "model a tokenizer (model.set_tokenizer(...) or load it with load_model)."
        )
    # verbose=False: the tokenizer's own "longer than the maximum" warning is answered by windows.
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if not ids:
        raise InputError(f"Document {index} has no tokens: the text is {text[:40]!r}.")
    return list(ids)


def split_documents(inputs: Any) -> list[Any]:
    """The documents of any accepted input: strings, or whatever holds the ids of one document."""
    if isinstance(inputs, str):
        return [inputs]
    if isinstance(inputs, Mapping):
        return strip_padding(inputs)
    if isinstance(inputs, Tensor | np.ndarray):
        if inputs.ndim == 1:
            return [inputs]
        if inputs.ndim == 2:
            return nonempty(list(inputs))
        raise InputError(
            f"Got an array of shape {tuple(inputs.shape)}; token ids have one document (1-D) or one "
            "document a row (2-D)."
        )
    if isinstance(inputs, Sequence) and not isinstance(inputs, bytes):
        if inputs and all(isinstance(item, int | np.integer) for item in inputs):
            return [inputs]
        return nonempty(list(inputs))
    raise InputError(f"Cannot read {type(inputs).__name__}; pass {ACCEPTED}.")


def nonempty(documents: list[Any]) -> list[Any]:
    """The documents, of which there must be one."""
    if not documents:
        raise InputError(f"Got no documents (an empty list); pass {ACCEPTED}.")
    return documents


def check_ids(document: Any, index: int, vocabulary: int | None) -> Int[Tensor, " pos"]:
    """The ids of one document as a tensor of their own, on the CPU."""
    if not isinstance(document, Tensor | np.ndarray | Sequence) or isinstance(document, bytes):
        raise InputError(f"Document {index} is {type(document).__name__}; pass {ACCEPTED}.")
    try:
        ids = torch.as_tensor(np.array(document) if isinstance(document, np.ndarray) else document)
    except (TypeError, ValueError, RuntimeError) as cause:
        raise InputError(f"Document {index} holds no flat list of token ids: {cause}") from cause
    if ids.ndim != 1:
        raise InputError(
            f"Document {index} has shape {tuple(ids.shape)}; ids of one document are 1-D."
        )
    if not len(ids):
        raise InputError(f"Document {index} is empty.")
    if ids.dtype not in INTEGERS:
        raise InputError(f"Document {index} holds {ids.dtype}; token ids are whole numbers.")
    ids = ids.detach().to("cpu", torch.int64, copy=True)
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or (vocabulary is not None and high >= vocabulary):
        allowed = "0 or more" if vocabulary is None else f"0 .. {vocabulary - 1}"
        raise InputError(
            f"Document {index} has ids from {low} to {high}; the model reads {allowed}."
        )
    return ids


def strip_padding(fields: Mapping[str, Any], prefix: str = "") -> list[Any]:
    """The rows of a tokenizer's output, without the positions its attention mask leaves out."""
    if f"{prefix}input_ids" not in fields:
        raise InputError(
            f"The mapping has the keys {sorted(map(str, fields))}; {prefix}input_ids is missing."
        )
    rows = split_documents(fields[f"{prefix}input_ids"])
    mask = fields.get(f"{prefix}attention_mask")
    if mask is None:
        return rows
    masks = split_documents(mask)
    if len(masks) != len(rows):
        raise InputError(f"input_ids has {len(rows)} rows, attention_mask {len(masks)}.")
    return [
        strip_row(row, mask, index)
        for index, (row, mask) in enumerate(zip(rows, masks, strict=True))
    ]


def strip_row(row: Any, mask: Any, index: int) -> Tensor:
    """The ids of one row that its mask keeps; the kept ones must be one stretch."""
    ids, keep = torch.as_tensor(row), torch.as_tensor(mask).bool()
    if ids.shape != keep.shape:
        raise InputError(
            f"Row {index}: input_ids has shape {tuple(ids.shape)}, attention_mask {tuple(keep.shape)}."
        )
    kept = keep.nonzero().flatten()
    if not len(kept):
        raise InputError(f"Row {index}: the attention mask leaves out every position.")
    if int(kept[-1] - kept[0]) + 1 != len(kept):
        raise InputError(
            f"Row {index}: the attention mask has holes; padding stands before or after the text."
        )
    return ids[keep]
