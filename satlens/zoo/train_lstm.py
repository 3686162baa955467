"""Train the stacked LSTM: ``python -m satlens.zoo.train_lstm --data DIR --out DIR``.

The text, the split, the tokenizer, the width, the loop and the measures are those of "tiny"; 12 layers of
`satlens.zoo.lstm.ResidualLSTM` stand in the place of its 16 blocks. ``metrics.json`` holds the held-out loss
beside tiny's n-gram baselines. ``--minutes M`` stops a run so that ``--resume`` goes on, bit for bit.
The result is read by ``satlens.load_model(DIR)``, and so by every verb: ``satlens audit DIR``.
"""

from __future__ import annotations

import os

from satlens.zoo.settings import Settings
from satlens.zoo.train import main as train_main

LSTM = Settings(
    architecture="lstm",
    layers=12,
    steps=900,
    batch=16,
    context=128,
    optimizer="adamw",
    lr=3e-3,
    warmup=50,
    decay=0.5,
    autocast=False,
    eval_every=450,
)
"""1.8 million tokens, 2.2 passes over the text. A step takes 0.68 s on one core: 10 minutes, without the
second thread, the tokenizer, the n-grams and the measures."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point: the training script with the LSTM's settings, then the table of losses."""
    train_main(arguments, LSTM, "python -m satlens.zoo.train_lstm", __doc__)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
