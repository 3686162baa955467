"""What `satlens.exits.generate` is asked for, checked before anything is computed."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from satlens.errors import InputError
from satlens.exits.generation.answers import Sampling
from satlens.models.protocol import ResidualModel


def checked(
    most: Any,
    policy: Any,
    verify: Any,
    do_sample: bool,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
) -> Sampling | None:
    """Refuse settings that mean nothing, before anything is computed."""
    whole(most, "max_new_tokens")
    if policy is not None and (isinstance(policy, type) or not callable(policy)):
        raise InputError(
            f"policy must be a satlens.exits policy such as FixedLayer(5), or None; got {policy!r}."
        )
    if verify is not None:
        whole(verify, "verify")
        if policy is None:
            raise InputError(
                "verify needs a policy whose exits draft; without one nothing is drafted."
            )
        if do_sample:
            raise InputError(
                "verify compares drafts with the full model's best token; it cannot be used with do_sample."
            )
    if do_sample:
        return Sampling(temperature, top_k, top_p)
    given = {
        "temperature": temperature != 1.0,
        "top_k": top_k is not None,
        "top_p": top_p is not None,
    }
    idle = [name for name, said in given.items() if said]
    if idle:
        raise InputError(f"{', '.join(idle)} without do_sample=True would have no effect.")
    return None


def whole(value: Any, name: str) -> None:
    """Refuse anything but a whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} must be a whole number, 1 or more, got {value!r}.")


def read_prompts(
    model: ResidualModel, prompts: Any, batch_size: int, max_new_tokens: int
) -> list[Int[Tensor, " _pos"]]:
    """The ids of each prompt, read as `satlens.detect` reads documents.

    Raises:
        InputError: empty prompts, ids outside the vocabulary, more tokens than the context holds.
    """
    batches = model.batches(prompts, batch_size, include_bos=True, context=None)
    rows = [row.ids for row in sorted(batches.rows, key=lambda row: row.doc)]
    for index, ids in enumerate(rows):
        if model.context is None or len(ids) + max_new_tokens <= model.context:
            continue
        fit = model.context - len(ids)
        advice = (
            f"at most {fit} new tokens fit."
            if fit > 0
            else "shorten it: no new token fits behind it."
        )
        raise InputError(
            f"Prompt {index} has {len(ids)} tokens, and with max_new_tokens={max_new_tokens} it needs "
            f"{len(ids) + max_new_tokens}; the context of {model.name} is {model.context}: {advice}"
        )
    return rows


def stop_ids(model: ResidualModel, asked: int | Iterable[int] | None) -> frozenset[int]:
    """The ids that end a sequence: those asked for, else the tokenizer's or the host's own.

    Of the latter only those that the model can say: TransformerLens 4 gives a tokenizer without such a token
    one that may lie beyond the model's vocabulary.

    Raises:
        InputError: no whole numbers, or outside the vocabulary.
    """
    found = asked
    if found is None:
        inside = getattr(model.host, "original_model", model.host)
        for owner in (
            model.tokenizer,
            getattr(inside, "generation_config", None),
            getattr(inside, "config", None),
        ):
            found = getattr(owner, "eos_token_id", None)
            if found is not None:
                break
        else:
            return frozenset()
    ids = [found] if isinstance(found, int | np.integer) else list(found)
    if asked is None:
        return frozenset(int(token) for token in ids if 0 <= token < model.n_outputs)
    for token in ids:
        if (
            isinstance(token, bool)
            or not isinstance(token, int | np.integer)
            or not 0 <= token < model.n_outputs
        ):
            raise InputError(
                f"eos_token_id must be a token id, 0 .. {model.n_outputs - 1}, or several; got {asked!r}."
            )
    return frozenset(int(token) for token in ids)
