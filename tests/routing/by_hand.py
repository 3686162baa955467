"""Gated forward passes written out, block by block, on Hugging Face's and TransformerLens' own modules."""

import torch


def first(out):
    return out[0] if isinstance(out, tuple) else out


def causal(n):
    """``[1, 1, n, n]``: 0 where a position may read, else minus infinity."""
    return torch.full((n, n), float("-inf")).triu(1)[None, None]


@torch.no_grad()
def gpt2(model, ids, keep):
    """``keep [L, batch, pos, 1]``: what each addition is multiplied by."""
    body = model.transformer
    h = body.wte(ids) + body.wpe(torch.arange(ids.shape[1]))
    for block, k in zip(body.h, keep, strict=True):
        h = h + k * first(block.attn(block.ln_1(h), attention_mask=causal(ids.shape[1])))
        h = h + k * block.mlp(block.ln_2(h))
    return model.lm_head(body.ln_f(h))


def angles(body, h):
    return body.rotary_emb(h, torch.arange(h.shape[1])[None])


def given(body, h):
    return {"position_embeddings": angles(body, h), "attention_mask": causal(h.shape[1])}


@torch.no_grad()
def llama(model, ids, keep):
    body = model.model
    h = body.embed_tokens(ids)
    more = given(body, h)
    for block, k in zip(body.layers, keep, strict=True):
        h = h + k * first(block.self_attn(hidden_states=block.input_layernorm(h), **more))
        h = h + k * block.mlp(block.post_attention_layernorm(h))
    return model.lm_head(body.norm(h))


@torch.no_grad()
def gpt_neox(model, ids, keep):
    body = model.gpt_neox
    h = body.embed_in(ids)
    more = given(body, h)
    for block, k in zip(body.layers, keep, strict=True):
        a = first(block.attention(block.input_layernorm(h), **more))
        h = h + k * a + k * block.mlp(block.post_attention_layernorm(h))
    head = getattr(model, "embed_out", None) or model.lm_head
    return head(body.final_layer_norm(h))


@torch.no_grad()
def gemma2(model, ids, keep):
    body, config = model.model, model.config
    h = body.embed_tokens(ids)
    if getattr(body.embed_tokens, "embed_scale", None) is None:
        h = h * torch.tensor(config.hidden_size**0.5, dtype=h.dtype)
    more = given(body, h)
    for block, k in zip(body.layers, keep, strict=True):
        a = first(block.self_attn(hidden_states=block.input_layernorm(h), **more))
        h = h + k * block.post_attention_layernorm(a)
        m = block.mlp(block.pre_feedforward_layernorm(h))
        h = h + k * block.post_feedforward_layernorm(m)
    cap = config.final_logit_softcapping
    logits = model.lm_head(body.norm(h))
    return torch.tanh(logits / cap) * cap


FAMILIES = {"gpt2": gpt2, "llama": llama, "gpt_neox": gpt_neox, "gemma2": gemma2}


@torch.no_grad()
def hooked(model, ids, keep):
    """A HookedTransformer, its MLP behind attention or beside it."""
    h = model.embed(ids) + model.pos_embed(ids)
    for block, k in zip(model.blocks, keep, strict=True):
        x = block.ln1(h)
        middle = h + k * block.attn(query_input=x, key_input=x, value_input=x)
        h = middle + k * block.mlp(block.ln2(h if model.cfg.parallel_attn_mlp else middle))
    return model.unembed(model.ln_final(h))
