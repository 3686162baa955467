"""The forward pass itself, and what a torch user writes by hand around a Hugging Face GPT-2."""

from collections.abc import Callable
from contextlib import ExitStack

from jaxtyping import Float, Int
from torch import Tensor, nn

from benchmarks.methods import Found, Method, Run, events


def _forward(model: nn.Module, k: int) -> Run:
    """What everything is divided by: ids -> logits."""

    def run(ids: Tensor) -> None:
        model(ids, use_cache=False)

    return run


def _body(model: nn.Module, k: int) -> Run:
    """The same up to the final norm."""

    def run(ids: Tensor) -> None:
        model.transformer(ids, use_cache=False)

    return run


def lens(model: nn.Module) -> Callable[[Float[Tensor, "*row d"]], Float[Tensor, "*row output"]]:
    """State -> scores, by the model's own modules."""
    return lambda h: model.lm_head(model.transformer.ln_f(h))


def top(scores: Float[Tensor, "batch pos output"], k: int) -> Int[Tensor, "token k"]:
    """The k best, ties in any order."""
    return scores.topk(k, dim=-1).indices.flatten(0, 1)


def _careful(model: nn.Module, k: int) -> Run:
    """Hooks; scores of one layer at a time; only rankings are kept; the last layer's are the model's."""
    read, blocks = lens(model), model.transformer.h

    def run(ids: Tensor) -> Found:
        tops: list[Tensor] = []

        def look(block: nn.Module, args: tuple, out: Tensor | tuple) -> None:
            tops.append(top(read(out[0] if isinstance(out, tuple) else out), k))

        with ExitStack() as stack:
            for block in blocks[:-1]:
                stack.callback(block.register_forward_hook(look).remove)
            scores = model(ids, use_cache=False).logits
        return events([*tops, top(scores, k)])

    return run


def _sorted(model: nn.Module, k: int) -> Run:
    """Every layer's whole ranking by a full sort, as code published with the paper does.

    Scores of one layer at a time, which is kinder to memory.
    """
    read = lens(model)

    def ranked(scores: Tensor) -> Tensor:
        return scores.argsort(dim=-1, descending=True)[..., :k].flatten(0, 1)

    def run(ids: Tensor) -> Found:
        out = model(ids, use_cache=False, output_hidden_states=True)
        # The last of the hidden states is behind the final norm already.
        between = [ranked(read(h)) for h in out.hidden_states[1:-1]]
        return events([*between, ranked(out.logits)])

    return run


FORWARDS = {
    "forward": Method("plain forward, Hugging Face", _forward),
    "body": Method("forward without the unembedding", _body),
}
METHODS = {
    "careful": Method("torch: hooks, a layer at a time, topk", _careful),
    "sorted": Method("torch: full sort of every layer", _sorted),
}
