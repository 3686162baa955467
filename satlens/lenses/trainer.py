"""`TunedLensTrainer`: trains a tuned lens batch by batch, and goes on where it was stopped.

    loss_l = mean over tokens of KL(p_final || softmax r(h_l + A_l h_l + b_l)),        l = 0 .. L - 2

The layers share nothing, so one layer's scores exist at a time. Adam; within one run of ``fit`` the step
size falls from ``lr`` to 0 in a straight line. The order of the batches is a function of the seed and the
epoch, the choice of tokens of the seed and the step: a run that resumes takes the same steps.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError, NumericsError
from satlens.lenses.agreement import FullOutput
from satlens.lenses.documents import inputs_sha256
from satlens.lenses.identity import ModelIdentity
from satlens.lenses.stored import array_of, described, tensor_of, versions, wanted
from satlens.lenses.tuned import TunedLens, translated
from satlens.models import Batches, wrap
from satlens.models.protocol import Batch, States
from satlens.storage import Stored, names

STORED = Stored("satlens.TunedLensTrainer/1", "checkpoint", "TunedLensTrainer.save")
LR = 0.4
"""Step size of Adam at the start, in units of 1 / d. Measured on tiny (d = 128), KL to the final output on
held-out documents after 100 steps of 256 tokens, mean over layers: 0.75 with lr 0.001, 0.70
with 0.003, 0.73 with 0.01."""
ROWS = 512
"""Tokens whose scores of one layer exist at a time."""


class TunedLensTrainer:
    """Learns a tuned lens; `lens` gives a frozen one at any time.

    Args:
        model: anything that `satlens.wrap` takes; its weights are not touched.
        lr: step size of Adam; ``0.4 / d`` if not given (a step moves a coordinate by d times its size).
        tokens: at most this many tokens of each batch, drawn at random; None for all. A step costs
            L - 1 readouts forwards and backwards for each of them.
        seed: of the order of the batches and of the choice of tokens.

    Attributes:
        steps: optimiser steps taken.
        losses: KL of each layer in the last step, in nats, before it.

    Source: Belrose et al. 2023, section 3 (there by SGD).

    Example:
        >>> import satlens
        >>> trainer = satlens.lenses.TunedLensTrainer(satlens.load_model("tiny"), tokens=16)
        >>> _ = trainer.fit(["Lily had a red ball.", "Tom saw a big dog."], epochs=3, batch_size=2)
        >>> trainer.steps, trainer.lens().name
        (3, 'tuned')
    """

    def __init__(
        self,
        model: Any,
        *,
        lr: float | None = None,
        tokens: int | None = None,
        seed: int = DEFAULT_SEED,
    ) -> None:
        self.model = wrap(model)
        lr = LR / self.model.d_model if lr is None else lr
        _check(lr, tokens)
        if self.model.n_layers < 2:
            raise InputError(f"{self.model.name} has one block: there is no layer to translate.")
        self.lr, self.tokens, self.seed = lr, tokens, seed
        self.identity = ModelIdentity.of(self.model)
        layers, d = self.model.n_layers - 1, self.model.d_model
        kind = torch.promote_types(next(self.model.host.parameters()).dtype, torch.float32)
        self.weight = torch.zeros(layers, d, d, dtype=kind, device=self.model.device)
        self.bias = torch.zeros(layers, d, dtype=kind, device=self.model.device)
        self.optimizer = torch.optim.Adam([self.weight, self.bias], lr=lr)
        self.steps = 0
        self.losses: Float[Tensor, " layer"] | None = None
        self._run: dict[str, Any] | None = None

    @torch.no_grad()
    def step(self, states: States, lr: float | None = None) -> Float[Tensor, " layer"]:
        """One optimiser step on the states of one batch; gives the loss of each layer before it.

        Raises:
            NumericsError: a loss that is not finite; nothing is changed then.
        """
        keep = self._tokens(len(states.pos)).to(states.resid.device)
        resid = states.resid[:, keep]
        grads = [torch.zeros_like(self.weight), torch.zeros_like(self.bias)]
        losses = torch.zeros(len(self.weight), dtype=torch.float64)
        for start in range(0, len(keep), ROWS):
            part = resid[:, start : start + ROWS]
            final = FullOutput.of(self.model.readout(part[-1]))
            share = part.shape[1] / len(keep)
            for layer in range(len(self.weight)):
                loss, *grad = self._gradients(part[layer], layer, final)
                losses[layer] += share * loss
                for total, one in zip(grads, grad, strict=True):
                    total[layer] += share * one
        if not bool(losses.isfinite().all()):
            raise NumericsError(
                f"The loss of a tuned lens is {losses.tolist()} at step {self.steps}: the model overflows in "
                f"this precision, or lr={self.lr} is too large. Nothing was changed in this step."
            )
        self.weight.grad, self.bias.grad = grads
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr if lr is None else lr
        self.optimizer.step()
        self.steps, self.losses = self.steps + 1, losses
        return losses

    @torch.enable_grad()
    def _gradients(
        self, resid: Float[Tensor, "token d"], layer: int, final: FullOutput
    ) -> tuple[float, Tensor, Tensor]:
        weight = self.weight[layer].detach().requires_grad_()
        bias = self.bias[layer].detach().requires_grad_()
        z = self.model.readout(translated(resid.detach(), weight, bias)).to(final.p)
        # sum p log (p / q) = sum p log p - sum p z + log sum exp z
        kl = z.logsumexp(-1) - (final.p * z).sum(-1)
        of_weight, of_bias = torch.autograd.grad(kl.mean(), (weight, bias))
        loss = float(final.certainty.mean()) + float(kl.detach().cpu().double().mean())
        return loss, of_weight, of_bias

    def _tokens(self, n: int) -> Int[Tensor, " chosen"]:
        if self.tokens is None or n <= self.tokens:
            return torch.arange(n)
        chosen = np.random.default_rng([self.seed, 1, self.steps]).permutation(n)[: self.tokens]
        return torch.from_numpy(np.sort(chosen))

    def fit(
        self,
        inputs: Any,
        *,
        epochs: int = 1,
        steps: int | None = None,
        batch_size: int = 8,
        include_bos: bool = False,
        checkpoint: str | Path | None = None,
        every: int = 100,
        progress: bool = False,
    ) -> "TunedLensTrainer":
        """Train over the inputs; goes on with a run that was stopped, if it was of the same inputs.

        Args:
            inputs: as in `satlens.detect`, or `Batches` made before.
            epochs: passes over them.
            steps: batches to read in place of that, in as many passes as it takes.
            checkpoint: where `save` is called every ``every`` steps and at the end.

        Raises:
            InputError: unusable inputs, or a run of other inputs or settings is not finished.
        """
        batches = (
            inputs
            if isinstance(inputs, Batches)
            else self.model.batches(inputs, batch_size, include_bos)
        )
        for name, value in (
            ("epochs", epochs),
            ("every", every),
            ("steps", 1 if steps is None else steps),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, got {value!r}.")
        total = epochs * len(batches) if steps is None else steps
        run = self._start(batches, total)
        with tqdm(
            total=total, initial=run["done"], desc=f"tune, {self.model.name}",
            unit=" steps", disable=not progress,
        ) as bar:  # fmt: skip
            for batch in self._rest(batches, total, run["done"]):
                if batch.real.any():
                    states = self.model.states(batch, logits=False)
                    self.step(states, self.lr * (1 - run["done"] / total))
                run["done"] += 1
                bar.update()
                if checkpoint is not None and run["done"] % every == 0:
                    self.save(checkpoint)
        if checkpoint is not None:
            self.save(checkpoint)
        return self

    def _start(self, batches: Batches, total: int) -> dict[str, Any]:
        """A new run, or the rest of one that was stopped."""
        asked = {"inputs_sha256": inputs_sha256(batches), "total": total}
        run = self._run
        if run is None or run["done"] >= run["total"]:
            self._run = run = {**asked, "done": 0}
            return run
        for name, value in asked.items():
            if run[name] != value:
                raise InputError(
                    f"A run of training was stopped after {run['done']} of {run['total']} "
                    f"steps, and its {name} was {run[name]}; now it is {value}. Go on with the "
                    "inputs and settings it began with, or make a new trainer."
                )
        return run

    def _rest(self, batches: Batches, total: int, first: int) -> Iterator[Batch]:
        """The batches that are left, each epoch in an order of its own."""
        rows, size = sorted(batches.rows, key=len, reverse=True), batches.batch_size
        n = len(batches)
        for epoch in range(first // n, -(-total // n)):
            order = np.random.default_rng([self.seed, 0, epoch]).permutation(n).tolist()
            start = epoch * n
            for index in order[max(first - start, 0) : total - start]:
                yield batches.collate(rows[index * size : (index + 1) * size])

    def lens(self) -> TunedLens:
        """The translators as they are now, frozen."""
        settings = {
            "lr": self.lr, "tokens": self.tokens, "seed": self.seed, "steps": self.steps,
            "losses": None if self.losses is None else self.losses.tolist(),
            "run": None if self._run is None else dict(self._run),
        }  # fmt: skip
        return TunedLens(
            self.model, self.weight.clone(), self.bias.clone(), settings, identity=self.identity
        )

    def save(self, path: str | Path) -> None:
        """Write a checkpoint: ``path.safetensors`` and ``path.json``, each complete or not at all.

        Raises:
            OutputError: the files cannot be written.
        """
        arrays = {name: array_of(tensor) for name, tensor in self._tensors().items()}
        said = {
            "model": self.identity.to_dict(), "lr": self.lr, "tokens": self.tokens,
            "seed": self.seed, "steps": self.steps, "run": self._run,
            "losses": None if self.losses is None else self.losses.tolist(),
            "tensors": described(arrays), "versions": versions(),
        }  # fmt: skip
        STORED.save(path, arrays, said)

    @staticmethod
    def resume(path: str | Path, model: Any) -> "TunedLensTrainer":
        """The trainer as `save` left it; call ``fit`` with the same inputs to go on.

        Raises:
            InputError: another model, or files that were changed, cut short or are not there.
        """
        model = wrap(model)
        said, raw = STORED.read(path)
        ModelIdentity(**said["model"]).check(model, f"The checkpoint {names(path)[1]}")
        arrays = STORED.arrays(path, raw, wanted(said["tensors"]))
        trainer = TunedLensTrainer(model, lr=said["lr"], tokens=said["tokens"], seed=said["seed"])
        trainer.steps, trainer._run = said["steps"], said["run"]
        if said["losses"] is not None:
            trainer.losses = torch.tensor(said["losses"], dtype=torch.float64)
        trainer.weight.copy_(tensor_of(arrays["weight"], model))
        trainer.bias.copy_(tensor_of(arrays["bias"], model))
        for name, parameter in (("weight", trainer.weight), ("bias", trainer.bias)):
            own = {
                key: torch.from_numpy(arrays[f"{name}.{key}"])
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{name}.{key}" in arrays
            }
            if own:
                moved = {key: own[key].to(parameter) for key in ("exp_avg", "exp_avg_sq")}
                trainer.optimizer.state[parameter] = {"step": own["step"], **moved}
        return trainer

    def _tensors(self) -> dict[str, Tensor]:
        """All numbers that the next step depends on."""
        tensors = {"weight": self.weight, "bias": self.bias}
        for name, parameter in list(tensors.items()):
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{name}.{key}"] = value
        return tensors


def _check(lr: float, tokens: int | None) -> None:
    if isinstance(lr, bool) or not 0 < lr < float("inf"):
        raise InputError(f"lr must be above 0, got {lr!r}.")
    if tokens is not None and (
        isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1
    ):
        raise InputError(f"tokens must be a whole number of at least 1, or None; got {tokens!r}.")
