"""Whisper: the decoder of a Hugging Face ``WhisperForConditionalGeneration``, layer by layer.

    state after block l     output of model.decoder.layers[l]
    readout                 proj_out(model.decoder.layer_norm(h))

The decoder reads a prompt (<|startoftranscript|>, language, task, <|notimestamps|>) and then t_1 .. t_n. The
prompt's last token predicts t_1, and t_n the end: these n + 1 positions count.

A document is a recording and its transcript, which is read as it is (teacher-forced). Where none is given
it is the model's own greedy one, written once and then read like any other. Audio and text go
through the processor that hangs on the model: ``model.processor = WhisperProcessor.from_pretrained(folder)``.
"""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from satlens.models.hosts.hooked import device_of
from satlens.models.hosts.hugging_face import HookedModule, residual_model
from satlens.models.inputs.spoken import spoken_batches
from satlens.models.inputs.text import example_ids
from satlens.models.protocol import Batch, Host, ResidualModel
from satlens.models.readout import LinearReadout, logits_of

FRAMES_PER_POSITION = 2
"""The second convolution of the encoder has stride 2."""


def whisper(host: Host) -> ResidualModel:
    """A Whisper model as a `ResidualModel` of its decoder."""
    hooked = HookedModule(host, host.model.decoder.layers)
    config, tokenizer = host.config, tokenizer_of(host)
    shape = (config.num_mel_bins, FRAMES_PER_POSITION * config.max_source_positions)
    prompt = prompt_of(host, tokenizer)

    def forward(batch: Batch) -> Tensor:
        return logits_of(hooked(**heard_once(host, batch), use_cache=False))

    context = config.max_target_positions
    example = [*prompt, *example_ids(config.vocab_size, context - len(prompt))]
    return residual_model(
        hooked,
        readout=LinearReadout((host.model.decoder.layer_norm,), host.proj_out),
        forward=forward,
        batches=partial(
            spoken_batches,
            extractor=extractor_of(host),
            tokenizer=tokenizer,
            shape=shape,
            prompt=prompt,
            special=special_of(host, tokenizer, prompt),
            ends=end_of(host),
            language_missing=language_missing(host, prompt),
            write=partial(greedy, host, prompt),
            context=context,
            vocabulary=config.vocab_size,
            dtype=host.proj_out.weight.dtype,
            device=device_of(host),
        ),
        d_model=config.d_model,
        n_outputs=config.vocab_size,
        context=context,
        tokenizer=tokenizer,
        example={
            "input_features": torch.linspace(-1, 1, shape[0] * shape[1]).reshape(1, *shape),
            "decoder_input_ids": [example],
        },
        causal=True,
        reads="speech",
    )


def heard_once(host: Host, batch: Batch) -> dict[str, Any]:
    """What the model is called with; a recording in several rows (patching) is encoded once.

    The encoder of a real Whisper costs far more than a short transcript's decoder.
    """
    args: dict[str, Any] = dict(batch.args)
    docs, which = batch.doc.unique(return_inverse=True)
    if len(docs) < len(which):
        first = torch.stack([(which == i).nonzero()[0, 0] for i in range(len(docs))])
        out = host.model.encoder(args.pop("input_features")[first])
        args["encoder_outputs"] = type(out)(last_hidden_state=out.last_hidden_state[which])
    return args


def extractor_of(host: Host) -> Any:
    """What turns waveforms into the model's features, or None: a processor, or the extractor itself."""
    processor = getattr(host, "processor", None)
    return getattr(processor, "feature_extractor", processor)


def tokenizer_of(host: Host) -> Any:
    """The model's tokenizer, or the one in its processor, or None."""
    own = getattr(host, "tokenizer", None)
    return getattr(getattr(host, "processor", None), "tokenizer", None) if own is None else own


def prompt_of(host: Host, tokenizer: Any) -> list[int]:
    """The tokens in front of every transcript: the tokenizer's prefix, or what the model forces."""
    if prefix := getattr(tokenizer, "prefix_tokens", None):
        return list(prefix)
    settings = host.generation_config
    start = settings.decoder_start_token_id
    start = host.config.decoder_start_token_id if start is None else start
    forced = getattr(settings, "forced_decoder_ids", None) or []
    return [start, *(token for _, token in sorted(forced, key=lambda p: p[0]) if token is not None)]


def special_of(host: Host, tokenizer: Any, prompt: list[int]) -> frozenset[int]:
    """Every token that can stand in a prompt."""
    settings = host.generation_config
    found = {*prompt, *(getattr(tokenizer, "all_special_ids", None) or [])}
    for name in ("lang_to_id", "task_to_id"):
        found |= set((getattr(settings, name, None) or {}).values())
    for name in ("no_timestamps_token_id", "decoder_start_token_id", "prev_sot_token_id"):
        found |= {getattr(settings, name, None)}
    return frozenset(found - {None}) - end_of(host)


def end_of(host: Host) -> frozenset[int]:
    """The token (or tokens) behind a transcript."""
    end = host.generation_config.eos_token_id
    end = host.config.eos_token_id if end is None else end
    return frozenset(end if isinstance(end, list | tuple) else () if end is None else (end,))


def language_missing(host: Host, prompt: list[int]) -> bool:
    """Whether a model of many languages is given a prompt that names none."""
    languages = getattr(host.generation_config, "lang_to_id", None) or {}
    return bool(languages) and not set(languages.values()) & set(prompt)


@torch.no_grad()
def greedy(
    host: Host, prompt: list[int], features: Float[Tensor, "batch mel frame"], limit: int
) -> list[Int[Tensor, " _pos"]]:
    """Prompt and best next tokens, up to the end or ``limit`` tokens in all; without the end.

    Tokens that the model's generation settings suppress are not written.
    """
    settings, ends = host.generation_config, end_of(host)
    vocabulary = range(host.config.vocab_size)
    never, first = (
        [token for token in getattr(settings, name, None) or [] if token in vocabulary]
        for name in ("suppress_tokens", "begin_suppress_tokens")
    )
    ids = torch.tensor([prompt], device=features.device).repeat(len(features), 1)
    encoded: Any = host.model.encoder(features)
    done = torch.zeros(len(features), dtype=torch.bool, device=features.device)
    length = torch.full((len(features),), limit, device=features.device)
    step, past = ids, None
    while ids.shape[1] < limit and not bool(done.all()):
        out = host(
            encoder_outputs=encoded, decoder_input_ids=step, past_key_values=past, use_cache=True
        )
        scores, past = out.logits[:, -1].clone(), out.past_key_values
        scores[:, never + (first if ids.shape[1] == len(prompt) else [])] = -torch.inf
        step = scores.argmax(-1, keepdim=True)
        over = torch.isin(step[:, 0], torch.tensor(sorted(ends), device=step.device)) & ~done
        length[over], done = ids.shape[1], done | over
        ids = torch.cat([ids, step], 1)
    return [row[: int(n)].cpu() for row, n in zip(ids, length, strict=True)]
