"""Wall clock of the sparse forward beside dense ones, in turns.

    host      the model's own forward, without gates
    dense     the same plain functions as the sparse one, every token in every block, routers not asked
    gated     the model with hard gates by hooks: nothing is saved, everything is computed
    sparse    tokens that skip are not computed; the routers are asked, whoever decides

Who runs is drawn at a given share (the same share of the tokens in every block), or decided by the routers
("routers"). Every round runs all ways once, in an order that is drawn anew, so that a machine that slows down
slows all of them. A share drawn at random says what the arithmetic could give; only trained routers say what
a model gives. Whether it is faster is judged from the ratio of dense to sparse in each round: the rounds are
the units of the interval, and say nothing of another machine.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.resampling import Estimate, bootstrap
from satlens.routing.examples import Examples
from satlens.routing.gates import TokenGates
from satlens.routing.sparse import SparseForward
from satlens.verdicts import judged

SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
MARGIN = 0.02
"""A gain in speed below this is too small to speak of."""


def time_sparse(
    gates: TokenGates,
    ids: Int[Tensor, "row pos"],
    *,
    batch_sizes: Sequence[int] | None = None,
    shares: Sequence[float] = SHARES,
    rounds: int = 7,
    seed: int = DEFAULT_SEED,
) -> pd.DataFrame:
    """Median milliseconds of a forward pass, by batch size and active share.

    Args:
        ids: rows as the model reads them; the first ``batch_size`` are taken.
        batch_sizes: all rows at once if not given.
        shares: active shares that are forced, beside what the routers say.

    Returns:
        A row a batch size and way: median and quartiles in milliseconds, the active share, and
        ``speed``, the dense median over this one.

    Raises:
        InputError: batch sizes beyond the rows, shares outside [0, 1], or no rounds.
    """
    sizes = [len(ids)] if batch_sizes is None else list(batch_sizes)
    _check(ids, sizes, rounds, least=1)
    if any(not 0 <= share <= 1 for share in shares):
        raise InputError(f"shares lie in [0, 1]; got {list(shares)}.")
    forward, rows = SparseForward(gates), []
    for size in sizes:
        ways = _ways(gates, forward, ids[:size], shares, seed)
        taken = _in_turns({name: run for name, (_, run) in ways.items()}, rounds, seed)
        dense = float(np.median(taken["dense"]))
        for name, (active, _) in ways.items():
            low, median, high = np.quantile(taken[name], [0.25, 0.5, 0.75])
            rows.append({
                "batch": size, "way": name, "active": active, "ms": 1e3 * median,
                "low": 1e3 * low, "high": 1e3 * high, "speed": dense / median,
            })  # fmt: skip
    return pd.DataFrame(rows)


def faster(dense: Sequence[float], sparse: Sequence[float]) -> Estimate:
    """Geometric mean over rounds of dense / sparse seconds, less 1, with its interval over the rounds.

    >>> round(faster([2.0, 8.0], [1.0, 2.0]).value, 6)
    1.828427
    """
    logs = np.log(np.asarray(dense) / np.asarray(sparse))
    sums = np.column_stack([logs, np.ones(len(logs))])
    return bootstrap(sums, lambda s: np.expm1(s[..., :1] / s[..., 1:]))[0]


def judge_sparse(
    gates: TokenGates,
    ids: Int[Tensor, "row pos"],
    *,
    batch_sizes: Sequence[int] = (1, 16),
    rounds: int = 21,
    margin: float = MARGIN,
    seed: int = DEFAULT_SEED,
) -> list[dict[str, Any]]:
    """Is the sparse forward faster than the dense one, with the routers deciding? One verdict a batch size.

    Args:
        ids: rows that the routers were not trained on. rounds: two or more; each runs both ways.
        margin: a gain below this is too small to speak of.

    Returns:
        Verdicts ``sparse_1``, ``sparse_16``, ... (`satlens.verdicts`), each with its ``active`` share.

    Raises:
        InputError: as `time_sparse`.
    """
    _check(ids, batch_sizes, rounds, least=2)
    forward, made = SparseForward(gates), []
    for size in batch_sizes:
        ways = _ways(gates, forward, ids[:size], (), seed)
        runs = {name: ways[name][1] for name in ("dense", "sparse, routers")}
        taken = _in_turns(runs, rounds, seed)
        one = judged(
            f"sparse_{size}",
            f"In a batch of {size} the sparse forward takes less time than the dense one.",
            ("gain in speed over the dense forward", faster(taken["dense"], taken["sparse, routers"])),
            margin, "dense",
        )  # fmt: skip
        made.append(one | {"active": ways["sparse, routers"][0]})
    return made


def _check(ids: Tensor, sizes: Sequence[int], rounds: int, least: int) -> None:
    if not sizes or min(sizes) < 1 or max(sizes) > len(ids):
        raise InputError(f"Batch sizes lie between 1 and the {len(ids)} rows given; got {sizes}.")
    if rounds < least:
        raise InputError(f"rounds is {least} or more; got {rounds}.")


def _ways(
    gates: TokenGates,
    forward: SparseForward,
    ids: Tensor,
    shares: Sequence[float],
    seed: int,
) -> dict[str, tuple[float, Callable[[], object]]]:
    """What is timed, and which share of the tokens runs in it."""
    batch = Examples(ids, ids).batch(gates.model)
    blocks = len(gates.routers)
    every = torch.ones(blocks, *ids.shape, dtype=torch.bool)

    def host() -> Tensor:
        return gates.model.forward(batch)

    def gated() -> Tensor:
        with gates.attached("hard"):
            return gates.model.forward(batch)

    decided = float(forward(ids).active.double().mean())
    ways: dict[str, tuple[float, Callable[[], object]]] = {
        "host": (1.0, host),
        "dense": (1.0, lambda: forward(ids, active=every)),
        "gated": (decided, gated),
        "sparse, routers": (decided, lambda: forward(ids)),
    }
    for share in shares:
        active = drawn(blocks, ids.shape, share, seed)
        ways[f"sparse, {share:g}"] = (
            float(active.double().mean()),
            lambda active=active: forward(ids, active=active, ask=True),
        )
    return ways


def drawn(
    blocks: int, shape: Sequence[int], share: float, seed: int
) -> Bool[Tensor, "block row pos"]:
    """The same number of tokens in every block, which ones drawn.

    >>> drawn(2, (1, 4), 0.5, 0).sum((1, 2)).tolist()
    [2, 2]
    """
    n, m = shape
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(blocks, n * m, generator=generator).argsort(1).argsort(1)
    return (order < round(share * n * m)).view(blocks, n, m)


@torch.no_grad()
def _in_turns(
    ways: dict[str, Callable[[], object]], rounds: int, seed: int
) -> dict[str, list[float]]:
    """Seconds of every way in every round, one round of warming up before."""
    rng, taken = np.random.default_rng(seed), {name: [] for name in ways}
    for run in ways.values():
        run()
    for _ in range(rounds):
        for name in rng.permutation(list(ways)):
            _wait()
            began = time.perf_counter()
            ways[name]()
            _wait()
            taken[name].append(time.perf_counter() - began)
    return taken


def _wait() -> None:
    """A GPU works on while Python goes ahead."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
