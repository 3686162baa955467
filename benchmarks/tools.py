"""Other tools, each by its documented way, and by its cheapest where the two differ.

Imports are inside: what is not installed is skipped.
"""

import importlib
import io
import warnings
import weakref
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.methods import Found, Method, NotHere, Run, events
from benchmarks.ours import _detect
from benchmarks.torch_loops import lens, top

_HOOKED: "weakref.WeakKeyDictionary[nn.Module, nn.Module]" = weakref.WeakKeyDictionary()
VERSIONS = {"transformer_lens": "3.9.0", "tuned_lens": "0.2.0", "nnsight": "0.8.1"}


def need(module: str) -> Any:
    """The module, or `NotHere` with the command that installs the version this was written for."""
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0]
        command = f"pip install {package.replace('_', '-')}=={VERSIONS[package]}"
        raise NotHere(f"{error.name} is not here: {command}") from error


def hooked(model: nn.Module) -> nn.Module:
    """The same weights as a HookedTransformer, one for all rows."""
    if model not in _HOOKED:
        _HOOKED[model] = _hooked(model)
    return _HOOKED[model]


def _hooked(model: nn.Module) -> nn.Module:
    """Not folded, so that its states are the same too."""
    hooked_transformer = need("transformer_lens.HookedTransformer").HookedTransformer
    settings = need("transformer_lens.config.hooked_transformer_config").HookedTransformerConfig
    convert = need("transformer_lens.pretrained.weight_conversions.gpt2").convert_gpt2_weights
    c = model.config
    config = settings(
        n_layers=c.n_layer, d_model=c.n_embd, n_ctx=c.n_positions, n_heads=c.n_head,
        d_head=c.n_embd // c.n_head, d_mlp=4 * c.n_embd, d_vocab=c.vocab_size, act_fn="gelu_new",
        normalization_type="LN", eps=c.layer_norm_epsilon, attention_dir="causal", device="cpu",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "HookedTransformer is deprecated")
        out = hooked_transformer(config)
    out.load_state_dict(convert(model, config), strict=False)
    for where in (model.device, model.dtype):  # one at a time: its `to` takes no two
        out = out.to(where, print_details=False)
    return out.eval().requires_grad_(False)


def _tl_forward(model: nn.Module, k: int) -> Run:
    """What TransformerLens' own forward costs: part of both its rows below."""
    host = hooked(model)

    def run(ids: Tensor) -> None:
        host(ids)

    return run


def _tl_lean(model: nn.Module, k: int) -> Run:
    """Cache the residual stream alone; the lens layer by layer."""
    host = hooked(model)

    def run(ids: Tensor) -> Found:
        logits, cache = host.run_with_cache(
            ids, names_filter=lambda name: name.endswith("hook_resid_post")
        )
        tops = [
            top(host.unembed(host.ln_final(cache["resid_post", layer])), k)
            for layer in range(host.cfg.n_layers - 1)
        ]
        return events([*tops, top(logits, k)])

    return run


def _tl_full(model: nn.Module, k: int) -> Run:
    """The documented way: cache everything, the accumulated stream, all layers' logits at once."""
    host = hooked(model)

    def run(ids: Tensor) -> Found:
        _, cache = host.run_with_cache(ids)
        states = cache.accumulated_resid(apply_ln=True)[1:]  # without the embedding
        scores = states @ host.W_U + host.b_U
        return events(scores.topk(k, dim=-1).indices.flatten(1, 2))

    return run


def _tl_satlens(method: str) -> Any:
    """satlens on the HookedTransformer: like for like with the rows of TransformerLens."""

    def build(model: nn.Module, k: int) -> Run:
        return _detect(method)(hooked(model), k)

    return build


TL = "tl_plain"
"""What the rows of TransformerLens are checked against: its states differ from the other model's in their
last bits, and what a deep model makes of that can decide a rank otherwise."""


def _tuned_lens(model: nn.Module, k: int) -> Run:
    """tuned-lens' logit lens on the hidden states of the model."""
    read = need("tuned_lens.nn.lenses").LogitLens.from_model(model)

    def run(ids: Tensor) -> Found:
        out = model(ids, use_cache=False, output_hidden_states=True)
        between = out.hidden_states[1:-1]
        tops = [top(read(h, layer), k) for layer, h in enumerate(between)]
        return events([*tops, top(out.logits, k)])

    return run


def _nnsight(model: nn.Module, k: int) -> Run:
    """The logit lens of nnsight's tutorial: probabilities of every layer saved, then ranked."""
    nnsight = need("nnsight")
    traced = nnsight.NNsight(model)

    def run(ids: Tensor) -> Found:
        with traced.trace(ids, use_cache=False):
            saved = nnsight.save([])
            for block in traced.transformer.h:
                state = block.output[0] if isinstance(block.output, tuple) else block.output
                scores = traced.lm_head(traced.transformer.ln_f(state))
                saved.append(torch.nn.functional.softmax(scores, dim=-1))
        return events(torch.stack(list(saved)).topk(k, dim=-1).indices.flatten(1, 2))

    return run


def _nnsight_lean(model: nn.Module, k: int) -> Run:
    """The same with the ranking inside the trace, so that no layer's scores are kept."""
    nnsight = need("nnsight")
    traced, read = nnsight.NNsight(model), lens(model)

    def run(ids: Tensor) -> Found:
        with traced.trace(ids, use_cache=False):
            saved = nnsight.save([])
            for block in traced.transformer.h[:-1]:
                state = block.output[0] if isinstance(block.output, tuple) else block.output
                saved.append(top(read(state), k))
            saved.append(top(traced.output.logits, k))
        return events(list(saved))

    return run


METHODS = {
    "tl_forward": Method("TransformerLens: its forward alone", _tl_forward),
    "tl_satlens": Method(
        "satlens.detect, certified, on the TransformerLens model",
        _tl_satlens("certified"),
        reference=TL,
    ),
    TL: Method(
        "satlens.detect, plain, on the TransformerLens model", _tl_satlens("plain"), reference=TL
    ),
    "tl_lean": Method(
        "TransformerLens: run_with_cache, a layer at a time, topk", _tl_lean, reference=TL
    ),
    "tl_full": Method(
        "TransformerLens: run_with_cache, accumulated_resid, topk", _tl_full, reference=TL
    ),
    "tuned_lens": Method("tuned-lens: LogitLens, topk", _tuned_lens),
    "nnsight": Method("nnsight: tutorial (probabilities saved), topk", _nnsight),
    "nnsight_lean": Method("nnsight: topk inside the trace", _nnsight_lean),
}
