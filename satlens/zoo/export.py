"""From a finished run to a model folder: choose the weights, measure them, write them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from satlens.errors import InputError
from satlens.zoo import CORPUS
from satlens.zoo.card import write_card
from satlens.zoo.checkpoint import load_state, load_weights, save_weights
from satlens.zoo.data import (
    BOUNDARY_ID,
    SOURCES,
    encode_documents,
    make_split,
    read_stories,
)
from satlens.zoo.lstm import ResidualLSTM
from satlens.zoo.lstm import save as save_lstm
from satlens.zoo.model import Network, build_model, document_nats
from satlens.zoo.ngrams import NGram
from satlens.zoo.settings import Settings, read_settings

PROMPTS = ("Once upon a time", "One day, a little", "Tom and his dog")
TEMPERATURE = 0.7
SAMPLE_TOKENS = 160
FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "settings.json",
    "metrics.json",
    "README.md",
)


@dataclasses.dataclass(frozen=True)
class Text:
    """Documents to measure on: token ids with both boundaries, and the bytes of the text."""

    ids: list[list[int]]
    size: int

    @property
    def tokens(self) -> int:
        """Predicted tokens: all but each document's opening boundary."""
        return sum(len(ids) - 1 for ids in self.ids)


def encode_text(tokenizer: Tokenizer, documents: list[str]) -> Text:
    """Token ids and byte count of some documents."""
    return Text(
        encode_documents(tokenizer, documents),
        sum(len(document.encode("utf-8")) for document in documents),
    )


def score(nats: float, text: Text) -> dict[str, float]:
    """nats / token and bits / byte = nats / (ln 2 * bytes); closing boundaries are counted in."""
    return {
        "nats_per_token": round(nats / text.tokens, 4),
        "bits_per_byte": round(nats / math.log(2) / text.size, 4),
    }


def measure(
    scorers: dict[str, Callable[[list[list[int]]], float]], texts: dict[str, Text]
) -> dict[str, Any]:
    """The score of each scorer on each text, and on all the texts together (``both``)."""
    nats = {
        name: {key: scorer(text.ids) for key, text in texts.items()}
        for name, scorer in scorers.items()
    }
    groups = {key: [key] for key in texts}
    if len(texts) > 1:
        groups["both"] = list(texts)
    table: dict[str, Any] = {}
    for group, keys in groups.items():
        whole = Text([ids for k in keys for ids in texts[k].ids], sum(texts[k].size for k in keys))
        table[group] = {
            "documents": len(whole.ids),
            "tokens": whole.tokens,
            "bytes": whole.size,
            **{name: score(sum(per[k] for k in keys), whole) for name, per in nats.items()},
        }
    return table


def model_scorer(model: Network, context: int) -> Callable[[list[list[int]]], float]:
    """Summed nats of documents under the network."""
    return lambda documents: float(document_nats(model, documents, context).sum())


def ngram_scorer(order: int, vocab: int, train: Sequence[Sequence[int]]) -> Callable[..., float]:
    """Summed nats of documents under an n-gram model of the training documents."""
    ngram = NGram(order, vocab).fit(train)
    return lambda documents: sum(ngram.nats(ids) for ids in documents)


@torch.no_grad()
def sample(model: Network, tokenizer: Tokenizer, prompt: str, seed: int) -> str:
    """Ancestral sampling from softmax(logits / TEMPERATURE), until the document ends.

    At most ``SAMPLE_TOKENS`` tokens; nothing is cut from the distribution.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = [BOUNDARY_ID, *tokenizer.encode(prompt, add_special_tokens=False).ids]
    model.eval()
    for _ in range(SAMPLE_TOKENS):
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].float()
        p = torch.softmax(logits / TEMPERATURE, dim=-1)
        token = int(torch.multinomial(p, 1, generator=generator))
        if token == BOUNDARY_ID:
            break
        ids.append(token)
    return tokenizer.decode(ids[1:])


def round_to_half(model: Network) -> None:
    """Give the parameters the values that float16 stores, still in float32."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())


def choose(
    model: Network, work: Path, held_out: list[list[int]], settings: Settings
) -> dict[str, Any]:
    """Load the better of the best and the last weights, by held-out loss after rounding."""
    last = load_state(model, [], work / "last.safetensors")
    if last["step"] != settings.steps:
        raise InputError(
            f"The run stands at step {last['step']} of {settings.steps}; finish it with --resume."
        )
    # The last weights on their own, so that both candidates load alike.
    save_weights(model, work / "last_weights.safetensors", {"step": last["step"]})
    losses = {}
    tokens = sum(len(ids) - 1 for ids in held_out)
    for name in ("last_weights", "best"):  # in this order: a tie goes to the last
        step = load_weights(model, work / f"{name}.safetensors")["step"]
        round_to_half(model)
        nats = float(document_nats(model, held_out, settings.context).sum())
        losses[name] = {"step": step, "held_out": round(nats / tokens, 4)}
    used = min(losses, key=lambda name: losses[name]["held_out"])
    load_weights(model, work / f"{used}.safetensors")
    round_to_half(model)
    return {
        "used": "best" if used == "best" else "last",
        "best": losses["best"],
        "last": losses["last_weights"],
        "seconds": round(last["seconds"]),
        "history": last["history"],
    }


def export(data: Path, out: Path) -> dict[str, Any]:
    """Write ``FILES`` into ``out`` for the run there and return the metrics."""
    settings = read_settings(out / "settings.json")
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    split = make_split(data, settings)
    held_out = {s: encode_text(tokenizer, split.held_out[s]) for s in SOURCES}
    train = [ids for s in SOURCES for ids in encode_documents(tokenizer, split.train[s])]
    model = build_model(settings)
    chosen = choose(model, out / "work", [i for s in SOURCES for i in held_out[s].ids], settings)
    scorers = {
        "model": model_scorer(model, settings.context),
        "unigram": ngram_scorer(1, settings.vocab, train),
        "trigram": ngram_scorer(3, settings.vocab, train),
    }
    corpus = {"corpus": encode_text(tokenizer, read_stories(CORPUS))}
    metrics = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "training_tokens": settings.steps * settings.batch * settings.context,
        "held_out": measure(scorers, held_out),
        **measure(scorers, corpus),
        "temperature": TEMPERATURE,
        "samples": [
            {"prompt": prompt, "seed": seed, "text": sample(model, tokenizer, prompt, seed)}
            for seed, prompt in enumerate(PROMPTS)
        ],
        "checkpoint": chosen,
    }
    write_model(model, out)
    text = json.dumps(metrics, indent=2) + "\n"
    (out / "metrics.json").write_text(text, encoding="utf-8")
    if settings.architecture == "llama":  # the card is the bundled model's
        write_card(out)
    return metrics


def write_model(model: Network, out: Path) -> None:
    """float16 weights and config.json, as ``from_pretrained`` (or `satlens.zoo.lstm.load`) reads them."""
    if isinstance(model, ResidualLSTM):
        save_lstm(model, out, torch.float16)
        return
    half = build_half(model)
    half.save_pretrained(out)
    # Sampling defaults belong to the caller; the file would only repeat the config's token ids.
    (out / "generation_config.json").unlink(missing_ok=True)


def build_half(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """A float16 copy; the model itself stays in float32."""
    half = LlamaForCausalLM(model.config)
    half.load_state_dict(model.state_dict())
    return half.half()
