"""Documents dealt into parts: what is fitted never sees the documents it is judged on."""

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError

FOLDS = 5


def document_folds(
    doc: Int[ndarray, " n"], folds: int = FOLDS, seed: int = DEFAULT_SEED
) -> Int[ndarray, " n"]:
    """The part, 0 .. folds - 1, of every position; one and the same for all positions of a document.

    Raises:
        InputError: fewer than two parts, or fewer documents than parts.

    >>> document_folds(np.array([7, 7, 3, 5]), folds=3).tolist()
    [1, 1, 2, 0]
    """
    if folds < 2:
        raise InputError(
            f"folds must be at least 2, got {folds}: some part must be left to judge on."
        )
    documents, index = np.unique(doc, return_inverse=True)
    if len(documents) < folds:
        raise InputError(
            f"{folds} folds need at least {folds} documents, since no document is on both sides; the "
            f"positions are of {len(documents)}. Give more documents, or lower folds."
        )
    part = np.arange(len(documents)) % folds
    return np.random.default_rng(seed).permutation(part)[index]
