"""Models of one size, several depths, trained for the same tokens: ``python -m satlens.theory.depth.grid``.

    size = 12 depth width^2 in the blocks: 4 width^2 of attention, 8 of the MLP

Each shape is trained by the script of the bundled model (`satlens.zoo.train`) on the same text with the same
tokenizer, settings and steps, then measured, and an untrained twin beside it, on the held-out documents
(`satlens.theory.depth.spent`). The embeddings are not counted and differ: a wide model has more of them.

    OUT/{depth}x{width}/seed{n}/      the training run, and measured.json once it is done

A stopped sweep goes on where it was. Done ones are only read.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from satlens.errors import InputError
from satlens.files import write_whole
from satlens.models import untrained, wrap
from satlens.theory.depth.beyond import beyond, by_shape
from satlens.theory.depth.limits import BLOCK_WEIGHTS
from satlens.theory.depth.spent import Spent, spent
from satlens.zoo.checkpoint import load_weights
from satlens.zoo.data import data_folder
from satlens.zoo.model import build_model
from satlens.zoo.settings import Settings, read_settings
from satlens.zoo.train import prepare, train

logger = logging.getLogger(__name__)

HEAD = 16
"""Width of a head; widths are multiples of it."""
MEASURED = "measured.json"
BASE = Settings(
    vocab=1024, context=128, batch=16, steps=600, warmup=50, decay=0.5, eval_every=300, snapshots=2,
    dropout=0.0, threads=1,
)  # fmt: skip
"""1.2 million tokens, less than one pass over the text, so that dropout is not needed."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """Depth and width; 8/3 of the width inside the gated MLP, as in Llama."""

    depth: int
    width: int

    @property
    def size(self) -> int:
        """Weights in the blocks, norms apart, as the formula counts them."""
        return BLOCK_WEIGHTS * self.depth * self.width**2

    def settings(self, base: Settings, seed: int) -> Settings:
        """Those of its training run."""
        return dataclasses.replace(
            base, layers=self.depth, hidden=self.width, heads=self.width // HEAD,
            intermediate=round(8 * self.width / 3), seed=seed,
        )  # fmt: skip


def shapes(size: int, depths: Sequence[int], tolerance: float = 0.1) -> list[Shape]:
    """The shapes of these depths whose size comes nearest to ``size``.

    Raises:
        InputError: a depth at which no multiple of 16 comes within ``tolerance`` of the size.

    Example:
        >>> [(one.depth, one.width) for one in shapes(2_400_000, (2, 8, 32))]
        [(2, 320), (8, 160), (32, 80)]
    """
    found = []
    for depth in depths:
        if depth < 1:
            raise InputError(f"A depth is 1 or more; got {depth}.")
        exact = (size / BLOCK_WEIGHTS / depth) ** 0.5
        one = Shape(depth, max(1, round(exact / HEAD)) * HEAD)
        if abs(one.size / size - 1) > tolerance:
            raise InputError(
                f"At depth {depth} the nearest width is {one.width}, which has {one.size:,} weights, not "
                f"{size:,} within {tolerance:.0%}. Choose another size or depth."
            )
        found.append(one)
    return found


def sweep(
    data: Path,
    out: Path,
    chosen: Sequence[Shape],
    *,
    seeds: Sequence[int] = (0,),
    base: Settings = BASE,
    minutes: float | None = None,
    documents: int | None = None,
) -> Iterator[tuple[Shape, int, Spent, Spent]]:
    """Train and measure each shape with each seed; yields (shape, seed, trained, untrained) as they are done.

    Args:
        data: the folder of the training script's two texts. out: where the runs are, kept to go on from.
        minutes: begin no training after this, and stop a running one; None for no limit.
        documents: held-out documents to measure on, of each text; None for all.

    Raises:
        InputError: ``out`` holds a run of other settings.
    """
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    for seed in seeds:
        for shape in chosen:
            folder = out / f"{shape.depth}x{shape.width}" / f"seed{seed}"
            settings = shape.settings(base, seed)
            left = None if deadline is None else (deadline - time.monotonic()) / 60
            if not (folder / MEASURED).is_file() and (left is None or left > 0):
                _run(data, folder, settings, left, documents)
            if (folder / MEASURED).is_file():
                yield shape, seed, *_read(folder, settings, documents)


def _run(
    data: Path, folder: Path, settings: Settings, minutes: float | None, documents: int | None
) -> None:
    """Train (or go on), and measure once the last step is done."""
    resume = (folder / "work" / "last.safetensors").is_file()
    if resume and read_settings(folder / "settings.json") != settings:
        raise InputError(
            f"{folder} holds a training run of other settings. Choose another --out, or remove it."
        )
    progress = train(data, folder, settings, resume=resume, minutes=minutes)
    if progress["step"] < settings.steps:
        logger.info("%s stopped at step %d of %d", folder, progress["step"], settings.steps)
        return
    host = build_model(settings)
    load_weights(host, folder / "work" / f"step_{settings.steps:06d}.safetensors")
    model = wrap(host.eval())
    _, _, held_out = prepare(data, folder, settings)
    ids = [one[:-1] for part in held_out.values() for one in part[:documents]]
    found = {
        name: spent(one, ids)
        for name, one in (("trained", model), ("untrained", untrained(model, settings.seed)))
    }
    said = {
        "settings": settings.to_dict(), "documents": documents, "seconds": progress["seconds"],
        **{name: one.to_dict() for name, one in found.items()},
    }  # fmt: skip
    write_whole(folder / MEASURED, json.dumps(said))


def _read(folder: Path, settings: Settings, documents: int | None) -> tuple[Spent, Spent]:
    said = json.loads((folder / MEASURED).read_text(encoding="utf-8"))
    if Settings(**said["settings"]) != settings or said["documents"] != documents:
        raise InputError(
            f"{folder / MEASURED} was measured with other settings. Choose another --out, or remove it."
        )
    name = f"{settings.layers} x {settings.hidden}, seed {settings.seed}"
    trained, fresh = (Spent.from_dict(said[part]) for part in ("trained", "untrained"))
    return dataclasses.replace(trained, name=name), dataclasses.replace(
        fresh, name=f"{name}, untrained"
    )


def summary(rows: Sequence[tuple[Shape, int, Spent, Spent]]) -> dict[str, Any]:
    """By seed: a record a model, and for ranks 1 and 5 whether depth beyond the limit is spent after."""
    said: dict[str, Any] = {}
    for seed in dict.fromkeys(seed for _, seed, _, _ in rows):
        here = [(trained, fresh) for _, one, trained, fresh in rows if one == seed]
        said[str(seed)] = {
            part: {
                "models": by_shape(models).to_dict("records"),
                "beyond": [dataclasses.asdict(beyond(models, rank=rank)) for rank in (1, 5)],
            }
            for part, models in zip(("trained", "untrained"), zip(*here, strict=True), strict=True)
        }
    return said


def main(arguments: list[str] | None = None) -> None:
    """Entry point: sweep, print the table, write ``OUT/depth.json``."""
    parser = argparse.ArgumentParser(
        prog="python -m satlens.theory.depth.grid", description=__doc__
    )
    parser.add_argument("--data", default=None, help="folder of the two text files")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the runs, kept to go on from"
    )
    parser.add_argument("--size", type=int, default=1_200_000, help="weights in the blocks")
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 4, 6, 8, 16, 24])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=BASE.steps)
    parser.add_argument("--documents", type=int, default=40, help="held-out documents of each text")
    parser.add_argument(
        "--minutes", type=float, default=None, help="stop, to go on later, after this"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    base = dataclasses.replace(BASE, steps=options.steps)
    rows = list(
        sweep(
            data_folder(options.data, base), options.out, shapes(options.size, options.depths),
            seeds=options.seeds, base=base, minutes=options.minutes, documents=options.documents,
        )
    )  # fmt: skip
    if not rows:
        logger.info("nothing is done yet; run it again to go on")
        return
    said = {"base": base.to_dict(), "size": options.size, "seeds": summary(rows)}
    write_whole(options.out / "depth.json", json.dumps(said, indent=1) + "\n")
    lines = [
        by_shape([one for _, _, *pair in rows for one in pair]).round(3).to_string(index=False)
    ]
    for seed, parts in said["seeds"].items():
        for part, found in parts.items():
            for one in found["beyond"]:
                lines.append(
                    f"seed {seed}, {part}, rank {one['rank']}: {one['verdict']}. {one['why']}"
                )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
