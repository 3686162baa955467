"""A small text folder of regular sentences, and settings for runs of seconds."""

import dataclasses
import random
from pathlib import Path

from satlens.zoo.settings import Settings

MICRO = Settings(
    layers=2,
    hidden=32,
    heads=2,
    intermediate=64,
    context=32,
    batch=4,
    vocab=300,
    steps=24,
    warmup=4,
    lr=1e-2,
    eval_every=8,
    snapshots=3,
    passage_chars=200,
    threads=1,
)


def micro(**changes) -> Settings:
    return dataclasses.replace(MICRO, **changes)


def write_texts(folder: Path, stories: int = 120) -> Path:
    """Each story names one animal and one colour throughout, so context helps."""
    rng = random.Random(5)
    folder.mkdir(parents=True, exist_ok=True)
    animals, colours = ("dog", "cat", "fox", "hen"), ("red", "blue", "green")
    texts = []
    for number in range(stories):
        animal, colour = rng.choice(animals), rng.choice(colours)
        lines = [f"Story {number}. The {animal} saw a {colour} ball."]
        lines += [f"The {animal} likes the {colour} ball." for _ in range(rng.randint(2, 5))]
        texts.append(" ".join(lines))
    (folder / MICRO.stories_file).write_text("\n<|endoftext|>\n".join(texts), encoding="utf-8")
    speeches = [
        f"{rng.choice('AB')}:\nLine {n}, my lord the {rng.choice(animals)}." for n in range(200)
    ]
    (folder / MICRO.plays_file).write_text("\n\n".join(speeches), encoding="utf-8")
    return folder
