"""`load_model`: "tiny", a local folder, a name on the Hugging Face hub, or a function in a Python file.

The weights are read by transformers, turned into a HookedTransformer where TransformerLens has it (3.x)
and into a TransformerBridge otherwise; either must give the logits of the Hugging Face model, which is
checked on a short input before it is handed over. A folder of `satlens.zoo.train_lstm` gives its LSTM; a
function in a file (`satlens.models.from_file`) whatever it returns.
"""

import copy
import json
import logging
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from satlens.errors import InputError, ModelError
from satlens.models.from_file import check_not_moved, in_file, load_from_file
from satlens.models.hosts.convert import to_hooked_transformer
from satlens.models.hosts.vision import check_heads, example_image, image_shape
from satlens.models.hub import CHOICES, MAIN, in_cache, one_line, reach
from satlens.models.inputs.audio_processor import load_audio_processor, reads_audio
from satlens.models.inputs.image_processor import load_image_processor, reads_images
from satlens.models.protocol import Host, ResidualModel
from satlens.models.readout import logits_of
from satlens.models.wrap import check_weights
from satlens.zoo import TINY, lstm
from satlens.zoo.lstm import LSTMConfig

logger = logging.getLogger("satlens")

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "*.model")


def load_model(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    bridge: bool = False,
) -> nn.Module | ResidualModel:
    """A model ready for `satlens.wrap`, in evaluation mode.

    Args:
        name_or_path: "tiny" (bundled), a local Hugging Face folder, a name on the hub, the folder of a
            trained `satlens.zoo.lstm`, or "path/to/file.py:function". The last one RUNS the file's code and
            calls the function, which returns a module or a `ResidualModel`: name only files that you trust.
        revision: of a name on the hub: a branch, a tag or a commit, such as a step of a training ("step1000"
            of EleutherAI/pythia-70m). Configuration, weights and tokenizer are those of the revision.
        device: where to put it; CPU if not given.
        dtype: of the weights; float32 if not given. A function in a file decides both itself.
        bridge: give a TransformerBridge also where there is a HookedTransformer.

    Returns:
        A HookedTransformer on TransformerLens 3 for Llama, GPT-2, GPT-NeoX and GPT-Neo shapes, else a
        TransformerBridge. Weights are neither folded nor centred. Without tokenizer files the
        model reads ids only; an image classifier keeps the image processor of its folder as
        ``model.processor``, and reads pixels only where there is none. Whisper, and HuBERT and wav2vec2
        with a CTC head, come as transformers has them, with their processor the same way.

    Raises:
        ModelError: no such folder, file, name or revision, no network, files missing, weights that do not
            fit, an architecture TransformerLens does not have, a function that raises or returns no model.
        InputError: a device, type or bridge for a function in a file, which decides itself; a revision of
            anything but a name on the hub.
        MissingExtraError: an image processor that transformers has for torchvision only.
        NumericsError: NaN or infinite weights.
    """
    if not isinstance(name_or_path, str | Path):
        raise InputError(f"load_model takes a name or a path, got {type(name_or_path).__name__}.")
    if revision is not None:
        check_revision(str(name_or_path), revision)
    if found := in_file(str(name_or_path)):
        model = load_from_file(*found)
        check_not_moved(model, str(name_or_path), device, dtype, bridge)
        return model
    dtype = dtype or torch.float32
    name, source, local = locate(str(name_or_path), revision)
    if local and is_lstm(Path(source)):
        return load_lstm(source, dtype, bridge).to(device or "cpu")
    at = revision or MAIN
    hf = load_hf(name, source, local, dtype, at).to(device or "cpu").eval()
    check_weights(hf)
    if reads_audio(hf) and not bridge:
        hf.processor = load_audio_processor(source, local, at)
        return hf
    images = reads_images(hf)
    if images:
        check_heads(hf)
    tokenizer = None if images else load_tokenizer(source, local, at)
    processor = load_image_processor(source, local, at) if images else None
    model: Host = None if bridge else to_hooked_transformer(hf, name, tokenizer)
    if model is None:
        model = to_bridge(hf, name, tokenizer)
    if images:
        model.processor = processor
    check_same_logits(model, hf, name)
    return model


def check_revision(asked: str, revision: str) -> None:
    """Refuse a revision of what has none."""
    if not isinstance(revision, str) or not revision:
        raise InputError(f"A revision is a name such as 'step1000', got {revision!r}.")
    kinds = {"a function in a file": in_file(asked), "bundled": asked == "tiny",
             "a local folder": Path(asked).expanduser().is_dir()}  # fmt: skip
    for kind, is_so in kinds.items():
        if is_so:
            raise InputError(
                f"{asked!r} is {kind}, and only names on the Hugging Face hub have revisions: leave out "
                f"revision={revision!r}."
            )


def locate(asked: str, revision: str | None = None) -> tuple[str, str, bool]:
    """The name for tables, what transformers is to load (a folder or a hub name), and whether it is
    all on this machine.
    """
    folder = TINY if asked == "tiny" else Path(asked).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(f"The folder {folder} has no config.json. {CHOICES}")
        return folder.resolve().name, str(folder), True
    if folder.exists() or asked.startswith((".", "~", "/")) or asked.count("/") > 1:
        found = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ModelError(f"The model {asked!r} {found}. {CHOICES}")
    cached = in_cache(asked, revision or MAIN)
    if not cached:
        reach(asked, revision)
    return asked if revision is None else f"{asked}@{revision}", asked, cached


def is_lstm(folder: Path) -> bool:
    """Whether `satlens.zoo.train_lstm` wrote the folder."""
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a hub name in the cache, or damaged: transformers tells
        return False
    return isinstance(record, dict) and record.get("model_type") == LSTMConfig.model_type


def load_lstm(source: str, dtype: torch.dtype, bridge: bool) -> nn.Module:
    """The stacked LSTM of a folder; TransformerLens has none."""
    if bridge:
        raise ModelError(
            f"TransformerLens has no bridge for the LSTM of {source}; leave bridge out."
        )
    model = lstm.load(source, dtype)
    check_weights(model)
    return model


def load_hf(name: str, source: str, local: bool, dtype: torch.dtype, revision: str = MAIN) -> Host:
    """The Hugging Face model, of the class its configuration names; every weight accounted for."""
    import transformers

    try:
        with no_progress_bar():
            config = transformers.AutoConfig.from_pretrained(
                source, local_files_only=local, revision=revision
            )
            names = config.architectures or []
            kind = getattr(transformers, names[0], None) if names else None
            loader = cast(Any, kind or transformers.AutoModelForCausalLM)
            model, info = loader.from_pretrained(
                source, config=config, dtype=dtype, local_files_only=local, use_safetensors=True,
                output_loading_info=True, revision=revision,
            )  # fmt: skip
    # transformers reports unknown architectures, damaged files and ill-fitting weights as one of these;
    # safetensors has an error of its own, which derives from Exception alone.
    except Exception as cause:
        raise ModelError(f"{name!r} cannot be loaded ({one_line(cause)}). {CHOICES}") from cause
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"The weights of {name!r} lack {len(missing)} that {type(model).__name__} has: "
            f"{', '.join(missing[:5])}. They would be random; get the whole checkpoint."
        )
    # A head for another task may be left over; a block that the configuration does not count may not.
    spare = sorted(key for key in info["unexpected_keys"] if re.search(r"\.\d+\.", key))
    if spare:
        raise ModelError(
            f"The weights of {name!r} have {len(spare)} that its config.json has no place for: "
            f"{', '.join(spare[:5])}. The configuration belongs to another model."
        )
    return model


@contextmanager
def no_progress_bar() -> Generator[None, None, None]:
    """transformers shows no bar for reading a file; the caller's choice comes back afterwards."""
    from transformers.utils import logging as hf_logging

    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


def load_tokenizer(source: str, local: bool, revision: str = MAIN) -> Any:
    """The tokenizer, or None (with a note) where there is none: the model then reads ids only."""
    from transformers import AutoTokenizer

    folder = Path(source)
    if folder.is_dir() and not any(list(folder.glob(pattern)) for pattern in TOKENIZER_FILES):
        logger.warning("%s has no tokenizer files: the model reads token ids, not text.", source)
        return None
    try:
        return AutoTokenizer.from_pretrained(source, local_files_only=local, revision=revision)
    except Exception as cause:  # as in load_hf
        if folder.is_dir():
            raise ModelError(
                f"The tokenizer of {source} cannot be loaded ({one_line(cause)})."
            ) from cause
        logger.warning("%s comes without a tokenizer that loads (%s).", source, one_line(cause))
        return None


def to_bridge(hf: Host, name: str, tokenizer: Any) -> nn.Module:
    """A TransformerBridge around a copy of the model (building one changes what it is built on)."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    architecture = type(hf).__name__
    try:
        model = build_bridge_from_module(
            copy.deepcopy(hf),
            architecture,
            hf_config=hf.config,
            model_name=name,
            tokenizer=tokenizer,
        )
    except (ValueError, KeyError, NotImplementedError, AttributeError) as cause:
        raise ModelError(
            f"TransformerLens has no bridge for {architecture} ({one_line(cause)}). Load it with "
            "transformers and pass the module to satlens.wrap."
        ) from cause
    return model.eval()


# Same weights, other order of operations: measured 0 to 4e-6 spreads for the four families in
# float32; a wrong rotary base, activation or epsilon gives 1e-2 and more.
SAME = {torch.float64: 1e-8, torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 3e-1}


@torch.no_grad()
def check_same_logits(model: nn.Module, hf: Host, name: str) -> None:
    """The host's logits are those of the Hugging Face model, where it reads one row of tokens or pixels."""
    parameter = next(hf.parameters())
    inputs = check_input(hf)
    if inputs is None:
        return
    inputs = inputs.to(parameter.device, parameter.dtype if reads_images(hf) else None)
    want, got = logits_of(hf(inputs)).double(), logits_of(model(inputs)).double()
    worst, spread = float((got - want).abs().max()), float(want.std())
    allowed = SAME.get(parameter.dtype, 1e-3) * max(spread, 1e-6)
    if not worst <= allowed:
        raise ModelError(
            f"{type(model).__name__} gives other logits for {name!r} than transformers: the largest "
            f"difference is {worst:.3g}, where {allowed:.3g} is allowed. Load it with transformers "
            "and pass the module to satlens.wrap."
        )


def check_input(hf: Host) -> torch.Tensor | None:
    """One image, or one row of ids; None for a model that reads anything else."""
    config = hf.config
    if reads_images(hf):
        return example_image(image_shape(config))
    if config.is_encoder_decoder or not hasattr(config, "vocab_size"):
        return None
    length = min(64, getattr(config, "max_position_embeddings", None) or 64)
    return ((torch.arange(length) * 37 + 3) % config.vocab_size)[None]
