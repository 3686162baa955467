"""What is right at every layer of one batch, and the sums over the documents of all batches."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from satlens.models.protocol import Batch, ResidualModel, States
from satlens.saturation.ranking import top_ids

UNKNOWN = -1


def next_tokens(model: ResidualModel, batch: Batch) -> Int[Tensor, " token"]:
    """The id that follows each real position in its row; -1 at the end of a row, where the model has no such
    output, and in models that do not read from left to right.
    """
    following = torch.full_like(batch.tokens, UNKNOWN)
    decodes = "decoder_input_ids" in batch.args
    if model.causal or decodes:
        mask = batch.args.get("decoder_attention_mask" if decodes else "attention_mask")
        read = torch.ones_like(batch.tokens, dtype=torch.bool) if mask is None else mask.bool()
        known = read[:, 1:] & (batch.tokens[:, 1:] < model.n_outputs)
        following[:, :-1] = torch.where(known, batch.tokens[:, 1:], UNKNOWN)
    return following[batch.real]


def places_attended(model: ResidualModel, batch: Batch) -> Int[ndarray, " token"]:
    """How many positions each real one attends to, itself included: those before it, or the whole row."""
    decodes = "decoder_input_ids" in batch.args
    if model.causal or decodes:
        column = torch.arange(1, batch.real.shape[1] + 1, device=batch.real.device)
        count = column.expand_as(batch.real)
    else:
        mask = batch.args.get("attention_mask")
        row = torch.ones_like(batch.real) if mask is None else mask.bool()
        count = row.sum(1, keepdim=True).expand_as(batch.real)
    return count[batch.real].cpu().numpy()


def top_one(scores: Float[Tensor, "token output"]) -> Int[Tensor, " token"]:
    """`top_ids` for one rank: `torch.max` gives the first of equal values, in a third of the time.

    Raises:
        NumericsError: a score is NaN.
    """
    best = scores.max(dim=1)
    if best.values.isnan().any():
        return top_ids(scores, 1)[:, 0]  # which says how many
    return best.indices


@dataclass(eq=False)
class Tables:
    """Per token and layer: does the lens agree with the model, is it right, how much does it lose.

    Attributes:
        agree: the lens's top-1 is the model's. correct: it is the next token (0 where unknown).
        loss: -log p of the next token, in nats (0 where unknown).
        final, following: the model's top-1, and the next token (-1 where unknown).
    """

    final: Int[Tensor, " token"]
    following: Int[Tensor, " token"]
    agree: Float[Tensor, "token layer"]
    correct: Float[Tensor, "token layer"]
    loss: Float[Tensor, "token layer"]

    @staticmethod
    def empty(states: States, following: Int[Tensor, " token"]) -> "Tables":
        """Tables to be filled layer by layer."""
        shape = (len(states.pos), len(states.resid))
        blank = [
            torch.zeros(shape, dtype=torch.float64, device=states.pos.device) for _ in range(3)
        ]
        return Tables(top_one(states.logits), following, *blank)

    def read(self, layer: int, scores: Float[Tensor, "token output"]) -> None:
        """What these scores are worth."""
        top = top_one(scores)
        known = self.following >= 0
        self.agree[:, layer] = (top == self.final).double()
        self.correct[:, layer] = (top == self.following).double()
        if known.any():
            kind = torch.promote_types(scores.dtype, torch.float32)
            log_p = scores.log_softmax(1, dtype=kind)
            own = log_p.gather(1, self.following.clamp(min=0)[:, None])[:, 0].double()
            self.loss[:, layer] = torch.where(known, -own, 0.0)

    def first_agreeing(self) -> Int[ndarray, " token"]:
        """The first layer whose top-1 is the final one."""
        return self.agree.argmax(1).cpu().numpy()

    def numpy(self) -> Float[ndarray, "3 token layer"]:
        """agree, correct and loss, on the CPU."""
        return torch.stack([self.agree, self.correct, self.loss]).cpu().numpy()


class Sums:
    """Sums by document; the names are those of `satlens.exits.Evaluation`.

    Args:
        n_points: exit layers that each token has, one a point.
    """

    def __init__(self, n_points: int, n_layers: int) -> None:
        self.n_points, self.n_layers = n_points, n_layers
        self._row: dict[int, int] = {}
        self._kept: dict[str, ndarray] = self._blank(0)

    def __len__(self) -> int:
        return len(self._row)

    def _blank(self, rows: int) -> dict[str, ndarray]:
        """Zeros, documents first."""
        P, L = self.n_points, self.n_layers
        shapes = {"tokens": (), "known": (), "full": (), "exits": (P, L)}
        shapes |= {name: (P,) for name in ("agree", "correct", "loss", "body", "deciding")}
        shapes |= {f"layer_{name}": (L,) for name in ("agree", "correct", "loss", "body")}
        whole = ("tokens", "known", "exits")
        return {
            name: np.zeros((rows, *shape), np.int64 if name in whole else np.float64)
            for name, shape in shapes.items()
        }

    def _place(self, doc: int) -> int:
        """The row of a document, made when it is first seen; room is doubled when there is none."""
        if doc not in self._row:
            self._row[doc] = len(self._row)
            room = len(self._kept["tokens"])
            if len(self._row) > room:
                more = self._blank(max(room, 16))
                self._kept = {
                    name: np.concatenate([own, more[name]]) for name, own in self._kept.items()
                }
        return self._row[doc]

    def add(
        self,
        doc: Int[ndarray, " token"],
        known: Bool[ndarray, " token"],
        exits: Int[ndarray, "point token"],
        deciding: Float[ndarray, "point layer"],
        tables: Float[ndarray, "3 token layer"],
        body: Float[ndarray, "token layer"],
        readout: float,
    ) -> None:
        """Take the tokens of one batch: where each left, and what holds at each layer."""
        for one in np.unique(doc).tolist():
            mine = doc == one
            at, e = np.arange(int(mine.sum())), exits[:, mine]
            count = (e[..., None] == np.arange(self.n_layers)).sum(1)
            own, used = tables[:, mine], body[mine]
            found = {
                "tokens": len(at),
                "known": known[mine].sum(),
                "full": used[:, -1].sum() + readout * len(at),
                "exits": count,
                "body": used[at, e].sum(-1),
                "deciding": (count * deciding).sum(-1),
                "layer_body": used.sum(0),
            }
            for number, name in enumerate(("agree", "correct", "loss")):
                found[name] = own[number][at, e].sum(-1)
                found[f"layer_{name}"] = own[number].sum(0)
            row = self._place(one)
            for name, value in found.items():
                self._kept[name][row] += value

    def arrays(self) -> dict[str, ndarray]:
        """Everything, documents in ascending order of their number."""
        order = sorted(self._row, key=self._row.__getitem__)
        ascending = np.argsort(order, kind="stable")
        found = {name: own[: len(order)][ascending] for name, own in self._kept.items()}
        per_point = ("exits", "agree", "correct", "loss", "body", "deciding")
        return {"doc": np.array(order)[ascending]} | {
            name: own.swapaxes(0, 1).copy() if name in per_point else own
            for name, own in found.items()
        }
