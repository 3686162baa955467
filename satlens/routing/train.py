"""Training gates: together with their model, or alone on a model that stays as it is.

    loss = task + lambda mean(1 - p),        the mean over routers and tokens, p soft

AdamW (0.9, 0.95), weight decay 0.1 on matrices, the learning rate along a cosine down to a tenth, gradients
clipped to norm 1. Gates alone on a frozen model ask where that model would skip. On a GPU products are taken
in bfloat16; weights and their updates stay in float32.

A step's rows and its dropout come from the seed and the number of the step, so a run that was stopped and
goes on ends with the weights of one that was not, bit for bit on the CPU with the same number of threads.

Source: Mohammed, arXiv 2605.05222 (settings); lambda is the weight of the penalty on tokens that run.
"""

import json
import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from tqdm import tqdm

from satlens.errors import InputError, ModelError, NumericsError, OutputError
from satlens.models.protocol import ResidualModel
from satlens.routing.examples import Examples, Source, fingerprint, scores
from satlens.routing.gates import TokenGates
from satlens.zoo.checkpoint import load_state, save_state

CHECKPOINT = "training.safetensors"


@dataclass(frozen=True)
class TrainSettings:
    """How gates, and their model with them, are trained.

    Attributes:
        steps: updates in all; the schedule runs over them.
        penalty: lambda, the weight of mean(1 - p). 0 asks for no skipping.
        joint: train the model too; False: the gates alone.
        lr: at the start; ``final_lr`` is the share of it that is left at the end.
        warmup: steps in which the rate rises in a straight line first.
        save_every: steps between checkpoints, where there is a folder.
        log_every: steps between rows of the history.

    Raises:
        InputError: numbers that mean nothing.
    """

    steps: int
    penalty: float = 0.01
    joint: bool = True
    lr: float = 3e-4
    final_lr: float = 0.1
    warmup: int = 0
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 0
    save_every: int = 200
    log_every: int = 50

    def __post_init__(self) -> None:
        wrong = [
            f"{name}={getattr(self, name)}"
            for name, least in [("steps", 1), ("save_every", 1), ("log_every", 1), ("warmup", 0)]
            if getattr(self, name) < least
        ]
        for name in ("penalty", "lr", "final_lr", "weight_decay", "clip"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                wrong.append(f"{name}={value}")
        if wrong or self.lr == 0 or self.clip == 0:
            raise InputError(
                f"TrainSettings wants steps, save_every and log_every of 1 or more, a clip and lr above 0, "
                f"and no negative numbers; got {', '.join(wrong) or f'lr={self.lr}, clip={self.clip}'}."
            )

    def rate(self, step: int) -> float:
        """Learning rate of a step.

        >>> [round(TrainSettings(100, lr=1.0).rate(step), 3) for step in (0, 50, 100)]
        [1.0, 0.55, 0.1]
        """
        cosine = (1 + math.cos(math.pi * min(1.0, step / self.steps))) / 2
        rising = min(1.0, (step + 1) / max(1, self.warmup))
        return self.lr * rising * (self.final_lr + (1 - self.final_lr) * cosine)


@dataclass(frozen=True)
class Training:
    """What a run came to.

    Attributes:
        step: updates made, ``settings.steps`` once it is done.
        history: every ``log_every`` steps the step, the task's loss in nats, and the active share.
    """

    step: int
    history: tuple[dict[str, float], ...]
    settings: TrainSettings

    @property
    def done(self) -> bool:
        """Whether every step was made."""
        return self.step >= self.settings.steps


def train_gates(
    gates: TokenGates,
    source: Source,
    settings: TrainSettings,
    *,
    folder: str | Path | None = None,
    stop_at: int | None = None,
    progress: bool = False,
) -> Training:
    """Train gates (and their model, with ``settings.joint``) in place.

    Args:
        gates: on their model.
        source: the rows of each step, a function of the step alone (`crops`, or the tasks).
        folder: where checkpoints go. One that is there already is gone on from.
        stop_at: stop after this step, to go on another time.

    Raises:
        ModelError: a model that cannot be trained so. NumericsError: a loss that is not finite.
        OutputError: a folder with a run of other settings or data.

    Example:
        >>> import satlens
        >>> gates = TokenGates(satlens.load_model("tiny"))
        >>> from satlens.routing import crops
        >>> source = crops(torch.arange(4000) % 500, batch_size=1, context=8)
        >>> train_gates(gates, source, TrainSettings(2, joint=False)).step
        2
    """
    return train(gates.model, gates, source, settings, folder, stop_at, progress)


def train_without_gates(
    model: ResidualModel,
    source: Source,
    settings: TrainSettings,
    *,
    folder: str | Path | None = None,
    stop_at: int | None = None,
    progress: bool = False,
) -> Training:
    """The baseline: the same training of the model alone (see `train_gates`)."""
    if not settings.joint:
        raise InputError("Without gates and with joint=False there is nothing to train.")
    return train(model, None, source, settings, folder, stop_at, progress)


def train(
    model: ResidualModel,
    gates: TokenGates | None,
    source: Source,
    settings: TrainSettings,
    folder: str | Path | None,
    stop_at: int | None,
    progress: bool,
) -> Training:
    """Both of the above."""
    trained = nn.ModuleDict({"gates": gates} if gates is not None else {})
    if settings.joint:
        check_float32(model)
        trained["host"] = model.host
    said = {"settings": asdict(settings), "source": fingerprint(source), "gated": gates is not None}
    path = None if folder is None else Path(folder, CHECKPOINT)
    end = min(settings.steps, settings.steps if stop_at is None else stop_at)
    with prepared(model, settings), torch.random.fork_rng(devices=cuda_devices(model)):
        optimizer = make_optimizer(trained, settings)
        meta: dict[str, Any] = {**said, "step": 0, "history": []}
        if path is not None and path.is_file():
            meta = resumed(trained, optimizer, path, said)
        steps = tqdm(
            range(meta["step"], end), desc=f"train, {model.name}", disable=not progress,
            initial=meta["step"], total=settings.steps,
        )  # fmt: skip
        for step in steps:
            row = update(model, gates, trained, optimizer, source(step), settings, step)
            meta["step"] = step + 1
            if (step + 1) % settings.log_every == 0 or step + 1 == settings.steps:
                meta["history"].append({"step": step + 1, **row})
            due = (step + 1) % settings.save_every == 0 or step + 1 == end
            if path is not None and due:
                save_state(trained, [optimizer], meta, path)
    return Training(meta["step"], tuple(meta["history"]), settings)


def resumed(
    trained: nn.Module, optimizer: torch.optim.Optimizer, path: Path, said: dict[str, Any]
) -> dict[str, Any]:
    """The state of a stopped run, put back; refused, before anything is changed, if it is another run."""
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["meta"])
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise OutputError(f"{path} is no checkpoint ({error}). Use another folder.") from error
    other = [name for name in said if meta.get(name) != said[name]]
    if other:
        raise OutputError(
            f"{path} is of a run with other {', '.join(other)}: it has "
            f"{ {name: meta.get(name) for name in other} }, asked was "
            f"{ {name: said[name] for name in other} }. Use another folder."
        )
    load_state(trained, [optimizer], path)
    return meta


def update(
    model: ResidualModel,
    gates: TokenGates | None,
    trained: nn.Module,
    optimizer: torch.optim.Optimizer,
    examples: Examples,
    settings: TrainSettings,
    step: int,
) -> dict[str, float]:
    """One step; gives the task's loss and the active share."""
    torch.manual_seed(settings.seed * 1_000_003 + step)  # the masks of dropout
    for group in optimizer.param_groups:
        group["lr"] = settings.rate(step)
    optimizer.zero_grad(set_to_none=True)
    task, active = losses(model, gates, examples)
    loss = task if active is None else task + settings.penalty * active
    if not math.isfinite(float(loss.detach())):
        raise NumericsError(
            f"The loss is {float(loss.detach())} at step {step}: lower lr (now {settings.lr}), or look for "
            "NaN in the weights."
        )
    loss.backward()
    nn.utils.clip_grad_norm_(trained.parameters(), settings.clip)
    optimizer.step()
    return {
        "loss": float(task.detach()),
        "active": 1.0 if active is None else float(active.detach()),
    }


def losses(
    model: ResidualModel, gates: TokenGates | None, examples: Examples
) -> tuple[Tensor, Tensor | None]:
    """Mean loss over the scored positions, and mean(1 - p) over routers and tokens."""
    if examples.n_scored == 0:
        raise InputError("A batch without a single target: there is no loss to train by.")
    batch = examples.batch(model)
    precision = torch.autocast(model.device.type, torch.bfloat16, model.device.type == "cuda")
    with precision:
        if gates is None:
            logits, active = model.forward(batch), None
        else:
            with gates.attached("soft") as run:
                logits = model.forward(batch)
            active = run.active[:, batch.real].mean()
    return scores(logits, examples)[0].sum() / examples.n_scored, active


def make_optimizer(trained: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW; norms and biases are not decayed, so that b2 is not drawn to p = 1/2."""
    parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.95))


@contextmanager
def prepared(model: ResidualModel, settings: TrainSettings) -> Generator[None, None, None]:
    """The host in training mode, or frozen; afterwards in evaluation mode, as it was."""
    host = model.host
    flags = [(parameter, parameter.requires_grad) for parameter in host.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(settings.joint)
        host.train(settings.joint)
        yield
    finally:
        host.eval()
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
            parameter.grad = None


def check_float32(model: ResidualModel) -> None:
    """Updates of a learning rate of 1e-4 vanish in bfloat16."""
    kinds = {parameter.dtype for parameter in model.host.parameters()}
    if kinds - {torch.float32, torch.float64}:
        raise ModelError(
            f"{model.name} has weights in {', '.join(sorted(map(str, kinds)))}; train it in float32 "
            "(model.float()), or its gates alone (joint=False)."
        )


def cuda_devices(model: ResidualModel) -> list[int]:
    """Devices whose random state is put back afterwards."""
    return [model.device.index or 0] if model.device.type == "cuda" else []
