"""When in training does order appear? One row a checkpoint: `track`.

Of the same documents at every checkpoint, for the model as it was then:

    loss           mean of -log p(next token), in nats
    mean_layer     mean saturation layer of each rank (L - 1: fixed only at the output)
    concordance    of two comparable ranks, how often the higher one is fixed first
    excess         concordance minus that of paths of the same geometry (`satlens.nulls`), by null
    verdict        on the stricter excess, by the rule of `satlens.order`

Intervals are over documents. Order appears, if it does, at the first checkpoint from which on every verdict
is "holds".
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError, ModelError, NumericsError
from satlens.lenses import LogitLens
from satlens.models import Batches, ResidualModel, load_model, weights_sha256, wrap
from satlens.models.from_file import in_file
from satlens.models.protocol import Batch, States
from satlens.nulls import EachNull, NullDraws
from satlens.nulls.block import PATH_NULLS
from satlens.nulls.draws import NULL_DRAWS
from satlens.order import concordance, coverage, excess, verdict
from satlens.order.excess import MARGIN, Verdict
from satlens.reranking.collect import next_ids, next_nats
from satlens.resampling import Estimate, bootstrap, by_document
from satlens.saturation.detect import Detector
from satlens.saturation.events import SaturationEvents
from satlens.theory.tracking.rows import Checkpoint, Track, TrackFolder, corpus_sha256
from satlens.verdicts import UNKNOWN

NULL_TOKENS = 2_000


def track(
    checkpoints: Iterable[tuple[int, Any]],
    corpus: Any,
    *,
    folder: str | Path | None = None,
    k: int = DEFAULT_K,
    draws: int = NULL_DRAWS,
    null_tokens: int = NULL_TOKENS,
    batch_size: int = 8,
    seed: int = DEFAULT_SEED,
    margin: float = MARGIN,
) -> Track:
    """Follow loss, saturation and order through training, one model in memory at a time.

    Args:
        checkpoints: pairs of a step and a model: anything that `satlens.wrap` takes, or what
            `satlens.load_model` loads. A generator is asked for one pair after the other. Step 0 is the
            untrained model, where it is given.
        corpus: documents, as in `satlens.detect`; every checkpoint must read the same tokens in them.
            `Batches` are read as they are, by every checkpoint.
        folder: keeps each checkpoint's row; a stopped run goes on there. Other settings, documents or
            weights are refused.
        draws, null_tokens: path nulls are drawn for the first documents, up to this many tokens.
        margin: of the verdict.

    Raises:
        InputError: no checkpoints or documents, repeated steps, models of other vocabularies or readers of
            other tokens. ModelError: a model that cannot be loaded or predicts no next token. OutputError:
            a folder of another run. NumericsError: NaN.

    Example:
        >>> import satlens
        >>> tiny = satlens.load_model("tiny")
        >>> stories = ["Lily had a red ball.", "The dog ran to the park."]
        >>> found = track([(0, satlens.untrained(tiny)), (1800, tiny)], stories, draws=2)
        >>> [row.step for row in found.rows], found.rows[1].loss.value < found.rows[0].loss.value
        ([0, 1800], True)
    """
    settings = {
        "k": k, "draws": draws, "null_tokens": null_tokens, "batch_size": batch_size, "seed": seed,
        "margin": margin,
    }  # fmt: skip
    check_settings(settings)
    if isinstance(checkpoints, str | torch.nn.Module) or not isinstance(checkpoints, Iterable):
        raise InputError(
            f"track takes pairs of a step and a model; got one {type(checkpoints).__name__}. Write "
            "[(step, model), ...]."
        )
    if isinstance(checkpoints, Sequence):
        check_list(checkpoints)
    kept = None if folder is None else TrackFolder(Path(folder))
    rows: list[Checkpoint] = []
    read: dict[str, Any] | None = None
    for step, model in _models(checkpoints):
        check_steps([*(row.step for row in rows), step])
        check_causal(model, k)
        batches = corpus if isinstance(corpus, Batches) else model.batches(corpus, batch_size)
        own = {
            "documents": batches.n_documents, "tokens": batches.n_tokens, "outputs": model.n_outputs,
            "layers": model.n_layers, "corpus_sha256": corpus_sha256(batches),
        }  # fmt: skip
        read = check_same(read, own, step, rows)
        weights = weights_sha256(model)
        if kept is not None:
            kept.open({**settings, **own})
        row = None if kept is None else kept.read(step, weights)
        if row is None:
            row = measure(model, batches, step, weights, settings)
            if kept is not None:
                kept.write(row)
        rows.append(row)
        del model, batches
    if read is None:
        raise InputError("track got no checkpoints: give pairs of a step and a model.")
    return Track(tuple(sorted(rows, key=lambda row: row.step)), {**settings, **read})


def _models(checkpoints: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, ResidualModel]]:
    """Each step with its model, loaded when it is its turn and not kept."""
    for one in checkpoints:
        step, model = pair_of(one)
        yield step, wrap(load_model(model) if isinstance(model, str | Path) else model)
        del one, model  # before the next one is made


def pair_of(one: Any) -> tuple[int, Any]:
    """A step and a model, or an error that says what a checkpoint is."""
    if not isinstance(one, tuple | list) or len(one) != 2:
        raise InputError(
            f"A checkpoint is a pair (step, model or folder); got {type(one).__name__}."
        )
    step, model = one
    if isinstance(step, bool) or not isinstance(step, int | np.integer) or step < 0:
        raise InputError(f"The step of a checkpoint is a whole number from 0 on, got {step!r}.")
    if isinstance(model, Path) or (isinstance(model, str) and model.startswith((".", "~", "/"))):
        file = in_file(str(model))
        if not (Path(file[0]) if file else Path(model).expanduser()).exists():
            raise InputError(f"The checkpoint of step {step}, {model}, does not exist.")
    return int(step), model


def check_list(checkpoints: Sequence[tuple[int, Any]]) -> None:
    """What a list of checkpoints shows before one is loaded: steps, folders, vocabularies."""
    pairs = [pair_of(one) for one in checkpoints]
    check_steps([step for step, _ in pairs])
    said = [(step, outputs) for step, model in pairs if (outputs := outputs_of(model)) is not None]
    for step, outputs in said[1:]:
        if outputs != said[0][1]:
            raise InputError(
                f"Checkpoints must be of one model; step {said[0][0]} has a vocabulary of {said[0][1]}, step "
                f"{step} of {outputs}."
            )


def outputs_of(model: Any) -> int | None:
    """The outputs that a model or its folder says it has, without loading it; None where it does not say."""
    if isinstance(model, ResidualModel):
        return model.n_outputs
    if not isinstance(model, str | Path):
        return None
    try:
        config = json.loads((Path(model).expanduser() / "config.json").read_text(encoding="utf-8"))
        return config.get("vocab_size")
    except (OSError, ValueError, AttributeError):
        return None


def check_steps(steps: Sequence[int]) -> None:
    """Refuse a step that comes twice."""
    twice = sorted({step for step in steps if list(steps).count(step) > 1})
    if twice:
        raise InputError(
            f"Steps must differ, one checkpoint each; repeated: {', '.join(map(str, twice))}."
        )


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse numbers that mean nothing before a model is loaded."""
    for name, least in (("k", 2), ("draws", 1), ("null_tokens", 1), ("batch_size", 1)):
        value = settings[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be a whole number of {least} or more, got {value!r}.")
    if not settings["margin"] > 0:
        raise InputError(f"margin must be above 0, got {settings['margin']}.")


def check_causal(model: ResidualModel, k: int) -> None:
    """Refuse a model without a next token, without layers to compare, or with too few outputs."""
    if not model.causal or model.reads != "text":
        raise ModelError(
            f"{model.name} does not predict the next token of a text, so its loss cannot be followed. Pass "
            "causal language models."
        )
    if model.n_layers < 2:
        raise ModelError(f"{model.name} has one block: every rank is fixed only at the last layer.")
    if k > model.n_outputs:
        raise InputError(f"Asked for the top k={k}; {model.name} has {model.n_outputs} outputs.")


def check_same(
    before: dict[str, Any] | None, own: dict[str, Any], step: int, rows: list[Checkpoint]
) -> dict[str, Any]:
    """What all checkpoints read, which must be the same tokens with the same outputs."""
    if before is None or before == own:
        return own
    first = rows[0].step
    for name, words in (("outputs", "a vocabulary of"), ("layers", "a number of blocks of")):
        if before[name] != own[name]:
            raise InputError(
                f"Checkpoints must be of one model; step {first} has {words} {before[name]}, step {step} of "
                f"{own[name]}."
            )
    raise InputError(
        f"The checkpoint of step {step} reads other tokens in the corpus ({own['tokens']:,}) than that of "
        f"step {first} ({before['tokens']:,}): give both the same tokenizer, or token ids as the corpus."
    )


@torch.no_grad()
def measure(
    model: ResidualModel, batches: Batches, step: int, weights: str, settings: dict[str, Any]
) -> Checkpoint:
    """One pass over the documents with one model: its row."""
    first = batches.first(settings["null_tokens"])
    chosen = np.unique([row.doc for row in first.rows])
    # A model at its start may give every token the same top-1: then nothing can be exchanged.
    nulls = EachNull(
        LogitLens(model), kinds=PATH_NULLS, draws=settings["draws"], seed=settings["seed"]
    )
    finder, parts, losses = Detector(model), [], []
    for batch in batches:
        if not batch.real.any():
            continue
        states = model.states(batch)
        events = finder.events(states, settings["k"])
        own = np.isin(events.doc, chosen)
        if own.any():
            rows = torch.from_numpy(own).to(states.resid.device)
            nulls.update(states.resid[:, rows], events[own])
        losses.append(next_losses(batch, states))
        parts.append(events)
    events = SaturationEvents.concat(parts)
    events = events[np.lexsort((events.pos, events.doc))]
    drawn = nulls.finish()
    seed = settings["seed"]
    order, covered = concordance(events, seed=seed), coverage(events, seed=seed)
    judged = judged_order(drawn, settings, nulls.missing)
    return Checkpoint(
        step=step, weights_sha256=weights, tokens=len(events), documents=events.n_docs,
        loss=mean_loss(np.concatenate(losses), seed),
        mean_layer=tuple(covered.mean_layer[i] for i in range(events.k)),
        censored=tuple(covered.censored[i] for i in range(events.k)),
        concordance=order.estimate, comparable=order.comparable,
        excess={kind: excess(one, seed=seed).estimate for kind, one in drawn.items()},
        verdict=judged.verdict, why=judged.why,
        rank_1=tuple((float(a), float(b)) for a, b in by_document(
            np.column_stack([events.layer[:, 0], np.ones(len(events))]), events.doc)),
    )  # fmt: skip


def judged_order(
    drawn: dict[str, NullDraws], settings: dict[str, Any], missing: dict[str, str]
) -> Verdict:
    """The verdict against the stricter path null; without one of them it cannot be told."""
    if missing:
        why = " ".join(
            f"The {kind} null could not be drawn: {why}" for kind, why in missing.items()
        )
        return Verdict(UNKNOWN, None, settings["margin"], why)
    return verdict(drawn, margin=settings["margin"], seed=settings["seed"])


def next_losses(batch: Batch, states: States) -> Float[ndarray, "n 2"]:
    """Document and -log p of the next token, of the positions that have one."""
    following = next_ids(batch)
    rows, nats = following >= 0, next_nats(states, following)
    return torch.stack([states.doc[rows].double(), nats[rows].double()], dim=1).cpu().numpy()


def mean_loss(losses: Float[ndarray, "n 2"], seed: int) -> Estimate:
    """Nats a token, with its interval over documents."""
    if not len(losses):
        raise InputError("No position of the corpus has a next token: give longer texts.")
    if not np.isfinite(losses).all():
        count = int((~np.isfinite(losses[:, 1])).sum())
        raise NumericsError(f"{count} next tokens have the probability 0 or NaN: no loss.")
    sums = by_document(
        np.column_stack([losses[:, 1], np.ones(len(losses))]), losses[:, 0].astype(np.int64)
    )
    return bootstrap(sums, lambda s: s[..., :1] / s[..., 1:], seed=seed)[0]
