"""Token-Selective Attention again: ``python -m satlens.routing.reproduce --task copy --out DIR``.

For every seed a model without gates, and for every seed and lambda one with gates, trained in the same way
on the same rows; each is measured on rows that no training sees. Beside them the published figures, early
exit of the model without gates at the same number of blocks, and skipping at random. A run that was stopped
goes on: done runs are read, begun ones resumed. Writes ``DIR/TASK-SIZE.json`` and a folder a run.

    size        copy, sort                      characters
    small       6 blocks of width 64            6 blocks of width 64, 64 characters
    published   6 blocks of width 128           6 blocks of width 256, 8 heads, 128 characters (enwik8: 256)
"""

import argparse
import dataclasses
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from satlens.errors import InputError, OutputError
from satlens.files import write_whole
from satlens.models.protocol import ResidualModel
from satlens.routing.early_exit import blocks_used, matched_early_exit
from satlens.routing.evaluate import evaluate_gates, evaluate_without_gates
from satlens.routing.examples import Examples, Source, crops, pieces
from satlens.routing.gates import TokenGates
from satlens.routing.tasks import FIRST, TOYS, characters, fresh_model, held_out, toy
from satlens.routing.train import TrainSettings, train_gates, train_without_gates
from satlens.version import __version__

logger = logging.getLogger("satlens")

TASKS = (*TOYS, "shakespeare", "enwik8")
PUBLISHED: dict[str, dict[str, float]] = {
    "copy": {"base": 1.0, "routed": 1.0, "saved": 0.549},
    "sort": {"base": 0.9915, "routed": 0.9878, "saved": 0.225},
    "shakespeare": {"base": 1.4422, "routed": 1.4482, "saved": 0.228},
    "enwik8": {"base": 1.2826, "routed": 1.2774, "saved": 0.139},
}
"""Accuracy (copy, sort) or loss, soft gates, one seed: arXiv 2605.05222."""


@dataclasses.dataclass(frozen=True)
class Size:
    """Shape of the model and of its training.

    Attributes:
        length, symbols: of copy and sort; ``context`` follows from the length there.
        rows: held-out rows.
    """

    width: int
    layers: int = 6
    heads: int = 4
    context: int = 64
    batch_size: int = 32
    steps: int = 1500
    length: int = 12
    symbols: int = 20
    dropout: float = 0.1
    lr: float = 3e-4
    warmup: int = 0
    rows: int = 256


SIZES = {
    ("toy", "small"): Size(
        64,
        batch_size=16,
        steps=1000,
        length=8,
        symbols=10,
        lr=2e-3,
        warmup=50,
        dropout=0.0,
        rows=512,
    ),
    ("toy", "published"): Size(128, batch_size=64, steps=5000, length=16, symbols=30),
    ("text", "small"): Size(64, batch_size=16, lr=1e-3),
    ("text", "published"): Size(256, heads=8, context=128, batch_size=64, steps=5000, rows=512),
}
PENALTIES = (0.0, 0.01, 0.1)


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """Everything a run needs: fresh models, rows to train on, rows to choose by, rows to measure on."""

    name: str
    size: Size
    vocabulary: int
    source: Any
    chosen: list[Examples]
    rows: list[Examples]
    classes: Any = None

    def model(self, seed: int) -> ResidualModel:
        """A fresh model."""
        return fresh_model(
            self.vocabulary, width=self.size.width, layers=self.size.layers, heads=self.size.heads,
            context=self.context, dropout=self.size.dropout, seed=seed,
        )  # fmt: skip

    @property
    def context(self) -> int:
        """Tokens of a row."""
        return 2 * self.size.length + 1 if self.name in TOYS else self.size.context

    def training(self, seed: int) -> Source:
        """The rows of a seed's training."""
        return self.source(seed)


def task_of(name: str, size: Size, text: str | None = None) -> Task:
    """A task at a size.

    Raises:
        InputError: an unknown task, or no text for one that reads a text.
    """
    batches = max(1, size.rows // size.batch_size)
    if name in TOYS:

        def source(seed: int) -> Source:
            return toy(
                name, size.batch_size, length=size.length, symbols=size.symbols, seed=seed + 1
            )

        other = toy(name, size.batch_size, length=size.length, symbols=size.symbols, seed=0)
        rows = held_out(other, 2 * batches)
        return Task(name, size, size.symbols + FIRST, source, rows[:batches], rows[batches:])
    if name not in TASKS:
        raise InputError(f"The tasks are {', '.join(TASKS)}; got {name!r}.")
    if text is None:
        raise InputError(f"{name} reads a text, which is not bundled: --text FILE.")
    read = characters(text, as_bytes=name == "enwik8")
    cut = len(read.test) // 2  # the threshold of early exit is chosen on the first half

    def crop(seed: int) -> Source:
        return crops(read.train, size.batch_size, size.context, seed)

    chosen, rows = (
        pieces(part, size.batch_size, size.context, size.rows)
        for part in (read.test[:cut], read.test[cut:])
    )
    return Task(name, size, len(read.vocabulary), crop, chosen, rows, read.classes)


def run(
    task: Task, seed: int, penalty: float | None, folder: Path, progress: bool = False
) -> dict[str, Any]:
    """One run, trained, measured and kept; read if it is there already. ``penalty=None``: without gates."""
    name = f"base-seed{seed}" if penalty is None else f"lambda{penalty:g}-seed{seed}"
    place = folder / name
    size = task.size
    settings = TrainSettings(
        size.steps, penalty or 0.0, lr=size.lr, warmup=size.warmup, seed=seed, save_every=250
    )
    said: dict[str, Any] = {
        "size": dataclasses.asdict(size),
        "seed": seed,
        "penalty": penalty,
        "version": __version__,
    }
    if penalty is None:
        said["early_exit_for"] = sorted(routed_runs(folder, seed))
    done = read_result(place, said)
    if done is not None:
        return done
    began = time.monotonic()
    model, source = task.model(seed), task.training(seed)
    if penalty is None:
        history = train_without_gates(model, source, settings, folder=place, progress=progress)
        measured = evaluate_without_gates(model, task.rows).to_dict()
        matched = early_exits(task, model, folder, seed)
    else:
        gates = TokenGates(model, seed=seed)
        history = train_gates(gates, source, settings, folder=place, progress=progress)
        measured = evaluate_gates(gates, task.rows, classes=task.classes).to_dict()
        matched = None
    result = {
        **said, "task": task.name, "measured": measured, "history": list(history.history),
        "model_parameters": sum(p.numel() for p in model.host.parameters()),
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    if matched is not None:
        result["early_exit"] = matched
    write_whole(place / "result.json", json.dumps(result, indent=1) + "\n")
    logger.info("%s %s: %.0f s", task.name, name, result["seconds"])
    return result


def early_exits(task: Task, model: ResidualModel, folder: Path, seed: int) -> dict[str, Any]:
    """Early exit of the model without gates, at the cost of every routed run of this seed that is done."""
    found = {}
    for penalty, routed in sorted(routed_runs(folder, seed).items()):
        active = routed["measured"]["hard"]["active"]["value"]
        one = matched_early_exit(
            model, blocks_used(active, task.size.layers), task.chosen, task.rows
        )
        found[penalty] = {
            "loss": one.loss.to_dict(), "accuracy": one.accuracy.to_dict(), "saved": one.saved,
            "blocks": one.blocks.to_dict(), "threshold": min(one.threshold, 2.0),
        }  # fmt: skip
    return found


def routed_runs(folder: Path, seed: int) -> dict[str, dict[str, Any]]:
    """The routed runs of a seed that are done, by lambda."""
    paths = folder.glob(f"lambda*-seed{seed}/result.json")
    every = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return {f"{routed['penalty']:g}": routed for routed in every}


def read_result(place: Path, said: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a run that is done; refused if it was made otherwise."""
    path = place / "result.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    other = [name for name, value in said.items() if found.get(name) != value]
    if other:
        raise OutputError(f"{path} was made with other {', '.join(other)}. Use another --out.")
    return found


def reproduce(
    task: Task,
    label: str,
    out: Path,
    seeds: Sequence[int],
    penalties: Sequence[float],
    progress: bool = False,
) -> dict[str, Any]:
    """Every seed with every lambda and without gates; writes the summary and gives it."""
    folder = out / label
    runs = []
    for seed in seeds:
        runs += [run(task, seed, penalty, folder, progress) for penalty in penalties]
        runs.append(run(task, seed, None, folder, progress))
    summary = {
        "task": task.name, "label": label, "published": PUBLISHED[task.name],
        "size": dataclasses.asdict(task.size), "seeds": list(seeds), "penalties": list(penalties),
        "versions": {"satlens": __version__, "torch": torch.__version__},
        "threads": torch.get_num_threads(), "runs": runs,
    }  # fmt: skip
    write_whole(out / f"{label}.json", json.dumps(summary, indent=1) + "\n")
    return summary


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m satlens.routing.reproduce", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write to, and to go on in"
    )
    parser.add_argument("--size", choices=("small", "published"), default="small")
    parser.add_argument("--text", default=None, help="the text file of shakespeare or enwik8")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--penalties", type=float, nargs="+", default=list(PENALTIES))
    parser.add_argument(
        "--steps", type=int, default=None, help="updates a run, if not the size's own"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(given.threads)
    size = SIZES["toy" if given.task in TOYS else "text", given.size]
    if given.task == "enwik8" and given.size == "published":
        size = dataclasses.replace(size, context=256)
    label = f"{given.task}-{given.size}"
    if given.steps is not None:
        size, label = dataclasses.replace(size, steps=given.steps), f"{label}-{given.steps}"
    task = task_of(given.task, size, given.text)
    reproduce(task, label, given.out, given.seeds, given.penalties, progress=not given.quiet)


if __name__ == "__main__":
    main()
