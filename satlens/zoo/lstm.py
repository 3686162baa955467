r"""A stacked LSTM language model with a residual stream: the control that is no Transformer.

    h_{-1} = E[token],      h_l = h_{l-1} + LSTM_l(norm_l(h_{l-1})),      logits = E norm(h_{L-1})

Without the ``h_{l-1} +`` the states behind every layer have a basis of their own, and the model's head, read
off them, says nothing: there would be no stream to look at. With it every layer adds to one stream, as the
blocks of a Transformer do, and there is one readout for all layers: the final norm and the head. Width,
vocabulary and text can then be those of a Transformer, so that the difference is what a block does.

Plain torch: no hook points, no other library.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from satlens.errors import InputError, ModelError

EMBEDDING_STD = 0.02


@dataclasses.dataclass(frozen=True)
class LSTMConfig:
    """The shape of the model; ``model_type`` tells its folder from others."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    dropout: float = 0.0
    model_type: str = "residual_lstm"

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size", "num_hidden_layers"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}; it must lie in [0, 1).")


class LSTMBlock(nn.Module):
    """``h + dropout(LSTM(norm(h)))``; the output is the state."""

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.lstm = nn.LSTM(config.hidden_size, config.hidden_size, batch_first=True)
        self.dropout = config.dropout

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """States ``[batch, pos, d]`` -> states ``[batch, pos, d]``."""
        added, _ = self.lstm(self.norm(state))
        return state + F.dropout(added, self.dropout, self.training)


class ResidualLSTM(nn.Module):
    """The language model; its head is its embedding.

    Example:
        >>> model = ResidualLSTM(LSTMConfig(vocab_size=50, hidden_size=8, num_hidden_layers=12))
        >>> model(torch.tensor([[1, 2, 3]])).logits.shape
        torch.Size([1, 3, 50])
    """

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(LSTMBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.head.weight = self.embed.weight
        nn.init.normal_(self.embed.weight, std=EMBEDDING_STD)
        for block in self.layers:
            _open_forget_gates(cast(LSTMBlock, block).lstm)

    def forward(self, input_ids: torch.Tensor, **_unused: Any) -> SimpleNamespace:
        """Logits ``[batch, pos, vocab]`` of ids ``[batch, pos]``, under ``.logits``.

        Padding on the right needs no mask: no position is read by an earlier one.
        """
        state = self.embed(input_ids)
        for block in self.layers:
            state = block(state)
        return SimpleNamespace(logits=self.head(self.norm(state)))

    def get_input_embeddings(self) -> nn.Embedding:
        """The embedding, under the name that transformers gives it."""
        return self.embed

    def untrained(self) -> ResidualLSTM:
        """The same shape with the weights that it starts from, of torch's present random state."""
        return ResidualLSTM(self.config)


@torch.no_grad()
def _open_forget_gates(lstm: nn.LSTM) -> None:
    """A forget bias of 1 lets a gradient through many steps (Jozefowicz et al. 2015, section 2.2).

    torch adds two bias vectors and orders the gates input, forget, cell, output.
    """
    forget = slice(lstm.hidden_size, 2 * lstm.hidden_size)
    lstm.get_parameter("bias_ih_l0")[forget] = 1.0
    lstm.get_parameter("bias_hh_l0")[forget] = 0.0


def save(model: ResidualLSTM, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """``config.json`` and ``model.safetensors``; the tied head is stored once."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: p.detach().to(dtype).contiguous() for name, p in model.named_parameters()}
    save_file(weights, folder / "model.safetensors")
    text = json.dumps(dataclasses.asdict(model.config), indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


def load(folder: str | Path, dtype: torch.dtype = torch.float32) -> ResidualLSTM:
    """The model of a folder in evaluation mode, with the folder's tokenizer as ``model.tokenizer``.

    Raises:
        ModelError: no such folder, another kind of model, or weights that do not fit.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        raise ModelError(
            f"{folder} has no config.json or no model.safetensors; give the --out folder of a finished "
            "python -m satlens.zoo.train_lstm."
        )
    model = ResidualLSTM(_config(folder))
    weights = _weights(folder / "model.safetensors")
    own = {name: p.shape for name, p in model.named_parameters()}
    if own != {name: value.shape for name, value in weights.items()}:
        raise ModelError(
            f"The weights of {folder} do not fit its config.json: {_misfit(own, weights)}."
        )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    cast(Any, model).name_or_path = folder.resolve().name
    model.tokenizer = _tokenizer(folder)
    return model.to(dtype).eval()


def _config(folder: Path) -> LSTMConfig:
    """What config.json says."""
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = record.get("model_type")
    except (ValueError, AttributeError) as cause:
        raise ModelError(f"{folder / 'config.json'} is not a JSON object: {cause}.") from cause
    if kind != LSTMConfig.model_type:
        raise ModelError(
            f"{folder} holds a {kind!r}, not a {LSTMConfig.model_type!r}; use satlens.load_model."
        )
    try:
        return LSTMConfig(**record)
    except TypeError as cause:  # keys that are missing, not known, or no numbers
        raise ModelError(f"{folder / 'config.json'} does not describe an LSTM: {cause}.") from cause


def _weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as cause:
        raise ModelError(f"The weights {path} cannot be read: {cause}.") from cause


def _misfit(own: Mapping[str, torch.Size], found: Mapping[str, torch.Tensor]) -> str:
    """The first weight that is missing, too many, or of another shape."""
    for name, shape in own.items():
        if name not in found:
            return f"{name} is missing"
        if found[name].shape != shape:
            return f"{name} is {tuple(found[name].shape)}, and {tuple(shape)} is asked for"
    return f"there is no place for {next(name for name in found if name not in own)}"


def _tokenizer(folder: Path) -> Any:
    """The folder's tokenizer, or None: the model then reads ids only."""
    if not (folder / "tokenizer.json").is_file():
        return None
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder)
