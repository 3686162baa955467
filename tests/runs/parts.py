"""Small runs of every verb but the audit: what each is asked, writes, and gives when asked by hand."""

import dataclasses
import json
import shutil

import numpy as np

import satlens
from satlens.runs import (
    DepthSettings,
    DynamicsSettings,
    ExitsSettings,
    PatchSettings,
    ProbeSettings,
    RerankSettings,
    RouteSettings,
    ShortcutSettings,
    run_depth,
    run_dynamics,
    run_exits,
    run_patch,
    run_probe,
    run_rerank,
    run_route,
    run_shortcut,
)
from satlens.runs.folder import place
from satlens.saturation.detect import stream
from satlens.survey import read_corpus
from tests.builders import random_hf

PROBE = dict(max_tokens=600, min_states=8, per_cell=30, folds=2, draws=1)
PATCH = dict(
    max_tokens=600, pairs=20, steered=20, gap=1, alphas=(0.5, 1.0), offsets=(-1, 0, 1), across=True,
)  # fmt: skip
SHORTCUT = dict(
    max_tokens=600, k=3, rank=4, tuned_steps=2, submodule_tokens=60, submodule_layers=2, test_share=0.4,
    splits=2,
)  # fmt: skip
EXITS = dict(
    max_tokens=600, points=3, fit_tokens=200, min_states=5, per_cell=30, epsilons=(0.5,), delta=0.5,
    untrained_seeds=0, splits=2,
)  # fmt: skip
ROUTE = dict(max_tokens=600, steps=2, penalties=(0.3,), train_seeds=2, draws=1)
DEPTH = dict(max_tokens=600, draws=2)
DYNAMICS = dict(max_tokens=600, draws=2, null_tokens=200)
RERANK = dict(max_tokens=600, folds=2, draws=1, null_tokens=100, shuffles=19)
WRITTEN = {
    "probe": {"results.json", "settings.yaml", "probe.safetensors", "probe.json", "figures"},
    "patch": {"results.json", "settings.yaml", "effects.parquet", "figures"},
    "shortcut": {"results.json", "settings.yaml", "shortcut.safetensors", "shortcut.json",
                 "tuned.safetensors", "tuned.json", "figures"},
    "exits": {"results.json", "settings.yaml", "policies.parquet", "figures"},
    "rerank": {"results.json", "settings.yaml", "reranker.safetensors", "reranker.json", "tokens.parquet",
               "figures"},
    "depth": {"results.json", "settings.yaml", "figures"},
    "route": {"results.json", "settings.yaml", "gates.safetensors", "gates.json", "figures"},
    "dynamics": {"results.json", "settings.yaml", "figures"},
}  # fmt: skip
KINDS = {
    "probe": (ProbeSettings, PROBE), "patch": (PatchSettings, PATCH),
    "shortcut": (ShortcutSettings, SHORTCUT), "exits": (ExitsSettings, EXITS),
    "rerank": (RerankSettings, RERANK), "depth": (DepthSettings, DEPTH),
    "route": (RouteSettings, ROUTE), "dynamics": (DynamicsSettings, DYNAMICS),
}  # fmt: skip


def asked(verb, model, corpus, **change):
    kind, values = KINDS[verb]
    return kind(str(subject(verb, model)), corpus=str(corpus), **(values | change))


def subject(verb, model):
    """What a verb is asked about: the folder of a model, or of a training that ends in it."""
    if verb != "dynamics" or not model:
        return model
    training = model.parent / f"{model.name}-training"
    if not training.is_dir():
        shutil.copytree(model, training / "checkpoint-10")
        shutil.copytree(model, training / "checkpoint-5")
        config = json.loads((model / "config.json").read_text())
        fresh = random_hf("llama", seed=9, vocab=300, layers=config["num_hidden_layers"], n_ctx=64)
        fresh.save_pretrained(training / "checkpoint-5")
    return training


RUN = {"probe": run_probe, "patch": run_patch, "shortcut": run_shortcut, "exits": run_exits,
       "rerank": run_rerank, "depth": run_depth, "route": run_route,
       "dynamics": run_dynamics}  # fmt: skip


def results_of(out, verb):
    return json.loads((place(out, verb) / "results.json").read_text())


def direct(verb, model, corpus, results):
    """The same question asked of the library, with the texts themselves."""
    if verb == "dynamics":
        return direct_dynamics(model, read_corpus(corpus).documents)
    model = satlens.load_model(model)
    texts = list(read_corpus(corpus).documents[: results["corpus"]["documents"]])
    if verb == "exits":
        return direct_exits(satlens.wrap(model), texts)
    if verb == "route":
        return direct_route(satlens.wrap(model), texts)
    settings = dataclasses.asdict(asked(verb, "", ""))
    for name in ("model", "corpus", "max_tokens", "separator", "batch_size", "mask_share"):
        settings.pop(name, None)
    modules = {"probe": satlens.probes, "patch": satlens.patching, "shortcut": satlens.lenses,
               "rerank": satlens.reranking, "depth": satlens.theory.depth}  # fmt: skip
    if verb == "shortcut":
        settings.pop("k")  # of the saturation layers, which a lens knows nothing of
    return modules[verb].report(model, texts, **settings)


def direct_dynamics(model, texts):
    """Every checkpoint loaded by hand, and an untrained model in front."""
    first, last = (
        satlens.load_model(subject("dynamics", model) / f"checkpoint-{step}") for step in (5, 10)
    )
    own = asked("dynamics", "", "")
    rows = satlens.theory.track(
        [(10, last), (5, first), (0, satlens.untrained(first, 0))],
        list(texts),
        draws=own.draws,
        null_tokens=own.null_tokens,
    ).rows
    names = {0: "untrained, seed 0", 5: "checkpoint-5", 10: "checkpoint-10"}
    found = satlens.theory.tracking.report(
        satlens.theory.checkpoints(subject("dynamics", model)), list(texts), draws=own.draws,
        null_tokens=own.null_tokens,
    )  # fmt: skip
    assert [row.to_dict() for row in rows] == [row.to_dict() for row in found.track.rows]
    assert found.names == names
    return found


def direct_route(model, texts):
    """Documents dealt by hand."""
    own = asked("route", "", "")
    held_out, training = satlens.lenses.split_documents(
        model.batches(texts, 8), own.test_share, own.seed
    )
    return satlens.routing.report(
        model,
        training,
        held_out,
        penalties=own.penalties,
        steps=own.steps,
        lr=own.lr,
        train_seeds=own.train_seeds,
        draws=own.draws,
    )


def direct_exits(model, texts):
    """Documents dealt by hand, and the probe fitted on one part of them."""
    own = asked("exits", "", "")
    batches = model.batches(texts, 8)
    held_out, training = satlens.lenses.split_documents(batches, own.test_share, own.seed)
    seed = int(np.random.SeedSequence(own.seed).generate_state(1)[0])
    other = satlens.lenses.split_documents(batches, own.test_share, seed)

    def fit_stage(model, batches):
        sampler = satlens.probes.StageSampler(per_cell=own.per_cell, seed=own.seed)
        for states, events in stream(model, batches, k=own.k):
            features = satlens.probes.final_features(states.logits, own.k)
            sampler.update(states.resid, events, features)
        found = sampler.finish().balanced(own.stages, own.min_states)
        probe = satlens.StageProbe().fit(found.state, found.stage, found.layer)
        return satlens.exits.StageExit(probe, first=int(found.layer.min()))

    return satlens.exits.report(
        model, training, held_out, more_splits=[other[::-1]], fit_stage=fit_stage, points=own.points,
        epsilons=own.epsilons, delta=own.delta, tokens=own.fit_tokens, untrained_seeds=own.untrained_seeds,
        seed=own.seed,
    )  # fmt: skip
