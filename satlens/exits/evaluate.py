"""`evaluate`: run policies over the states of a corpus, and count what they give and what they save.

    states of a batch -> lens, layer by layer -> right or wrong at every layer        one table a batch
                      -> every policy         -> exit layer of every token            one signal a policy
    exit layers read off the tables -> sums by document -> `Evaluation`

One pass over the inputs. Memory is that of one batch, and some hundred numbers a document.

The states are those of the FULL model: at every layer a token attends to earlier tokens that ran through all
blocks. In real generation the keys and values of skipped layers are made from exited states, and
earlier exits change what later tokens see; what that does is measured by `satlens.exits.generate`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor
from tqdm import tqdm

from satlens.errors import InputError
from satlens.exits.cost import Costs, measure
from satlens.exits.looking import Family, Looking, Scores, families
from satlens.exits.policy import Policy, name_of
from satlens.exits.result import ORACLE, Evaluation
from satlens.exits.tables import Sums, Tables, next_tokens, places_attended
from satlens.lenses import Lens, LogitLens, check_model
from satlens.models import Batches, wrap
from satlens.models.protocol import Batch, ResidualModel, States


def evaluate(
    model: Any,
    inputs: Any,
    policies: Policy | Sequence[Policy],
    *,
    lens: Lens | None = None,
    cost: Costs | None = None,
    batch_size: int = 8,
    include_bos: bool = False,
    progress: bool = False,
) -> Evaluation:
    """Agreement, accuracy, loss and savings of every policy, each beside its null, and of an oracle.

    Args:
        model, inputs, batch_size, include_bos: as in `satlens.detect`; inputs may be `Batches`.
        policies: one or several, at one threshold or several; policies that differ in their
            threshold only share one signal. See `satlens.exits.sweep` for a range of thresholds.
        lens: gives the answer at an exit, and the scores that policies read; the logit lens by
            default. At the last layer the answer is always the model's own.
        cost: what things cost; counted on the model if it is not given.

    Raises:
        InputError: unusable inputs, no policy, one that returns anything but one boolean (or signal)
            a token, or that fails, a lens of another model. NumericsError: NaN in scores or signals.

    Example:
        >>> import satlens
        >>> from satlens.exits import FixedLayer, SoftmaxResponse
        >>> policies = [SoftmaxResponse(0.9), SoftmaxResponse(0.5), FixedLayer(15)]
        >>> found = evaluate(satlens.load_model("tiny"), "Lily had a red ball.", policies)
        >>> float(found.table().set_index("policy").agreement["fixed layer"])
        1.0
    """
    policies = [policies] if callable(policies) else list(policies)
    made = families(policies)
    model = wrap(model)
    lens = lens or LogitLens(model)
    check_model(lens, model)
    cost = cost or measure(model, lens)
    _check_depth(model, cost)
    batches = (
        inputs if isinstance(inputs, Batches) else model.batches(inputs, batch_size, include_bos)
    )
    sums = Sums(len(policies) + 1, model.n_layers)
    with tqdm(
        total=getattr(batches, "n_tokens", None), desc=f"exits, {model.name}", unit=" tokens",
        disable=not progress,
    ) as bar:  # fmt: skip
        for batch in batches:
            if batch.real.any():
                bar.update(_read(model, batch, lens, made, cost, sums))
    if not len(sums):
        raise InputError("The inputs gave no real position to evaluate policies on.")
    found = sums.arrays()
    return Evaluation(
        names=(*map(name_of, policies), ORACLE),
        thresholds=np.array([*(getattr(one, "threshold", np.nan) for one in policies), np.nan], float),
        costs=cost, policies=tuple(policies), notes=_notes(made, cost, bool(found["known"].any())),
        settings={"model": model.name, "lens": lens.name},
        **found,
    )  # fmt: skip


@torch.no_grad()
def _read(
    model: ResidualModel, batch: Batch, lens: Lens, made: Sequence[Family], cost: Costs, sums: Sums
) -> int:
    """Add one batch to the sums; the number of its tokens."""
    states = model.states(batch)
    tables = Tables.empty(states, next_tokens(model, batch))
    scores = Scores(lens)
    looking = [
        Looking(one, len(states.pos), model.n_layers, scores, states.pos.device) for one in made
    ]
    for layer, resid, before in _layers(states):
        scored = lens.scores(resid, layer)
        tables.read(layer, scored)
        scores.keep(resid, layer, scored)
        for one in looking:
            one.look(layer, resid, before, states.pos)
    tables.read(model.n_layers - 1, states.logits)
    body = cost.body(places_attended(model, batch))
    exits, deciding = _exits(looking, tables, cost, len(states.pos), model.d_model)
    known = (tables.following >= 0).cpu().numpy()
    sums.add(
        states.doc.cpu().numpy(), known, exits, deciding, tables.numpy(), body, float(cost.look[-1])
    )
    return len(states.pos)


def _layers(states: States) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """The states after every block but the last, copied: a view would lead to later layers."""
    before = None
    for layer in range(len(states.resid) - 1):
        resid = states.resid[layer].clone()
        yield layer, resid, before
        before = resid


def _exits(
    looking: Sequence[Looking], tables: Tables, cost: Costs, n_tokens: int, d_model: int
) -> tuple[Int[ndarray, "point token"], Float[ndarray, "point layer"]]:
    """Exit layers in the order the policies were passed, the oracle's last; and what deciding costs."""
    n = sum(len(one.family.members) for one in looking) + 1
    exits = np.empty((n, n_tokens), int)
    deciding = np.empty((n, len(cost)))
    for one in looking:
        places = list(one.family.places)
        read = [one.reader.read.get(layer, 0) / n_tokens for layer in range(len(cost) - 1)]
        own = getattr(one.family.policy, "cost", None)
        exits[places] = one.exit.cpu().numpy()
        deciding[places] = cost.deciding(np.array(read), float(own(d_model)) if own else 0.0)
    exits[-1] = tables.first_agreeing()
    deciding[-1] = cost.look
    return exits, deciding


def _check_depth(model: ResidualModel, cost: Costs) -> None:
    if model.n_layers < 2:
        raise InputError(f"{model.name} has one block: there is nowhere to leave early.")
    if len(cost) != model.n_layers:
        raise InputError(f"cost is of {len(cost)} layers; {model.name} has {model.n_layers}.")


def _notes(made: Sequence[Family], cost: Costs, known: bool) -> tuple[str, ...]:
    """What a reader of the numbers must know."""
    notes = [cost.note] if cost.note else []
    free = [name_of(one.policy) for one in made if not hasattr(one.policy, "cost")]
    if free:
        notes.append(
            f"Counted as free beside the scores they read, having no cost(): {', '.join(free)}."
        )
    if not known:
        notes.append(
            "No position has a known next token, so there is no accuracy and no loss: the model does not "
            "read text from left to right."
        )
    return tuple(notes)
