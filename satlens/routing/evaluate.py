"""What trained gates do: the loss with soft gates AND with hard ones, who runs where, what is saved.

    open    the same weights with every token in every block (p = 0)
    soft    additions scaled by 1 - p, as in training
    hard    skipped where p > 1/2: what could be computed sparsely
    random  the null: as many tokens skip each block as with hard gates, but which ones is drawn

All are measured on the same rows, so their differences are paired; rows (or the documents given with them)
are drawn again for intervals.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError, ModelError
from satlens.models.protocol import ResidualModel
from satlens.resampling import DRAWS, Estimate, bootstrap
from satlens.routing.examples import NOT_SCORED, Examples, scores
from satlens.routing.gates import TokenGates, tlops_saved

WAYS = ("open", "soft", "hard", "random")
REST = "other"


@dataclass(frozen=True, eq=False)
class RoutingResult:
    """Sums of every document, from which all else is made.

    Attributes:
        n_layers: L.
        sums: by way, ``[doc, 3]``: nats and right answers over the scored positions, and their number.
        runs: by way, ``[doc, L - 1]``: sum over tokens of the share of block 1, 2, ... that they run.
        tokens: ``[doc]`` tokens that count.
        by_class: by way, ``[class, L - 1]``: the same sums for each class of tokens.
        class_tokens: ``[class]`` their numbers.
        classes: the names.
        n_parameters: of the gates; 0 without.

    Example:
        >>> import satlens
        >>> from satlens.routing import TokenGates, evaluate_gates, pieces
        >>> gates = TokenGates(satlens.load_model("tiny"))
        >>> rows = pieces(torch.arange(200) + 100, batch_size=4, context=32)
        >>> found = evaluate_gates(gates, rows)
        >>> found.saved("open").value, found.active("soft").value < 1
        (0.0, True)
    """

    n_layers: int
    sums: Mapping[str, Float[ndarray, "doc 3"]]
    runs: Mapping[str, Float[ndarray, "doc block"]]
    tokens: Float[ndarray, " doc"]
    by_class: Mapping[str, Float[ndarray, "class block"]]
    class_tokens: Float[ndarray, " class"]
    classes: tuple[str, ...]
    n_parameters: int = 0
    draws: int = field(default=DRAWS, kw_only=True)
    seed: int = field(default=DEFAULT_SEED, kw_only=True)

    def _estimate(self, sums: ndarray, statistic: Callable[[ndarray], ndarray]) -> Estimate:
        return bootstrap(sums, statistic, draws=self.draws, seed=self.seed)[0]

    def _of(self, kind: Mapping[str, ndarray], way: str) -> ndarray:
        if way not in kind:
            raise InputError(f"way must be one of {', '.join(kind)}; got {way!r}.")
        return kind[way]

    def loss(self, way: str = "hard") -> Estimate:
        """Mean nats over the scored positions."""
        return self._estimate(self._of(self.sums, way), lambda s: s[..., :1] / s[..., 2:])

    def accuracy(self, way: str = "hard") -> Estimate:
        """Share of the scored positions whose target is the top answer."""
        return self._estimate(self._of(self.sums, way), lambda s: s[..., 1:2] / s[..., 2:])

    def excess_loss(self, way: str = "hard", over: str = "open") -> Estimate:
        """Loss one way minus loss another, on the same rows."""
        both = np.concatenate([self._of(self.sums, one) for one in (way, over)], axis=1)
        return self._estimate(both, lambda s: s[..., 0:1] / s[..., 2:3] - s[..., 3:4] / s[..., 5:6])

    def loss_spared(self, margin: float, way: str = "hard") -> Estimate:
        """``margin`` minus the loss that a way adds to "open": above 0 where it adds less than that."""
        both = np.concatenate([self._of(self.sums, one) for one in (way, "open")], axis=1)
        return self._estimate(
            both, lambda s: margin - s[..., 0:1] / s[..., 2:3] + s[..., 3:4] / s[..., 5:6]
        )

    def active(self, way: str = "hard") -> Estimate:
        """Mean share of blocks 1 to L-1 that a token runs."""
        runs = self._of(self.runs, way)
        both = np.stack([runs.sum(1), runs.shape[1] * self.tokens], axis=1)
        return self._estimate(both, lambda s: s[..., :1] / s[..., 1:])

    def saved(self, way: str = "hard") -> Estimate:
        """TLOps saved; what soft gates "save" is what they would if it could be had."""
        runs = self._of(self.runs, way)
        both = np.stack([runs.sum(1), runs.shape[1] * self.tokens], axis=1)
        return self._estimate(both, lambda s: tlops_saved(s[..., :1] / s[..., 1:], self.n_layers))

    def by_layer(self, way: str = "hard") -> Float[ndarray, " block"]:
        """Share of the tokens that run block 1, 2, ..., L-1."""
        return self._of(self.runs, way).sum(0) / self.tokens.sum()

    def class_table(self, way: str = "hard") -> pd.DataFrame:
        """A row a class: tokens, mean share of blocks run, and the share block by block."""
        with np.errstate(invalid="ignore", divide="ignore"):
            share = self._of(self.by_class, way) / self.class_tokens[:, None]
        columns = {f"block {i + 1}": share[:, i] for i in range(share.shape[1])}
        table = pd.DataFrame(
            {"tokens": self.class_tokens.astype(int), "runs": share.mean(1), **columns}
        )
        return table.set_axis(pd.Index(self.classes, name="class"))

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        per_way = {
            way: {
                "loss": self.loss(way).to_dict(), "accuracy": self.accuracy(way).to_dict(),
                "active": self.active(way).to_dict(), "saved": self.saved(way).to_dict(),
                "by_layer": self.by_layer(way).tolist(),
            }
            for way in self.sums
        }  # fmt: skip
        classes = {
            way: {
                name: {
                    "tokens": int(row["tokens"]),
                    "runs": row.drop("tokens").astype(float).tolist(),
                }
                for name, row in cast(Iterator[tuple[str, Any]], self.class_table(way).iterrows())
                if row["tokens"]
            }
            for way in self.sums
            if len(self.classes) > 1
        }
        excess = {
            f"{way} - open": self.excess_loss(way).to_dict() for way in self.sums if way != "open"
        }
        return {
            **per_way, "excess_loss": excess, "classes": classes, "documents": len(self.tokens),
            "tokens": int(self.tokens.sum()), "parameters": self.n_parameters,
        }  # fmt: skip


def evaluate_gates(
    gates: TokenGates,
    rows: Iterable[Examples],
    *,
    classes: Mapping[str, Iterable[int]] | None = None,
    draws: int = DRAWS,
    seed: int = DEFAULT_SEED,
) -> RoutingResult:
    """Measure gates on rows they were not trained on, every way.

    Args:
        rows: batches; rows with the same ``doc`` count as one unit, also across batches. Without ``doc``
            every row is its own.
        seed: of the intervals and of who skips at random.
        classes: token ids by the name of their class; ids in none are "other".

    Raises:
        InputError: no rows, no targets, or an id in two classes. ModelError: a model in training mode.
    """
    return _evaluate(gates.model, gates, rows, classes, draws, seed)


def evaluate_without_gates(
    model: ResidualModel, rows: Iterable[Examples], *, draws: int = DRAWS, seed: int = DEFAULT_SEED
) -> RoutingResult:
    """The baseline's loss and accuracy, way "open"."""
    return _evaluate(model, None, rows, None, draws, seed)


@torch.no_grad()
def _evaluate(
    model: ResidualModel,
    gates: TokenGates | None,
    rows: Iterable[Examples],
    classes: Mapping[str, Iterable[int]] | None,
    draws: int,
    seed: int,
) -> RoutingResult:
    if model.host.training:
        raise ModelError(f"{model.name} is in training mode. Call model.eval() first.")
    rows, sums = list(rows), _Sums(model, *class_of_id(model, classes))
    if not rows:
        raise InputError("There are no rows to measure the gates on.")
    if not any(examples.n_scored for examples in rows):
        raise InputError("No position of these rows has a target: there is no loss to measure.")
    for way in WAYS if gates is not None else WAYS[:1]:
        for index, examples in enumerate(rows):
            skip = sums.drawn(examples, seed, index) if way == "random" else None
            sums.add(way, examples, *_one_way(model, gates, examples, way, skip))
    return sums.result(0 if gates is None else gates.n_parameters, draws, seed)


def _one_way(
    model: ResidualModel,
    gates: TokenGates | None,
    examples: Examples,
    way: str,
    skip: Tensor | None,
) -> tuple[Float[ndarray, "row 3"], Float[Tensor, "block row pos"]]:
    """Sums of every row, and the share of each block that each token runs."""
    batch = examples.batch(model)
    if gates is None or way == "open":
        on = nullcontext()
    else:
        on = gates.attached("hard" if way == "random" else way, skip)
    with on as run:
        logits = model.forward(batch)
    nats, right = scores(logits, examples)
    scored = examples.target.to(logits.device) != NOT_SCORED
    sums = torch.stack([nats.double().sum(1), (right & scored).sum(1), scored.sum(1)], 1)
    if run is None:
        active = torch.ones(model.n_layers - 1, *examples.ids.shape, dtype=torch.float64)
    else:
        active = run.active.double().cpu()
    return sums.double().cpu().numpy(), active


class _Sums:
    """Collects the sums of documents and of classes, way by way."""

    def __init__(self, model: ResidualModel, table: Tensor, classes: tuple[str, ...]) -> None:
        self.model, self.table, self.classes = model, table, classes
        self.docs: list[ndarray] = []
        self.tokens: list[ndarray] = []
        self.kept: dict[str, list[tuple[ndarray, ndarray]]] = {}
        self.by_class: dict[str, ndarray] = {}
        self.class_tokens = np.zeros(len(classes))
        self._fresh = 2**40  # above any number that is given

    def add(self, way: str, examples: Examples, sums: ndarray, active: Tensor) -> None:
        """One batch, one way; the first way says what the documents and the classes are."""
        first = way == WAYS[0]
        real = examples.counts.cpu()
        if first:
            self.docs.append(self._doc(examples))
            self.tokens.append(real.sum(1).double().numpy())
        kind = torch.where(real, self.table[examples.ids.cpu()], -1)
        runs = self.by_class.setdefault(way, np.zeros((len(self.classes), self.model.n_layers - 1)))
        for index in range(len(self.classes)):
            mine = kind == index
            runs[index] += active[:, mine].sum(1).numpy()
            if first:
                self.class_tokens[index] += int(mine.sum())
        self.kept.setdefault(way, []).append((sums, (active * real).sum(-1).T.numpy()))

    def drawn(self, examples: Examples, seed: int, index: int) -> Float[Tensor, "block row pos"]:
        """Who skips at random, as many in each block as with hard gates."""
        share = (
            sum(runs.sum(0) for _, runs in self.kept["hard"]) / np.concatenate(self.tokens).sum()
        )
        rng = np.random.default_rng((seed, index))
        u = rng.random((len(share), *examples.ids.shape))
        return torch.from_numpy((u >= share[:, None, None]).astype(np.float32))

    def result(self, n_parameters: int, draws: int, seed: int) -> RoutingResult:
        """Rows of one document added up."""
        _, number = np.unique(np.concatenate(self.docs), return_inverse=True)

        def together(values: list[ndarray]) -> ndarray:
            every = np.concatenate(values)
            out = np.zeros((number.max() + 1, *every.shape[1:]))
            np.add.at(out, number, every)
            return out

        return RoutingResult(
            self.model.n_layers,
            {way: together([sums for sums, _ in parts]) for way, parts in self.kept.items()},
            {way: together([runs for _, runs in parts]) for way, parts in self.kept.items()},
            together(self.tokens), self.by_class, self.class_tokens, self.classes, n_parameters,
            draws=draws, seed=seed,
        )  # fmt: skip

    def _doc(self, examples: Examples) -> ndarray:
        """The documents of a batch; rows without one are each their own, and no one else's."""
        if examples.doc is not None:
            return examples.doc.cpu().numpy()
        first, self._fresh = self._fresh, self._fresh + len(examples.ids)
        return np.arange(first, self._fresh)


def class_of_id(
    model: ResidualModel, classes: Mapping[str, Iterable[int]] | None
) -> tuple[Tensor, tuple[str, ...]]:
    """The class of every token id, and the names of the classes; the last is `REST`."""
    given = {} if classes is None else {name: list(ids) for name, ids in classes.items()}
    table = torch.full((model.n_outputs,), len(given))
    for index, (name, ids) in enumerate(given.items()):
        for one in ids:
            if not 0 <= one < len(table):
                raise InputError(
                    f"Class {name!r} has id {one}; {model.name} has 0 to {len(table) - 1}."
                )
            if int(table[one]) != len(given):
                raise InputError(f"Id {one} is in class {name!r} and in another one before.")
            table[one] = index
    return table, (*given, REST)
