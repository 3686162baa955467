"""Who runs next, and how much memory is set aside for it.

    order      arrival   the one that came first
               depth     like depths together: down from the deepest that waits, then up, and so on
               length    the same with lengths
    reserve    most       room for the longest answer that may be asked for
               predicted  room for the predicted one; more is taken as it grows, while there is any
               as needed  room for the positions there are; more is taken as it grows
    continuous a request may join others that are on their way; else a batch ends before the next begins

Down and up, as a disk's arm goes: neighbours in depth run side by side, and both ends get their turn. (From
the deepest down, so that the batch which is not full is the shallowest one.) What is predicted is a number a
request; an oracle reads the true one in its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from satlens.errors import InputError
from satlens.theory.batching.requests import Requests

ORDERS = ("arrival", "depth", "length")
RESERVES = ("most", "predicted", "as needed")


@dataclass(frozen=True)
class Scheduler:
    """A rule of the kind above.

    Attributes:
        knows: it reads the true depths and lengths: a bound for predictions, never a policy.
    """

    name: str
    order: str = "arrival"
    reserve: str = "as needed"
    continuous: bool = True
    knows: bool = False

    def __post_init__(self) -> None:
        if self.order not in ORDERS or self.reserve not in RESERVES:
            raise InputError(
                f"The scheduler {self.name!r} has order {self.order!r} and reserve {self.reserve!r}; "
                f"choices: {', '.join(ORDERS)}; and {', '.join(RESERVES)}."
            )

    @property
    def predicts(self) -> bool:
        """Whether it needs predictions."""
        return not self.knows and (self.order != "arrival" or self.reserve == "predicted")

    def whole_batches(self) -> "Scheduler":
        """The same, each batch ending before the next begins."""
        return replace(self, continuous=False)

    def keys(self, requests: Requests) -> Float[ndarray, " request"]:
        """What requests are ordered by; all 0 for the order of arrival.

        Raises:
            InputError: no such prediction.
        """
        if self.order == "arrival":
            return np.zeros(len(requests))
        if self.knows:
            return np.asarray(getattr(requests, self.order), float)
        return self._of(requests, f"predicted_{self.order}")

    def lengths(self, requests: Requests, most: int) -> list[int]:
        """New tokens that room is set aside for at first, 1 .. most.

        Raises:
            InputError: no such prediction.
        """
        if self.reserve == "most":
            return [most] * len(requests)
        if self.reserve == "as needed":
            return [1] * len(requests)
        own = requests.length if self.knows else self._of(requests, "predicted_length")
        return np.clip(np.ceil(own), 1, most).astype(int).tolist()

    def _of(self, requests: Requests, name: str) -> Float[ndarray, " request"]:
        found = getattr(requests, name)
        if found is None:
            raise InputError(
                f"The scheduler {self.name!r} goes by {name}, and the requests have none. Give them with "
                "requests.predicted(...)."
            )
        return found


SCHEDULERS = (
    Scheduler("first come, maximum reserved", reserve="most", continuous=False),
    Scheduler("first come"),
    Scheduler("predicted length", "length", "predicted"),
    Scheduler("predicted depth", "depth"),
    Scheduler("predicted depth and length", "depth", "predicted"),
    Scheduler("oracle depth", "depth", knows=True),
    Scheduler("oracle depth and length", "depth", "predicted", knows=True),
)
"""What a study compares; the third is S3's."""


@dataclass
class Sweep:
    """Down and up over the keys of those that wait.

    Attributes:
        keys: by request. rank: the place of each in order of arrival, which decides between equal keys.
    """

    keys: Sequence[float]
    rank: Sequence[int]
    place: float = np.inf
    down: bool = True
    waiting: list[int] = field(default_factory=list)

    def first(self) -> int:
        """The request that is next, of those waiting."""
        ahead = self._ahead()
        if not ahead:
            self.down = not self.down
            ahead = self._ahead()
        sign = -1 if self.down else 1
        return min(ahead, key=lambda i: (sign * self.keys[i], self.rank[i]))

    def take(self, index: int) -> None:
        """It runs now."""
        self.waiting.remove(index)
        self.place = self.keys[index]

    def _ahead(self) -> list[int]:
        if self.down:
            return [i for i in self.waiting if self.keys[i] <= self.place]
        return [i for i in self.waiting if self.keys[i] >= self.place]
