"""Plain text -> documents with masks, for masked language models.

    m = max(1, round(share * n)) of the n tokens of each document become [MASK], drawn without replacement.

The share is 15 % by default (Devlin et al. 2019, section 3.1). There, in training, 10 % of the chosen
tokens were kept and 10 % made random, so that the model cannot rely on seeing its mask; here every one is
masked, because what is asked is the answer at a mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError, ModelError
from satlens.models.inputs.masks import Masks
from satlens.models.inputs.text import read_documents, token_batches
from satlens.models.protocol import ResidualModel
from satlens.models.wrap import wrap


@dataclass(frozen=True)
class MaskedDocuments:
    """Documents with masks, and what stood there.

    Attributes:
        ids: token ids of each document with its masks: pass them to `satlens.detect` and the rest.
        original: the same before masking.
    """

    ids: list[list[int]]
    original: list[list[int]]

    def answers(
        self,
        doc: Int[np.ndarray, " token"] | Sequence[int],
        pos: Int[np.ndarray, " token"] | Sequence[int],
    ) -> Int[np.ndarray, " token"]:
        """The token that stood at each (document, position), for ``events.doc`` and ``events.pos``."""
        return np.array([self.original[d][p] for d, p in zip(doc, pos, strict=True)], dtype=int)


def mask_documents(
    model: Any,
    inputs: Any,
    *,
    share: float = 0.15,
    seed: int = DEFAULT_SEED,
) -> MaskedDocuments:
    """A seeded share of every document's tokens replaced by the model's mask token.

    Args:
        model: a masked language model (or its `ResidualModel`) with a tokenizer, or with a mask set by
            `with_masks`.
        inputs: text or ids, as `satlens.detect` reads them.
        share: of the tokens of a document, in (0, 1]; at least one is masked. Special tokens never are.
        seed: of the draw; the positions of a document depend on the seed and its place alone.

    Raises:
        ModelError: a model that fills in no masks. InputError: a share out of range, a document that
            holds masks already, or none but special tokens.

    Source: Devlin et al. 2019, section 3.1.

    Example:
        >>> from transformers import BertConfig, BertForMaskedLM
        >>> shape = dict(hidden_size=16, num_attention_heads=2, intermediate_size=32)
        >>> bert = BertForMaskedLM(BertConfig(vocab_size=50, num_hidden_layers=2, **shape)).eval()
        >>> model = with_masks(bert, mask=4)
        >>> documents = mask_documents(model, [[7, 8, 9, 10, 11, 12]], share=0.5)
        >>> documents.ids[0].count(4), documents.original
        (3, [[7, 8, 9, 10, 11, 12]])
    """
    wrapped = wrap(model)
    settings = reading(wrapped)
    masks = settings["masks"]
    if not 0 < share <= 1:
        raise InputError(f"share is {share}; it must be above 0 and at most 1.")
    if masks.id is None:
        raise ModelError(
            f"No mask token is known of {wrapped.name}: it has no tokenizer, or one without. Name its id "
            "with satlens.models.with_masks(model, mask=...)."
        )
    tokenizer = settings.get("tokenizer")
    special = set(getattr(tokenizer, "all_special_ids", None) or ()) | {masks.id}
    documents = read_documents(
        inputs, tokenizer=tokenizer, vocabulary=settings.get("vocabulary"), bidirectional=True
    )
    ids = [masked(one, index, special, masks, share, seed) for index, one in enumerate(documents)]
    return MaskedDocuments(ids, [one.tolist() for one in documents])


def masked(
    ids: Int[Tensor, " pos"], index: int, special: set[int], masks: Masks, share: float, seed: int
) -> list[int]:
    """One document with its masks."""
    values = ids.tolist()
    if masks.id in values:
        raise InputError(
            f"Document {index} holds {masks.name} already: what stood there is not known. Pass it to "
            "satlens.detect as it is, or leave it out."
        )
    free = [place for place, token in enumerate(values) if token not in special]
    if not free:
        raise InputError(f"Document {index} has no token besides special ones ({values}).")
    count = max(1, round(share * len(free)))
    chosen = np.random.default_rng((seed, index)).choice(len(free), count, replace=False)
    for place in chosen:
        values[free[place]] = masks.id
    return values


def with_masks(model: Any, *, mask: int | None = None, rule: str = "masked") -> ResidualModel:
    """The same model, told what its mask token is and which positions count.

    Args:
        model: a masked language model, or its `ResidualModel`.
        mask: the id of its mask token; the tokenizer's if not given.
        rule: "masked" (documents without a mask are refused), "auto" (they count whole) or "all" (every
            position counts, masked or not).

    Raises:
        ModelError: a model that fills in no masks. InputError: an id or a rule that is none.
    """
    wrapped = wrap(model)
    settings = reading(wrapped)
    known, vocabulary = settings["masks"], settings.get("vocabulary")
    masks = replace(known, rule=rule)
    if mask is not None:
        if mask < 0 or (vocabulary is not None and mask >= vocabulary):
            raise InputError(f"mask is {mask}; the model reads ids from 0 to below {vocabulary}.")
        masks = replace(masks, id=int(mask))
    elif known.id is None:
        raise InputError(f"No mask token is known of {wrapped.name}; name its id with mask=...")
    # The example is read under the rule as well: every other id of it becomes the mask.
    example = [[masks.id, *ids[1:2]] * (len(ids) // 2) or [masks.id] for ids in wrapped.example]
    return replace(wrapped, batches=partial(wrapped.batches, masks=masks), example=example)


def reading(model: ResidualModel) -> dict[str, Any]:
    """How a masked language model reads documents: the settings of its `token_batches`."""
    batches = model.batches
    settings = dict(batches.keywords) if isinstance(batches, partial) else {}
    if getattr(batches, "func", None) is not token_batches or not settings.get("bidirectional"):
        raise ModelError(
            f"{model.name} is no masked language model that satlens knows: what it reads is no text of "
            "which every position sees both sides."
        )
    settings.setdefault("masks", Masks.of(settings.get("tokenizer"), True))
    return settings
