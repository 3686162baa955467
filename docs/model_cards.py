"""Tables of the page of models, from the files of the bundled model and the settings of the scripts."""

import dataclasses
import hashlib
from pathlib import Path

from satlens.zoo import TINY
from satlens.zoo.settings import Settings
from satlens.zoo.train import BUNDLED
from satlens.zoo.train_lstm import LSTM

HOLDS = {
    "model.safetensors": "the weights",
    "config.json": "the shape, as transformers reads it",
    "tokenizer.json": "the tokenizer",
    "tokenizer_config.json": "its settings",
    "settings.json": "every setting of the training, the library versions, the sizes of the data",
    "metrics.json": "losses through training and at its end, samples",
    "corpus.txt": "64 stories to measure on",
    "README.md": "the model card",
}


def files(folder: Path = TINY) -> str:
    """What the folder of the bundled model holds, with sizes and hashes."""
    lines = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        lines.append(
            f"`{path.name}`\n: {HOLDS[path.name]}; {len(content):,} bytes, sha256 `{sha256}`\n"
        )
    return "\n".join(lines)


def settings() -> str:
    """The settings of both scripts, side by side."""
    rows = ["| setting | tiny | LSTM |", "|---|---|---|"]
    for field in dataclasses.fields(Settings):
        values = [getattr(one, field.name) for one in (BUNDLED, LSTM)]
        rows.append(f"| `{field.name}` | " + " | ".join(map(str, values)) + " |")
    return "\n".join(rows) + "\n"
