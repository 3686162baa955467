"""The ranking of scores, with one rule for ties on every path: the lower id comes first."""

from jaxtyping import Float, Int
from torch import Tensor

from satlens.errors import InputError, NumericsError


def top_ids(scores: Float[Tensor, "token output"], k: int) -> Int[Tensor, "token k"]:
    """The ids of the ``k`` highest scores, highest first; of equal scores the lower id first.

    `torch.topk` promises no order among equal values, so ties inside the top k are put in order
    afterwards, and a row whose k-th value occurs again below the cut is sorted as a whole.

    Raises:
        InputError: k below 1 or above the number of outputs.
        NumericsError: a score is NaN.

    Example:
        >>> import torch
        >>> top_ids(torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0]]), k=2)
        tensor([[1, 2]])
    """
    n_outputs = scores.shape[1]
    check_k(k, n_outputs)
    values, ids = scores.topk(min(k + 1, n_outputs), dim=1)
    if values[:, 0].isnan().any():  # topk puts NaN first
        bad = int(scores.isnan().any(1).sum())
        raise NumericsError(
            f"NaN scores for {bad} of {len(scores)} positions. The weights or the inputs hold NaN "
            "or overflow in this precision; a ranking of them would mean nothing."
        )
    cut = values[:, k - 1] == values[:, k] if k < n_outputs else None
    by_id, order = ids[:, :k].sort(dim=1)
    order = values[:, :k].gather(1, order).sort(dim=1, descending=True, stable=True).indices
    top = by_id.gather(1, order)
    if cut is not None and cut.any():
        top[cut] = scores[cut].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return top


def check_k(k: int, n_outputs: int) -> None:
    """Refuse a number of ranks that the model's output cannot give."""
    if not 1 <= k <= n_outputs:
        raise InputError(
            f"Asked for the top k={k}; k must be between 1 and the model's {n_outputs} outputs."
        )
