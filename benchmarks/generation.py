"""Tokens per second of satlens.exits.generate: with exits, without, and beside transformers.

    python -m benchmarks.generation [SHAPE] [--rounds 5] [--new 64] [--batches 1 4] [--cache FOLDER]
    python -m benchmarks.generation --table      writes benchmarks/results/generation.md from what is kept

One thread, CPU time, all rows in turn in every round. A row's speed is the seconds of the plain loop in the
same round over its own: once of the loop with its exact low-precision head, once with a float32 unembedding.
Everything of a call counts: reading the prompts (16 tokens and a few more) and what is built for the call.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import satlens
from benchmarks import models, table
from benchmarks.machine import machine, today, versions
from benchmarks.peers import RESULTS
from benchmarks.timing import Others
from satlens.exits import Peek, SoftmaxResponse, StageExit
from satlens.exits.generation.generate import generate
from satlens.files import write_whole
from satlens.models import fast_linears
from satlens.survey.work import on_threads

PROMPT = 16
TITLES = {
    "float": "plain loop, unembedding in float32",
    "plain": "plain loop",
    "never": "probe after every block, nothing leaves",
    "half": "probe, every token leaves after half of the blocks",
    "half_float": "the same, unembedding in float32",
    "spread": "probe, tokens leave after a quarter to three quarters of the blocks, half on average",
    "softmax": "softmax response after every block, every token leaves after half of them",
    "hf": "transformers' generate",
}


@dataclass
class Looking:
    """A policy that looks as ``look`` does and leaves where it is told, by position.

    What its probe says does not matter for the time that it takes.
    """

    look: Any
    layer_at: np.ndarray
    name: str = "looking"

    def __call__(self, peek: Peek) -> Tensor:
        """Which tokens have come to their layer."""
        seen = self.look.signal(peek) >= torch.inf
        told = torch.from_numpy(self.layer_at[peek.pos.numpy()])
        return seen | (told <= peek.layer)


def probe(width: int) -> StageExit:
    """A stage probe of 5 stages, sure that the first one goes on; its other weights do not matter."""
    draw = np.random.default_rng(0)
    stage = draw.integers(1, 6, 400)
    fitted = satlens.StageProbe().fit(draw.normal(size=(400, width)) + stage[:, None], stage)
    fitted.intercept_[..., 0] += 1e6
    return StageExit(fitted)


def policies(layers: int, width: int, length: int) -> dict[str, Any]:
    """The policies of the rows, by name of the row."""
    look, draw = probe(width), np.random.default_rng(1)
    half = np.full(length, layers // 2 - 1)
    around = np.arange(layers // 4, layers - layers // 4 + 1) - 1  # blocks L/4 .. 3L/4, less one
    return {
        "float": None,
        "plain": None,
        "never": look,
        "half": Looking(look, half),
        "half_float": Looking(look, half),
        "spread": Looking(look, draw.permutation(np.resize(around, length))),
        "softmax": Looking(SoftmaxResponse(1.0), half),
    }


def calls(
    model: Any, prompts: list[list[int]], new: int, layers: int, width: int
) -> dict[str, Callable[[], Any]]:
    """Each row as a call without arguments that gives its tokens and blocks."""
    wrapped = satlens.wrap(model)
    asked = dict(max_new_tokens=new, stop_at_eos=False, batch_size=len(prompts))
    runs: dict[str, Callable[[], Any]] = {}
    for name, policy in policies(layers, width, PROMPT + len(prompts) + new).items():
        method = "plain" if "float" in name else "auto"
        runs[name] = lambda policy=policy, method=method: generate(
            wrapped, prompts, policy, method=method, **asked
        )
    width_of = max(map(len, prompts))
    ids = torch.tensor([[0] * (width_of - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width_of - len(p)) + [1] * len(p) for p in prompts])
    runs["hf"] = lambda: model.generate(
        ids, attention_mask=mask, max_new_tokens=new, do_sample=False, pad_token_id=0, eos_token_id=None
    )[:, width_of:]  # fmt: skip
    return runs


@torch.no_grad()
def measured(batch: int, model: Any, shape: models.Shape, asked: Any) -> dict[str, Any]:
    """One batch size: tokens checked, then the rows in turn."""
    ids = models.ids(shape, batch, PROMPT + batch, asked.seed + 2).tolist()
    prompts = [row[: PROMPT + index] for index, row in enumerate(ids)]  # of different lengths
    runs = calls(model, prompts, asked.new, shape.layers, shape.width)
    rows: dict[str, dict[str, Any]] = {}
    tokens: dict[str, Tensor] = {}
    for name, run in runs.items():  # once, which builds what is built once and warms up
        made = run()
        tokens[name] = made if name == "hf" else torch.stack(list(made))
        blocks = float(shape.layers) if name == "hf" else made.mean_blocks
        rows[name] = {"blocks": blocks, "seconds": [], "others": []}
    for name in ("float", "never", "hf"):
        rows[name]["differing"] = int((tokens[name] != tokens["plain"]).sum())
    for _ in range(asked.rounds):
        for name, run in runs.items():
            gc.collect()
            others, start = Others(), time.process_time()
            run()
            rows[name]["seconds"].append(time.process_time() - start)
            rows[name]["others"].append(others.share())
    for row in rows.values():
        row["tokens_per_second"] = batch * asked.new / statistics.median(row["seconds"])
        for base in ("plain", "float"):
            pairs = zip(rows[base]["seconds"], row["seconds"], strict=True)
            ratios = [usual / own for usual, own in pairs]
            row[f"speed_over_{base}"] = {
                "median": statistics.median(ratios), "least": min(ratios), "most": max(ratios),
            }  # fmt: skip
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure, write, print the tables; or only write those of the results kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("shape", nargs="?", default="gpt2-small")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder that keeps the models (made if missing)")
    parser.add_argument("--onednn", action="store_true", help="linear layers through oneDNN")
    parser.add_argument("--name", help="of the result; generation-SHAPE by default")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="measure nothing")
    asked = parser.parse_args(arguments)
    if not asked.table:
        shape = models.shape_of(asked.shape)
        model = models.load(shape, asked.cache, asked.seed)
        with on_threads(1), fast_linears(model) if asked.onednn else nullcontext():
            batches = {str(n): measured(n, model, shape, asked) for n in asked.batches}
        case = {name: getattr(asked, name) for name in ("shape", "new", "rounds", "seed", "onednn")}
        record = {
            "kind": "generation", "case": case | {"blocks": shape.layers}, "date": today(),
            "machine": machine(), "versions": versions(), "titles": TITLES, "batches": batches,
        }  # fmt: skip
        name = asked.name or f"generation-{asked.shape}" + "-onednn" * asked.onednn
        write_whole(asked.out / f"{name}.json", json.dumps(record, indent=1) + "\n")
        sys.stdout.write(tables(record))
    write_whole(asked.out / "generation.md", folder(asked.out))


def folder(results: Path) -> str:
    """The tables of every result of this kind."""
    records = [json.loads(path.read_text("utf-8")) for path in sorted(results.glob("*.json"))]
    mine = [tables(record) for record in records if record.get("kind") == "generation"]
    return "\n".join(mine) or "No results are in this checkout.\n"


def tables(record: dict[str, Any]) -> str:
    """A table a batch size, and what was measured on what."""
    case = record["case"]
    lines = [f"## {case['shape']}" + ", linear layers through oneDNN" * case["onednn"], ""]
    lines += [table.sentence(record | {"times": {"1": {"date": record["date"]}}}), ""]
    for batch, rows in record["batches"].items():
        lines += [
            f"{batch} prompt{'s' * (batch != '1')} of {PROMPT} tokens or a few more, {case['new']} new "
            f"tokens each; medians of {case['rounds']} rounds, least and most in brackets.",
            "",
            "| | blocks a token | tokens a second | speed over the plain loop | over the plain loop with a "
            "float32 unembedding |",
            "| :-- | --: | --: | --: | --: |",
        ]
        for name, row in rows.items():
            speeds = [speed(row[f"speed_over_{base}"]) for base in ("plain", "float")]
            lines.append(
                f"| {record['titles'][name]} | {row['blocks']:.1f} of {case['blocks']} | "
                f"{row['tokens_per_second']:.1f} | {' | '.join(speeds)} |"
            )
        different = {name: row["differing"] for name, row in rows.items() if "differing" in row}
        said = ", ".join(f"{record['titles'][name]}: {n}" for name, n in different.items())
        shares = [share for row in rows.values() for share in row["others"] if share is not None]
        busy = (
            f" Others used {statistics.median(shares):.0%} of the machine meanwhile."
            if shares
            else ""
        )
        lines += ["", f"Tokens that differ from those of the plain loop: {said}.{busy}", ""]
    return "\n".join(lines)


def speed(ratio: dict[str, float]) -> str:
    """Median, least and most."""
    return f"{ratio['median']:.2f} [{ratio['least']:.2f} - {ratio['most']:.2f}]"


if __name__ == "__main__":
    main()
