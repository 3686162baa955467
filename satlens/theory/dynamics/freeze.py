"""When does something that was moving stop: the step from which its speed stays low.

    freeze(v) = the least t with v_s <= share * max v for every s >= t

where v_s is the speed at step s, s = 0 .. T-1. It is 0 where nothing ever moved, and infinite where the last
speed is still above the share: then it was not seen to freeze. The definition is ours (the paper speaks of
attention that is almost frozen); `share` is said with every number.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from satlens.errors import InputError

SHARE = 0.1
"""A tenth of the largest speed."""


def freeze_step(
    speed: Float[ndarray, "*curve step"], share: float = SHARE
) -> Float[ndarray, "*curve"]:
    """The step from which the speed stays at or below this share of its largest value.

    Args:
        speed: at each step, 0 or more; the last axis is the step.
        share: between 0 and 1.

    Returns:
        Steps ``0 .. T - 1``, infinite where the speed is still higher at the last step.

    Raises:
        InputError: no steps, a speed that is negative or NaN, or a share outside (0, 1).

    Example:
        >>> freeze_step(np.array([[0.0, 2.0, 4.0, 0.4, 0.3], [1.0, 1.0, 1.0, 1.0, 1.0]])).tolist()
        [3.0, inf]
    """
    speed = np.asarray(speed, dtype=float)
    if speed.ndim == 0 or speed.shape[-1] == 0:
        raise InputError(
            f"freeze_step wants speeds with steps on the last axis, got shape {speed.shape}."
        )
    if not (speed >= 0).all():
        raise InputError(
            "freeze_step got speeds below 0 or NaN: give the size of each step's change."
        )
    if not 0 < share < 1:
        raise InputError(f"share must lie between 0 and 1, got {share}.")
    moving = speed > share * speed.max(-1, keepdims=True)
    steps = speed.shape[-1]
    # One behind the last step that is too fast.
    after = np.where(moving.any(-1), steps - moving[..., ::-1].argmax(-1), 0)
    return np.where(after == steps, np.inf, after.astype(float))
