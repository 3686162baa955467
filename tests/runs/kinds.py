"""A folder with a small random model of each kind, and a corpus that it reads."""

import copy
import json
import re
import string
from pathlib import Path

import numpy as np
import torch

from tests.builders import random_other_hf
from tests.models.pictures import image_classifier, processor, write_pictures
from tests.models.speech import SECOND, random_ctc, random_whisper, sounds, whisper_processor

KINDS = ("images", "recordings", "speech", "masked text", "pairs")
LAYERS = 6
SAMPLES = [1_500, 700, 900, 600, 800, 650, 750, 850, 620, 940, 710, 830]
"""Lengths of recordings, of 18 to 46 frames."""


def make_model(kind: str, folder: Path) -> Path:
    """A Hugging Face folder, whole."""
    if kind == "images":
        image_classifier(layers=LAYERS).save_pretrained(folder)
        processor(folder)
    elif kind == "recordings":
        model = random_ctc()
        deeper(model, "num_hidden_layers").save_pretrained(folder)
        model.processor.save_pretrained(folder)
    elif kind == "speech":
        deeper(random_whisper(), "decoder_layers").save_pretrained(folder)
        whisper_processor("english").save_pretrained(folder)
    else:
        name, layers = {
            "masked text": ("bert", ["num_hidden_layers"]),
            "pairs": ("bart", ["encoder_layers", "decoder_layers"]),
        }[kind]
        deeper(random_other_hf(name), *layers).save_pretrained(folder)
        letters().save_pretrained(folder)
    return folder


def deeper(model, *layers: str, seed: int = 0):
    """A random model of the same kind with `LAYERS` blocks, of which the later ones write less and less."""
    config = copy.deepcopy(model.config)
    for name in layers:
        setattr(config, name, LAYERS)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = type(model)(config)
        for name, parameter in model.named_parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
            depth = re.search(r"layers?\.(\d+)\.", name)
            if depth and parameter.ndim == 2:
                parameter.data.mul_(0.8 ** int(depth[1]))
    return model.eval()


def letters():
    """A tokenizer of letters for models of 50 ids."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = {piece: i for i, piece in enumerate([*special, *string.ascii_lowercase])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("(?!^)"), "isolated")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="[UNK]",
        cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip


def words(n: int, seed: int) -> str:
    """Words of random letters."""
    rng = np.random.default_rng(seed)
    return "".join(rng.choice([*string.ascii_lowercase, " "], n)).strip() + "a"


def write_recordings(folder: Path, samples=SAMPLES) -> list[Path]:
    """WAV files of noise, in folders by turns."""
    import soundfile

    paths = []
    for index, wave in enumerate(sounds(samples)):
        path = folder / f"speaker{index % 2}" / f"{index:02}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave.numpy(), SECOND, subtype="FLOAT")
        paths.append(path)
    return sorted(paths)


def write_pairs(path: Path, n: int = 40) -> list[tuple[str, str]]:
    """Pairs of words, one a line of JSON."""
    found = [(words(9, 2 * i), words(12, 2 * i + 1)) for i in range(n)]
    lines = [json.dumps({"source": source, "target": target}) for source, target in found]
    path.write_text("\n".join(lines), encoding="utf-8")
    return found


def make_corpus(kind: str, folder: Path) -> Path:
    """What such a model reads: a folder, or a file."""
    folder.mkdir(parents=True)
    if kind == "images":
        write_pictures(folder, 160)
    elif kind == "recordings":
        write_recordings(folder)
    elif kind == "speech":
        paths = write_recordings(folder, [SECOND // 4] * 40)
        for index, path in enumerate(paths[:36]):  # the model writes the other four
            path.with_suffix(".txt").write_text(words(8, index))
    elif kind == "masked text":
        (folder / "text.txt").write_text("\n\n".join(words(28, i) for i in range(40)))
        return folder / "text.txt"
    else:
        write_pairs(folder / "pairs.jsonl")
        return folder / "pairs.jsonl"
    return folder
