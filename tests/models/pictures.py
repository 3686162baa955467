"""Small image classifiers with an image processor of their own, and pictures for them."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from satlens.models.inputs.image_processor import load_image_processor

SIZE = 16
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": SIZE, "width": SIZE},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.25, 0.2],
}


def image_classifier(kind="vit", *, layers=3, labels=7, seed=0, scale=1.0, **kw):
    """A small random ViTForImageClassification or DeiTForImageClassification, or ``deit-teacher``."""
    import transformers as hf

    shape = dict(image_size=SIZE, patch_size=8, hidden_size=32, num_hidden_layers=layers,
                 num_attention_heads=4, intermediate_size=64, num_labels=labels)  # fmt: skip
    config = (hf.ViTConfig if kind == "vit" else hf.DeiTConfig)(**(shape | kw))
    classes = {
        "vit": hf.ViTForImageClassification,
        "deit": hf.DeiTForImageClassification,
        "deit-teacher": hf.DeiTForImageClassificationWithTeacher,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = classes[kind](config)
        for name, parameter in model.named_parameters():
            # Norms and biases too, so that a wrong one shows; larger blocks change the ranking.
            parameter.data.add_(0.1 * torch.randn_like(parameter))
            if "layer" in name and parameter.ndim >= 2:
                parameter.data.mul_(scale)
    return model.eval()


def processor(folder: Path, **changed):
    """The image processor that a folder with these settings has."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.dumps(PROCESSOR | changed)
    (folder / "preprocessor_config.json").write_text(settings, encoding="utf-8")
    return load_image_processor(str(folder), local=True)


def noise(seed, height=20, width=24, channels=3):
    """A picture of uniform noise, some of it in large blocks, as an array."""
    rng = np.random.default_rng(seed)
    fine = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    coarse = rng.integers(0, 256, (2, 2, channels), dtype=np.uint8)
    blocks = coarse.repeat(height // 2, axis=0).repeat(width // 2, axis=1)
    return (fine // 4 + blocks // 4 * 3).astype(np.uint8)


def write_pictures(folder: Path, n: int, first: int = 0) -> list[Path]:
    """PNG files of noise, in folders by turns, so that their order is that of their paths."""
    paths = []
    for index in range(first, first + n):
        path = folder / f"class{index % 2}" / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(index)).save(path)
        paths.append(path)
    return sorted(paths)


def by_hand(reader, paths):
    """What the image processor gives of these files, opened with pillow alone."""
    images = [Image.open(path).convert("RGB") for path in paths]
    return reader(images=images, return_tensors="pt")["pixel_values"]
