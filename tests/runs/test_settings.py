"""Settings: what a run writes repeats it, what is not settings is refused, and the defaults agree."""

import dataclasses
import inspect

import pytest

from satlens import lenses, patching, probes, reranking, routing
from satlens.cli.main import VERBS
from satlens.errors import InputError
from satlens.runs import (
    AuditSettings,
    ClaimsSettings,
    DepthSettings,
    DynamicsSettings,
    ExitsSettings,
    PatchSettings,
    ProbeSettings,
    RerankSettings,
    RouteSettings,
    ShortcutSettings,
)
from satlens.theory import depth, tracking

ASKED = [
    AuditSettings("tiny", corpus="a ü.txt", k=3, separator="\n\n"),
    ProbeSettings("tiny", stages=3, ties="drop", draws=1),
    ProbeSettings("tiny"),
    PatchSettings("tiny", offsets=(-1, 0, 2), alphas=(1.0, 2.5), across=False, gap=4),
    PatchSettings("tiny"),
    ShortcutSettings("tiny", ridge=0.01, rank=3, intercept=True, tuned_steps=0),
    ExitsSettings("tiny", points=4, epsilons=(0.3,), delta=0.2, test_share=0.25),
    RerankSettings("tiny", gap=3, C=0.5, null_tokens=0),
    RouteSettings("tiny", penalties=(0.5,), steps=7, k=2),
    DynamicsSettings("org/name", revisions=("step0", "7:main"), draws=3, untrained_seeds=0),
    DynamicsSettings("runs/mine"),
    ClaimsSettings("tiny", only=("order",), mask_share=0.2),
    DepthSettings("tiny", k=1, untrained_seeds=0, mask_share=0.3),
]


@pytest.mark.parametrize("asked", ASKED, ids=repr)
def test_settings_both_ways(tmp_path, asked):
    (tmp_path / "settings.yaml").write_text(asked.to_yaml(), encoding="utf-8")
    read = type(asked).read(tmp_path / "settings.yaml")
    assert read == asked
    assert all(type(v) is type(getattr(asked, name)) for name, v in vars(read).items())


def test_a_whole_number_is_a_number(tmp_path):
    (tmp_path / "settings.yaml").write_text("model: tiny\nalphas: [1, 2]\noffsets: null")
    read = PatchSettings.read(tmp_path / "settings.yaml")
    assert read.alphas == (1.0, 2.0) and all(type(alpha) is float for alpha in read.alphas)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (
            PatchSettings,
            "offsets: [0, x]",
            r"offsets must be a list of int or null, found \[0, 'x'\]",
        ),
        (PatchSettings, "offsets: 3", "offsets must be a list of int or null, found 3"),
        (PatchSettings, "across: maybe", "across must be bool or null, found 'maybe'"),
        (PatchSettings, "alphas: [true]", r"alphas must be a list of float, found \[True\]"),
        (PatchSettings, "draws: 20", r"holds \['draws', 'model'\]; patch settings want"),
        (ProbeSettings, "stages: 2.5", "stages must be int or null, found 2.5"),
        (ProbeSettings, "ties: keep", "ties must be one of 'skip', 'drop'; got 'keep'"),
        (ProbeSettings, "folds: 1", "folds must be at least 2, got 1"),
        (ProbeSettings, "null_tokens: 5", r"holds \['model', 'null_tokens'\]; probe settings want"),
        (ShortcutSettings, "submodule_layers: 0", "submodule_layers must be at least 1, got 0"),
        (ExitsSettings, "points: 1", "points must be at least 2, got 1"),
        (ExitsSettings, "epsilons: 0.1", "epsilons must be a list of float, found 0.1"),
        (RerankSettings, "shuffles: 0", "shuffles must be at least 1, got 0"),
        (DynamicsSettings, "draws: 0", "draws must be at least 1, got 0"),
        (
            DynamicsSettings,
            "revisions: step1",
            "revisions must be a list of str or null, found 'step1'",
        ),
        (DepthSettings, "draws: 0", "draws must be at least 1, got 0"),
        (AuditSettings, "stages: 3", r"holds \['model', 'stages'\]; audit settings want"),
    ],
)
def test_settings_of_another_verb_or_type_are_refused(tmp_path, kind, text, message):
    (tmp_path / "settings.yaml").write_text(f"model: tiny\n{text}")
    with pytest.raises(InputError, match=message):
        kind.read(tmp_path / "settings.yaml")


KINDS = {
    "audit": AuditSettings, "probe": ProbeSettings, "patch": PatchSettings,
    "shortcut": ShortcutSettings, "exits": ExitsSettings, "rerank": RerankSettings,
    "depth": DepthSettings, "route": RouteSettings, "dynamics": DynamicsSettings,
    "claims": ClaimsSettings,
}  # fmt: skip


@pytest.mark.parametrize("verb", KINDS)
def test_the_command_line_takes_every_setting_and_its_default(verb):
    taken = inspect.signature(VERBS[verb]).parameters
    wanted = {field.name: field.default for field in dataclasses.fields(KINDS[verb])}
    more = {"rows"} if verb == "dynamics" else set()
    assert set(taken) - set(wanted) == {"out", "settings", "overwrite"} | more
    for name, default in wanted.items():
        assert name == "model" or taken[name].default == default, name


REPORTS = [
    ("probe", probes.report), ("patch", patching.report), ("shortcut", lenses.report),
    ("rerank", reranking.report), ("depth", depth.report), ("route", routing.report),
    ("dynamics", tracking.report),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "report"), REPORTS)
def test_the_defaults_are_the_librarys(verb, report):
    taken = inspect.signature(report).parameters
    shared = [f for f in dataclasses.fields(KINDS[verb]) if f.name in taken and f.name != "model"]
    assert len(shared) > 3
    for field in shared:
        assert taken[field.name].default == field.default, field.name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k: 5", "settings want `model`"),
        ("model: tiny\nranks: 3", r"holds \['model', 'ranks'\]"),
        ("model: tiny\nk: five", "k must be int, found 'five'"),
        ("model: tiny\nk: true", "k must be int, found True"),
        ("[1, 2]", "holds list"),
        ("a: [", "is not a YAML file"),
        ("model: tiny\nk: 0", "k must be at least 2, got 0"),
        ("model: tiny\ndraws: 5", "draws must be at least 20, got 5"),
    ],
)
def test_bad_settings_files_are_refused(tmp_path, text, message):
    (tmp_path / "settings.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        AuditSettings.read(tmp_path / "settings.yaml")
