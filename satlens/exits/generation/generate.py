"""Generation that stops computing: a token that leaves after block l costs l + 1 blocks, and no more.

    state h_l after the block where the policy says "leave"  ->  lens  ->  next token

The prompt runs through the whole model; from its second token on each sequence leaves where the policy says,
alone. Keys and values of skipped blocks are made from the state that left (`satlens.exits.decoder`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from satlens.conventions import DEFAULT_SEED
from satlens.exits.decoder.check import checked_decoder
from satlens.exits.decoder.decoder import Decoder
from satlens.exits.generation.answers import Answers, generators
from satlens.exits.generation.decoding import Stepper
from satlens.exits.generation.request import checked, read_prompts, stop_ids
from satlens.exits.generation.result import Generation
from satlens.exits.generation.speculative import draft_and_verify
from satlens.exits.policy import Policy, name_of
from satlens.lenses.base import Lens, check_model
from satlens.lenses.logit import LogitLens
from satlens.models.protocol import ResidualModel
from satlens.models.wrap import wrap


@torch.no_grad()
def generate(
    model: Any,
    prompts: Any,
    policy: Policy | None = None,
    *,
    max_new_tokens: int = 20,
    lens: Lens | None = None,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | Sequence[int] = DEFAULT_SEED,
    eos_token_id: int | Sequence[int] | None = None,
    stop_at_eos: bool = True,
    verify: int | None = None,
    batch_size: int = 8,
    method: str = "auto",
) -> Generation:
    """Continue prompts, each token leaving the model where the policy says.

    Args:
        model: a host or a `ResidualModel`: HookedTransformer, or GPT-2, GPT-NeoX, Llama, Mistral, Qwen2 or
            Qwen3 as a TransformerBridge or a Hugging Face model. A host is checked anew at every call; for
            many, give ``satlens.wrap(host)``.
        prompts: what `satlens.detect` reads: a text, texts, lists of ids, or a tokenizer's output.
        policy: a `satlens.exits.Policy`; None never leaves.
        max_new_tokens: at most so many for each prompt.
        lens: reads the token off the state that left; the logit lens if not given.
        do_sample: draw tokens in place of taking the best one.
        temperature, top_k, top_p: of drawing, in this order, as in transformers.
        seed: of drawing; one for all prompts, or one for each. A prompt draws the same in any batch.
        eos_token_id: where a sequence ends; the model's own if not given.
        stop_at_eos: False goes on to ``max_new_tokens``.
        verify: exits draft so many tokens, then the full model verifies them in one pass: greedy output
            exactly the full model's (`satlens.exits.speculative`).
        batch_size: prompts that run together.
        method: how the best token is found, as in `satlens.detect`; the tokens are the same.

    Raises:
        InputError: settings that mean nothing, prompts that are empty or too long, a policy that does not
            answer with a boolean a token, a lens of another model.
        ModelError: an encoder, blocks that are not known, hooks on the host, training mode.
        NumericsError: NaN.

    Source: Schuster et al. 2022 (CALM), section 3.3, for keys and values of skipped blocks.

    Example:
        >>> import satlens
        >>> from satlens.exits import FixedLayer
        >>> made = generate(
        ...     satlens.load_model("tiny"), "Lily had a red ball.", FixedLayer(11), max_new_tokens=4
        ... )
        >>> made.exit_layer[0].tolist(), made.n_layers, made.blocks
        ([15, 11, 11, 11], 16, 36)
    """
    model = wrap(model)
    asked = checked(max_new_tokens, policy, verify, do_sample, temperature, top_k, top_p)
    decoder = checked_decoder(model)
    rows = read_prompts(model, prompts, batch_size, max_new_tokens)
    lens = LogitLens(model) if lens is None else lens
    check_model(lens, model)
    answers = Answers(lens, method, asked)
    own = generators(seed, len(rows))
    ends = stop_ids(model, eos_token_id) if stop_at_eos else frozenset()
    job = _Job(decoder, policy, answers, max_new_tokens, ends, verify)
    made = [_Made() for _ in rows]
    # Like lengths run together, the longest first.
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]), reverse=True)
    for first in range(0, len(order), batch_size):
        part = order[first : first + batch_size]
        job.run([rows[i] for i in part], [made[i] for i in part], [own[i] for i in part])
    settings = {
        "model": model.name, "policy": None if policy is None else name_of(policy),
        "lens": answers.lens.name, "max_new_tokens": max_new_tokens, "do_sample": do_sample,
        "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "seed": [int(one) for one in seed] if isinstance(seed, Sequence) else int(seed),
        "eos_token_id": sorted(ends),
        "verify": verify, "batch_size": batch_size,
    }  # fmt: skip
    return job.result(model, rows, made, settings)


@dataclass
class _Made:
    """What one prompt has got so far."""

    tokens: list[int] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)
    drafted: list[bool] = field(default_factory=list)


@dataclass
class _Job:
    """One call: batch after batch."""

    decoder: Decoder
    policy: Policy | None
    answers: Answers
    most: int
    ends: frozenset[int]
    verify: int | None
    blocks: int = 0
    seconds_prompt: float = 0.0
    seconds_new: float = 0.0
    proposed: int = 0
    accepted: int = 0

    def run(self, prompts: list[Tensor], made: list[_Made], own: list[torch.Generator]) -> None:
        """Some prompts together, until each has ended."""
        began = time.perf_counter()
        room = self.most + (self.verify or 0)
        stepper = Stepper.of(self.decoder, self.policy, self.answers.lens.scores, prompts, room)
        left = stepper.prompt(prompts)
        token = self.answers(left, own)
        going = self._emit(made, token[:, None], left.layer[:, None], None)
        prompted = time.perf_counter()
        while True:
            if len(going) < len(made):
                made, own = [made[i] for i in going], [own[i] for i in going]
                if not made:
                    break
                stay = torch.tensor(going, device=token.device)
                stepper.drop(stay)
                token = token[stay]
            if self.verify is None:
                left = stepper.step(token)
                token = self.answers(left, own)
                going = self._emit(made, token[:, None], left.layer[:, None], None)
            else:
                token, going = self._round(stepper, made, token)
        self.blocks += stepper.blocks
        self.seconds_prompt += prompted - began
        self.seconds_new += time.perf_counter() - prompted

    def _round(
        self, stepper: Stepper, made: list[_Made], token: Tensor
    ) -> tuple[Tensor, list[int]]:
        """Drafts and their verification; the last token of each row."""
        room = [self.most - len(one.tokens) for one in made]
        drafts = min(self.verify or 0, max(room) - 1)
        done = draft_and_verify(stepper, self.answers, token, drafts)
        for left, accepted in zip(room, done.accepted.tolist(), strict=True):
            self.proposed += min(drafts, left)
            self.accepted += min(accepted, left)
        going = self._emit(made, done.token, done.layer, done.accepted)
        rows = torch.arange(len(made), device=token.device)
        return done.token[rows, done.accepted.to(token.device)], going

    def _emit(
        self,
        made: list[_Made],
        token: Int[Tensor, "row m"],
        layer: Int[Tensor, "row m"],
        accepted: Int[Tensor, " row"] | None,
    ) -> list[int]:
        """Write tokens down; gives the rows that go on. With drafts, a row has ``accepted + 1`` of them."""
        going = []
        counts = [0] * len(made) if accepted is None else accepted.tolist()
        rows = zip(made, token.tolist(), layer.tolist(), counts, strict=True)
        for row, (one, tokens, layers, count) in enumerate(rows):
            for place in range(count + 1):
                one.tokens.append(tokens[place])
                one.layers.append(layers[place])
                one.drafted.append(place < count)
                if tokens[place] in self.ends or len(one.tokens) == self.most:
                    break
            else:
                going.append(row)
        return going

    def result(
        self, model: ResidualModel, rows: list[Tensor], made: list[_Made], settings: dict[str, Any]
    ) -> Generation:
        """Everything, with its text."""
        text = pieces = None
        if model.tokenizer is not None:
            decode = model.tokenizer.decode
            text = tuple(decode(one.tokens, skip_special_tokens=True) for one in made)
            pieces = tuple(tuple(decode([token]) for token in one.tokens) for one in made)
        return Generation(
            tokens=tuple(torch.tensor(one.tokens) for one in made),
            exit_layer=tuple(torch.tensor(one.layers) for one in made),
            drafted=tuple(torch.tensor(one.drafted) for one in made),
            prompts=tuple(row.cpu() for row in rows),
            text=text,
            n_layers=self.decoder.n_layers,
            blocks=self.blocks,
            seconds_prompt=self.seconds_prompt,
            seconds_new=self.seconds_new,
            proposed=self.proposed,
            accepted=self.accepted,
            settings=settings,
            pieces=pieces,
        )
