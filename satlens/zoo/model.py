"""The network, its optimizers and its held-out loss."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from satlens.errors import InputError
from satlens.zoo.data import BOUNDARY_ID
from satlens.zoo.lstm import LSTMConfig, ResidualLSTM
from satlens.zoo.settings import Settings

Network = LlamaForCausalLM | ResidualLSTM
"""What the training script can train: ids -> ``.logits``, with a tied head."""


def build_model(settings: Settings) -> Network:
    """A Llama with tied embeddings and no biases, or a stacked LSTM, initialised from the seed."""
    torch.manual_seed(settings.seed)
    if settings.architecture == "lstm":
        return ResidualLSTM(
            LSTMConfig(settings.vocab, settings.hidden, settings.layers, settings.dropout)
        )
    config = LlamaConfig(
        vocab_size=settings.vocab,
        hidden_size=settings.hidden,
        intermediate_size=settings.intermediate,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=settings.context,
        tie_word_embeddings=True,
        attention_bias=False,
        mlp_bias=False,
        bos_token_id=BOUNDARY_ID,
        eos_token_id=BOUNDARY_ID,
    )
    return LlamaForCausalLM(config)


def add_dropout(model: Network, p: float) -> None:
    """Dropout on what each attention and MLP adds to the residual stream, in training mode only.

    The same rate in every block: nothing favours early or late layers. The LSTM has its own.
    """
    if isinstance(model, ResidualLSTM):
        return

    def drop(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor):
        return F.dropout(output, p, training=module.training)

    for block in cast(Any, model.model.layers):
        block.self_attn.o_proj.register_forward_hook(drop)
        block.mlp.down_proj.register_forward_hook(drop)


def make_optimizers(model: Network, settings: Settings) -> list[torch.optim.Optimizer]:
    """Muon for the block matrices and AdamW for the rest, or AdamW for all.

    ``match_rms_adamw`` scales Muon's update to the size of AdamW's, so one learning rate and one
    weight decay serve both.  Norm gains and biases are not decayed.
    """
    embedding = [model.get_input_embeddings().weight]
    blocks = [p for p in model.parameters() if p.ndim == 2 and p is not embedding[0]]
    gains = [p for p in model.parameters() if p.ndim == 1]
    decay: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    with_adamw = embedding if settings.optimizer == "muon" else embedding + blocks
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [{"params": with_adamw}, {"params": gains, "weight_decay": 0.0}],
            betas=(0.9, 0.95),
            **decay,
        )
    ]
    if settings.optimizer == "muon":
        if not hasattr(torch.optim, "Muon"):
            raise InputError(
                f"optimizer is 'muon', which torch {torch.__version__} does not have; use torch "
                ">= 2.9 or --optimizer adamw."
            )
        optimizers.append(torch.optim.Muon(blocks, adjust_lr_fn="match_rms_adamw", **decay))
    return optimizers


def learning_rate(step: int, settings: Settings) -> float:
    """lr * (f + (1 - f) * (1 + cos(pi * x)) / 2) with f = final_lr, after a linear warm-up.

    ``x`` is 0 until the last ``decay`` share of the steps and rises from 0 to 1 over it.
    """
    falling = max(1.0, settings.decay * settings.steps)
    x = max(0.0, 1 - (settings.steps - step) / falling)
    f = settings.final_lr
    shape = f + (1 - f) * (1 + math.cos(math.pi * x)) / 2
    return settings.lr * min(1.0, (step + 1) / max(1, settings.warmup)) * shape


def batch_loss(model: Network, rows: torch.Tensor) -> torch.Tensor:
    """Mean next-token cross-entropy (nats) of rows ``[batch, position]``."""
    logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten())


@torch.no_grad()
def document_nats(
    model: Network, documents: list[list[int]], context: int, batch: int = 16
) -> torch.Tensor:
    """-log p(token | the tokens before it), summed over each document: ``[document]``, nats.

    Every token after the opening ``<|endoftext|>`` is scored once.  A document longer than the
    context is read in windows that overlap by half, so each token is predicted from at least
    ``context / 2`` tokens (or from all that precede it).
    """
    stride = max(1, context // 2)
    windows: list[tuple[int, list[int], int]] = []  # document, tokens, first scored target
    for index, ids in enumerate(documents):
        begin, done = 0, 0
        while done < len(ids) - 1:
            end = min(begin + context, len(ids) - 1)
            windows.append((index, ids[begin : end + 1], done - begin))
            done = end
            begin += stride
    windows.sort(key=lambda window: len(window[1]))
    totals = torch.zeros(len(documents), dtype=torch.double)
    was_training = model.training
    model.eval()
    for first in range(0, len(windows), batch):
        part = windows[first : first + batch]
        rows = nn.utils.rnn.pad_sequence([torch.tensor(ids) for _, ids, _ in part], True, 0)
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits.float()
        nats = F.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none")
        for row, (index, ids, skip) in zip(nats, part, strict=True):
            totals[index] += row[skip : len(ids) - 1].double().sum()
    model.train(was_training)
    return totals
