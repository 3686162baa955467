"""The model card, written from the numbers of ``metrics.json`` and ``settings.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROWS = (("stories", "stories"), ("plays", "plays"), ("both", "both"))

CARD = """\
---
license: cdla-sharing-1.0
language: en
pipeline_tag: text-generation
---
# tiny

A small language model for trying layer-wise analyses without a download: a Llama of {layers}
blocks, hidden size {hidden}, {heads} attention heads, {parameters:,} parameters, context {context},
tied embeddings, no biases. It writes simple children's stories and imitates the form of plays.
It was trained as a language model and nothing else: no loss or schedule treats one block
differently from another.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer
from satlens.zoo import TINY

model = AutoModelForCausalLM.from_pretrained(TINY, dtype="float32")
tokenizer = AutoTokenizer.from_pretrained(TINY)
```

## Data

| source | licence | training documents | training tokens | held-out documents |
|---|---|---|---|---|
| TinyStories (Eldan and Li 2023), the first 2 MB of a copy | CDLA-Sharing-1.0 \
| {d_train_stories:,} stories | {t_train_stories:,} | {d_held_stories} |
| Tiny Shakespeare (Karpathy 2015) | public domain \
| {d_train_plays} passages | {t_train_plays:,} | {d_held_plays} |

The stories are split at random by story, the plays at one point: their last \
{held_out:.0%} is held out.
The tokenizer, byte-level BPE with {vocab} tokens, saw the training part only. `<|endoftext|>` is
token 0 and stands at the beginning and the end of every document. Typographic quotes, dashes and
ellipses were replaced by ASCII.

`corpus.txt` holds 64 stories of about 100 words that were written for this package in the same
simple language. They are no part of the training data.

## Training

{steps:,} steps of {batch} x {context} tokens, {training_tokens:,} tokens in all: random crops worth
{epochs:.1f} passes over the text, {stories_share:.0%} of them from the stories.
{optimizer};
learning rate {lr:g}: warm-up over {warmup} steps, constant, then a cosine over the last \
{decay:.0%} of the steps
down to {final_lr:.0%}; weight decay {weight_decay:g}, gradient clipping at {clip:g}, dropout \
{dropout:g} on what each attention
and MLP adds to the residual stream; {precision}; seed {seed};
{threads} threads, {hours} of wall time on a shared machine.
{notes}`settings.json` has every setting and the library versions.

To repeat it, with a folder that holds `{stories_file}` and `{plays_file}`:

```
python -m satlens.zoo.train --data DIR --out OUT
```

The weights repeat exactly on the same kind of processor with the same library versions and
threads, also when the run is stopped and resumed (`--resume`).

## Held-out loss

Every token after the opening `<|endoftext|>` is scored once, with at least {half} tokens of context
or all there are. Unigram and trigram are interpolated Kneser-Ney models of the same training
tokens. The bits per byte count the bytes of the text; the closing `<|endoftext|>` is paid for.

| held-out part | tokens | | model | trigram | unigram |
|---|---|---|---|---|---|
{rows}

The weights are the {used} of the run: {best_loss:.4f} nats per token on both at the best step \
({best_step}),
{last_loss:.4f} at the last ({last_step}). That comparison looked at the held-out part, and the \
held-out loss
was in view during the run; no search over settings was made on it.
On `corpus.txt` the model has {c_model:.3f} nats per token, the trigram {c_trigram:.3f}, the \
unigram {c_unigram:.3f}.

## Samples

Unedited, temperature {temperature:g}, at most 160 tokens, nothing cut from the distribution. \
The prompt is in bold.

{samples}

## Limits

* It knows the vocabulary of small children's stories and of Shakespeare's plays, and nothing of the
  world. It contradicts itself within a paragraph. Use it to try methods, not for its text.
* It read each training passage about {epochs:.0f} times: measure on `corpus.txt` or other new text.
* `corpus.txt` uses words and turns that are rare in 2 MB of stories; the loss on it is higher than
  on held-out stories.
* Results about when layers settle on this model are results about this model. Larger models differ.
* English only; stories repeat the habits of the synthetic text they were learned from.
"""


def write_card(out: Path) -> None:
    """Write ``README.md`` from the two records in ``out``."""
    record = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    (out / "README.md").write_text(card(record, metrics), encoding="utf-8")


def card(record: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The text of the card."""
    settings, chosen = record["settings"], metrics["checkpoint"]
    distinct = sum(record["tokens"]["train"].values())
    corpus = metrics["corpus"]
    values = {
        **settings,
        "parameters": metrics["parameters"],
        "training_tokens": metrics["training_tokens"],
        "epochs": metrics["training_tokens"] / distinct,
        "notes": record["notes"] + "\n" if "notes" in record else "",
        "half": settings["context"] // 2,
        "hours": _duration(chosen["seconds"]),
        "optimizer": {
            "muon": "Muon for the block matrices, AdamW for the embedding and the norm gains",
            "adamw": "AdamW",
        }[settings["optimizer"]],
        "precision": "bfloat16 products, float32 weights" if settings["autocast"] else "float32",
        "rows": "\n".join(_row(key, label, metrics["held_out"]) for key, label in ROWS),
        "used": chosen["used"],
        "best_step": chosen["best"]["step"],
        "best_loss": chosen["best"]["held_out"],
        "last_step": chosen["last"]["step"],
        "last_loss": chosen["last"]["held_out"],
        "temperature": metrics["temperature"],
        "samples": "\n\n".join(_sample(entry) for entry in metrics["samples"]),
    }
    for source in ("stories", "plays"):
        values[f"d_train_{source}"] = record["documents"]["train"][source]
        values[f"d_held_{source}"] = record["documents"]["held_out"][source]
        values[f"t_train_{source}"] = record["tokens"]["train"][source]
    for name in ("model", "trigram", "unigram"):
        values[f"c_{name}"] = corpus[name]["nats_per_token"]
    return CARD.format(**values)


def _row(key: str, label: str, held_out: dict[str, Any]) -> str:
    """Two table rows: nats per token, then bits per byte."""
    part = held_out[key]
    lines = []
    for measure, unit, first in (
        ("nats_per_token", "nats / token", f"{label} | {part['tokens']:,}"),
        ("bits_per_byte", "bits / byte", " | "),
    ):
        numbers = " | ".join(f"{part[n][measure]:.3f}" for n in ("model", "trigram", "unigram"))
        lines.append(f"| {first} | {unit} | {numbers} |")
    return "\n".join(lines)


def _sample(entry: dict[str, Any]) -> str:
    """One sample as a quotation, the prompt in bold."""
    rest = entry["text"][len(entry["prompt"]) :]
    text = f"**{entry['prompt']}**{rest}"
    quoted = "\n".join(f"> {line}".rstrip() + "  " for line in text.strip().splitlines())
    return f"Seed {entry['seed']}:\n\n{quoted}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
