"""Every question once, small: what `tests/test_shapes.py` runs while every annotated shape is checked."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

import satlens
from satlens import exits, lenses, order, patching, probes, reranking, routing, survey, theory
from satlens.saturation.detect import stream
from satlens.theory import batching
from tests.builders import random_hf
from tests.models.pictures import noise
from tests.models.speech import SECOND, sounds
from tests.runs.kinds import make_model
from tests.survey.little import save_corpus, save_model

K = 3


class Unnamed:
    """A lens of one's own that says nothing of a linear map: the final norm of twice the state, read."""

    name = "own"

    def __init__(self, model: satlens.ResidualModel) -> None:
        self.model = model

    def scores(self, resid: torch.Tensor, layer: int) -> torch.Tensor:
        return self.model.readout(2 * resid)


def settling(vocab: int = 80) -> satlens.ResidualModel:
    """A small random Llama whose later blocks write less and less: its tokens settle early."""
    model = random_hf("llama", vocab=vocab, layers=5, n_ctx=40)
    with torch.no_grad():
        for depth, block in enumerate(model.model.layers):
            for weight in (block.self_attn.o_proj.weight, block.mlp.down_proj.weight):
                weight *= 3 * 0.5**depth
    return satlens.wrap(model)


def documents(number: int = 14, length: int = 30, vocab: int = 80) -> list[torch.Tensor]:
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.integers(1, vocab, length)) for _ in range(number)]


def ask_saturation(model: Any, inputs: Any, folder: Path) -> None:
    events = satlens.detect(model, inputs, k=K, trajectory=True)
    for method in ("plain", "backward", "certified"):
        assert (satlens.detect(model, inputs, k=K, method=method).layer == events.layer).all()
    satlens.detect(model, inputs, k=K, lens=Unnamed(model))
    events.to_parquet(folder / "events.parquet")
    again = satlens.SaturationEvents.from_parquet(folder / "events.parquet")
    assert (again.layer == events.layer).all() and len(again.to_frame()) == events.layer.size
    nulls = order.draw_nulls(model, inputs, k=K, draws=4)
    untrained = [satlens.detect(satlens.untrained(model, 0), inputs, k=K)]
    order.report(events, nulls, untrained=untrained).to_dict()
    order.paper_tau(events), order.strict_tau(events), order.flips(events)


def ask_stages(model: Any, inputs: Any, folder: Path) -> None:
    found = probes.report(model, inputs, k=K, min_states=6, per_cell=20, folds=2, draws=1)
    found.to_dict()
    sampler = probes.StageSampler(per_cell=20)
    for states, events in stream(model, inputs, k=K):
        sampler.update(states.resid, events, probes.final_features(states.logits, K))
    states = sampler.finish().balanced(None, 6)
    probe = satlens.StageProbe().fit(states.state, states.stage, states.layer)
    probe.save(folder / "probe")
    again = satlens.StageProbe.load(folder / "probe")
    assert len(again.predict_proba(states.state)) == len(again.predict(states.state))
    again.score(states.state, states.stage)


def ask_patching(model: Any, inputs: Any, folder: Path) -> None:
    patching.report(
        model, inputs, k=K, pairs=8, steered=8, gap=1, alphas=(1.0,), offsets=(-1, 0), across=True
    ).to_dict()


def ask_lenses(model: Any, inputs: Any, folder: Path) -> None:
    lenses.report(
        model, inputs, rank=4, tuned_steps=2, submodule_tokens=40, submodule_layers=1, splits=1
    ).to_dict()
    fitted = {
        "shortcut": lenses.LinearShortcut.fit(model, inputs, ridge=0.1),
        "tuned": lenses.TunedLens.fit(model, inputs, steps=2),
    }
    for name, lens in fitted.items():
        lens.save(folder / name)
        satlens.detect(model, inputs, k=K, lens=type(lens).load(folder / name, model))


def ask_exits(model: Any, inputs: Any, folder: Path) -> None:
    held_out, training = lenses.split_documents(model.batches(inputs, 8), 0.5)

    def fit_stage(model: Any, batches: Any) -> exits.StageExit:
        sampler = probes.StageSampler(per_cell=20)
        for states, events in stream(model, batches, k=K):
            sampler.update(states.resid, events, probes.final_features(states.logits, K))
        found = sampler.finish().balanced(None, 3)
        probe = satlens.StageProbe().fit(found.state, found.stage, found.layer)
        return exits.StageExit(probe, first=int(found.layer.min()))

    found = exits.report(
        model, training, held_out, more_splits=[(held_out, training)], fit_stage=fit_stage, points=3,
        epsilons=(0.5,), delta=0.5, tokens=100, untrained_seeds=1,
    )  # fmt: skip
    found.to_dict(), found.to_frame()


def ask_generation(model: Any, inputs: Any, folder: Path) -> None:
    prompts = [ids[:5].tolist() for ids in inputs[:3]]
    for policy in (exits.SoftmaxResponse(0.3), exits.StateSaturation(0.9), exits.Patience(2)):
        made = exits.generate(model.host, prompts, policy, max_new_tokens=4, verify=2)
        made.to_frame()
    drawn: dict[str, Any] = {"do_sample": True, "top_k": 9, "top_p": 0.9, "max_new_tokens": 3}
    exits.generate(model.host, prompts, exits.Never(), **drawn)


def ask_reranking(model: Any, inputs: Any, folder: Path) -> None:
    model, inputs = settling(vocab=9), documents(24, 36, vocab=9)  # early ranks are often right
    reranking.report(model, inputs, k=K, folds=2, draws=1, null_tokens=100, shuffles=9).to_dict()


def ask_depth(model: Any, inputs: Any, folder: Path) -> None:
    theory.depth.report(model, inputs, k=K, draws=2).to_dict()
    theory.track([(0, satlens.untrained(model, 0)), (1, model)], inputs, draws=2, null_tokens=60)


def ask_routing(model: Any, inputs: Any, folder: Path) -> None:
    held_out, training = lenses.split_documents(model.batches(inputs, 8), 0.5)
    routing.report(
        model, training, held_out, steps=2, penalties=(0.3,), train_seeds=1, draws=1
    ).to_dict()
    gates = routing.TokenGates(model)
    rows = routing.pieces(torch.cat(inputs), batch_size=4, context=20)
    routing.evaluate_gates(gates, rows, draws=1)
    routing.SparseForward(gates)(torch.stack(inputs[:3]))


def ask_theory(model: Any, inputs: Any, folder: Path) -> None:
    rng = np.random.default_rng(0)
    none = np.zeros(4)
    machine = batching.Machine(
        batching.Clock(np.arange(1.0, 5), none, none, none, 8.0, 0.0), 400, 4, 12
    )
    leaving = tuple(np.array([3, *rng.integers(0, 4, 5)]) for _ in range(8))
    asked = batching.Requests(np.full(8, 4), leaving, 4)
    noise = rng.normal(0, 0.1, len(asked))
    asked = asked.predicted(asked.depth + noise, asked.length + noise)
    batching.study(asked, machine, load=3, seeds=2, draws=20)
    states = batching.prompt_states(model, inputs, 2)
    own, lengths = np.arange(len(states)), np.array([len(ids) for ids in inputs])
    batching.assess(states, rng.normal(size=len(states)), own, lengths, folds=2, shuffles=3)
    trained = {
        labels: theory.sweep_rates(
            theory.Sequences(queries=1, common=2, distinct=3, length=12, labels=labels),
            (1.0,),
            (2.0, 5.0),
            seeds=range(4),
            steps=6,
            batch=8,
        )
        for labels in ("own", "shuffled")
    }
    theory.judge_sweep(trained["own"], trained["shuffled"])


def ask_survey(model: Any, inputs: Any, folder: Path) -> None:
    settings: dict[str, Any] = {"k": K, "null_tokens": 30, "null_draws": 2, "batch_size": 4}
    named = save_model(folder / "model")
    corpus = save_corpus(folder / "corpus.txt", 6)
    found = survey.run(named, corpus, folder / "survey", shards=2, **settings)
    found.statistics(draws=20).to_dict()


def ask_media(model: Any, inputs: Any, folder: Path) -> None:
    for kind in ("images", "recordings", "speech", "masked text", "pairs"):
        read = satlens.wrap(satlens.load_model(make_model(kind, folder / kind)))
        given: Any = {
            "images": [noise(seed) for seed in range(3)],
            "recordings": sounds([700, 900]),
            "speech": sounds([SECOND // 4] * 2),
            "masked text": ["ab cde fgh", "ijk lm nop"],
            "pairs": [("ab cd", "ef gh"), ("ij", "kl mn")],
        }[kind]
        if kind == "masked text":
            masked = satlens.models.mask_documents(read, given, share=0.5)
            events = satlens.detect(read, masked.ids, k=K)
            masked.answers(events.doc, events.pos)
        else:
            satlens.detect(read, given, k=K)


QUESTIONS = (
    ask_saturation, ask_stages, ask_patching, ask_lenses, ask_exits, ask_generation, ask_reranking,
    ask_depth, ask_routing, ask_theory, ask_survey, ask_media,
)  # fmt: skip


def ask_everything(folder: Path) -> None:
    """Ask a small random model every question, and write what is written into ``folder``."""
    torch.set_num_threads(1)
    model, inputs = settling(), documents()
    for ask in QUESTIONS:
        ask(model, inputs, folder)
