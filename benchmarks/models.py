"""Models of a stated shape with believable weights: seeded, made here, nothing downloaded.

    |h_l - h_{l-1}| / |h_{l-1}|  =  u(l / L) sqrt(12 / L)        median over tokens, every block

with u(f) = EARLY up to the fraction PLATEAU of the depth, then falling geometrically to LATE. Every block is
scaled until it is so on a sample of ids; that is what decides how early rankings settle.

Realistic: the shape, hence the time of every product; updates that shrink with depth; attention that writes
less than the MLP (`ATTENTION`; with more, all positions of a deep model come to say the same); neurons that
fire rarely and write towards single output tokens, frequent ones more often, so that scores have heavy
tails; norms of output rows that differ and share a mean; an unembedding of its own.
Not realistic: nothing was learned. No circuits, no outlier features but the mean row, rankings that settle
by geometry alone. Times that depend on the weights (how many rows a scan has to check) are those of this
model; `python -m benchmarks.peers` says with every result when its ranks are fixed.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

EARLY, LATE, PLATEAU = 1.6, 0.08, 0.45
ATTENTION = 0.3
SAMPLE = (2, 64)


@dataclass(frozen=True)
class Shape:
    """Of a GPT-2: blocks, width, vocabulary."""

    layers: int
    width: int
    vocabulary: int = 50257
    context: int = 2048

    @property
    def heads(self) -> int:
        """64 wide, as GPT-2's; narrower in toys."""
        return max(self.width // 64, 2)

    def config(self) -> Any:
        """As transformers writes it; untied."""
        from transformers import GPT2Config

        return GPT2Config(
            n_layer=self.layers,
            n_embd=self.width,
            n_head=self.heads,
            vocab_size=self.vocabulary,
            n_positions=self.context,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
        )


SHAPES = {
    "gpt2-small": Shape(12, 768),
    "deep": Shape(36, 512),
    "small": Shape(4, 64, 2000),
    "tiny": Shape(2, 16, 300),
}


def shape_of(text: str) -> Shape:
    """A name of `SHAPES`, or blocks x width x vocabulary: 12x768x50257."""
    if text in SHAPES:
        return SHAPES[text]
    try:
        layers, width, vocabulary = map(int, text.split("x"))
    except ValueError:
        raise SystemExit(
            f"{text!r} is none of {', '.join(SHAPES)}, and not as 12x768x50257."
        ) from None
    return Shape(layers, width, vocabulary)


def load(shape: Shape, cache: Path | None = None, seed: int = 0) -> nn.Module:
    """The model of this shape and seed: from the cache if it is there, else made (and put there)."""
    from transformers import GPT2LMHeadModel
    from transformers.utils import logging

    if cache is None:
        return make(shape, seed)
    logging.disable_progress_bar()
    name = f"gpt2-{shape.layers}x{shape.width}-v{shape.vocabulary}-c{shape.context}-s{seed}"
    # Other constants make other weights: never take those of before for them.
    name += f"-{EARLY:g}-{LATE:g}-{PLATEAU:g}-{ATTENTION:g}"
    folder = cache / name
    if not (folder / "config.json").is_file():
        unfinished = cache / f".{name}.part"
        make(shape, seed).save_pretrained(unfinished)
        unfinished.rename(folder)
    model = GPT2LMHeadModel.from_pretrained(folder, local_files_only=True).eval()
    for (
        parameter
    ) in model.parameters():  # out of the mapped file: a page first read is no method's memory
        parameter.data = parameter.data.clone()
    return model.requires_grad_(False)


@torch.no_grad()
def make(shape: Shape, seed: int = 0) -> nn.Module:
    """A model with the weights that the module describes."""
    from transformers import GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(shape.config()).eval().requires_grad_(False)
    draw = torch.Generator().manual_seed(seed)
    _fill_head(model, draw)
    for block in model.transformer.h:
        _fill_block(block, model.lm_head.weight, draw)
    _calibrate(model, ids(shape, *SAMPLE, seed=seed + 1))
    return model


def ids(shape: Shape, batch: int, pos: int, seed: int = 0) -> Int[Tensor, "batch pos"]:
    """Token ids, drawn with the frequencies of `frequencies`."""
    draw = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(frequencies(shape.vocabulary), batch * pos, True, generator=draw)
    return drawn.reshape(batch, pos)


def frequencies(vocabulary: int) -> Tensor:
    """Zipf's law with ids in order of frequency, as byte pair encodings roughly are."""
    return 1 / (torch.arange(vocabulary) + 20.0)


def _fill_head(model: nn.Module, draw: torch.Generator) -> None:
    """Output rows: directions of their own, norms that differ, one mean; gains of the last norm."""
    rows, width = model.lm_head.weight.shape
    directions = torch.randn(rows, width, generator=draw) / math.sqrt(width)
    size = torch.exp(0.15 * torch.randn(rows, 1, generator=draw))
    mean = torch.randn(width, generator=draw) / math.sqrt(width)
    model.lm_head.weight.copy_(3 * (size * directions + 0.4 * mean))
    norm = model.transformer.ln_f
    norm.weight.copy_(torch.exp(0.25 * torch.randn(width, generator=draw)))
    norm.bias.copy_(0.1 * torch.randn(width, generator=draw))


def _fill_block(block: nn.Module, head: Tensor, draw: torch.Generator) -> None:
    """Attention that is not uniform, rare neurons, each writing towards one output token."""

    def normal(weight: Tensor, size: float) -> None:
        weight.copy_(torch.randn(weight.shape, generator=draw) * size)

    width, neurons = block.mlp.c_fc.weight.shape
    normal(block.attn.c_attn.weight, 1.5 / math.sqrt(width))
    normal(block.attn.c_proj.weight, ATTENTION / math.sqrt(width))
    normal(block.mlp.c_fc.weight, 2 / math.sqrt(width))
    block.mlp.c_fc.bias.fill_(-3.0)
    token = torch.multinomial(frequencies(len(head)), neurons, True, generator=draw)
    towards = head[token] - head.mean(0)
    towards = towards / towards.norm(dim=1, keepdim=True)
    spread = torch.randn(neurons, width, generator=draw) / math.sqrt(width)
    block.mlp.c_proj.weight.copy_(towards + 0.5 * spread)


def wanted(layer: int, layers: int) -> float:
    """The relative update of one block: the formula of the module."""
    f = (layer + 1) / layers
    fall = max(f - PLATEAU, 0) / (1 - PLATEAU)
    return EARLY * (LATE / EARLY) ** fall * math.sqrt(12 / layers)


def _calibrate(model: nn.Module, sample: Int[Tensor, "batch pos"]) -> None:
    """Scale what every block writes until its update is as wanted, block after block."""
    body = model.transformer
    h = body.wte(sample) + body.wpe(torch.arange(sample.shape[1]))
    for layer, block in enumerate(body.h):
        for _ in range(6):  # the MLP reads what attention wrote, so one step is not enough
            change = ((_run(block, h) - h).norm(dim=-1) / h.norm(dim=-1)).median()
            factor = wanted(layer, len(body.h)) / float(change)
            for out in (block.attn.c_proj, block.mlp.c_proj):
                out.weight.mul_(factor)
        h = _run(block, h)


def _run(block: nn.Module, h: Tensor) -> Tensor:
    """The state after a block, alone: without a mask, so scaled attention is its own causal one."""
    out = block(h)
    return out[0] if isinstance(out, tuple) else out
