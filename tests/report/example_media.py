"""Heatmap entries of pictures and recordings, of the documented form, made at random."""

import base64
from io import BytesIO

import numpy as np
from PIL import Image

from tests.report.example import make_heatmap, make_results

CLASSES = ["tabby, tabby cat", "tiger cat", "lynx, catamount", "plane", "goldfish, Carassius auratus",
           "bathtub, bathing tub, bath, tub", "car"]  # fmt: skip


def make_picture(name="cat/0001.jpg", side=32, kind="png", seed=0) -> dict:
    """A picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    packed = BytesIO()
    Image.fromarray(pixels).save(packed, kind)
    src = f"data:image/{kind};base64,{base64.b64encode(packed.getvalue()).decode()}"
    return {"src": src, "alt": name, "width": side, "height": side}


def make_wave(name="yes.wav", n=300, seconds=1.5, seed=0, **more) -> dict:
    """A waveform that swells and fades."""
    swell = np.sin(np.linspace(0, 6, n)) ** 2
    high = (swell * np.random.default_rng(seed).uniform(0.2, 0.8, n)).round(3)
    peaks = np.stack([-0.9 * high, high], 1).round(3).tolist()
    return {"peaks": peaks, "seconds": seconds, "alt": name, **more}


def make_cards(docs=12, n_layers=12, k=5, heard=False, name="class{}/{:03}.jpg") -> list[dict]:
    """One position a document, each with a picture, or a waveform."""
    made = []
    for doc in range(docs):
        entry = make_heatmap(n_layers, k, positions=1, docs=1, texts=CLASSES, seed=doc)[0]
        title = name.format(doc % 3, doc)
        shown = (
            {"wave": make_wave(title, seed=doc)}
            if heard
            else {"picture": make_picture(title, seed=doc)}
        )
        made.append(entry | {"doc": doc, "title": title, "tokens": [""], "pos": [0], **shown})
    return made


def make_frames(positions=40, docs=2) -> list[dict]:
    """A recording a document, a position a frame of 20 ms."""
    made = make_heatmap(12, 3, positions, docs, texts=["E", "T", "<pad>", "|", "A", "N"])
    for doc, entry in enumerate(made):
        entry["tokens"] = [f"{0.02 * i:.2f}" for i in range(positions)]
        entry["wave"] = make_wave(
            f"speech{doc}.wav", 5 * positions, 0.02 * positions, doc, frame=0.02
        )
    return made


def make_kind(document, position, tokens=1, docs=60) -> dict:
    """Results of a model that reads something else than text."""
    results = make_results(docs=docs, tokens=tokens, n_layers=12)
    results["corpus"] |= {"document": document, "position": position, "name": "corpus"}
    return results
