"""A shortcut on disk: refused on another model, and where it was changed."""

import json

import pytest

import satlens
from satlens.errors import InputError
from satlens.lenses import LinearShortcut
from tests.builders import random_hooked, random_ids

DOCS = random_ids(40, [20, 31, 9, 25, 14])


@pytest.fixture
def saved(tmp_path):
    model = satlens.wrap(random_hooked(n_layers=4, d=16, vocab=40))
    LinearShortcut.fit(model, DOCS, rank=3, shared="subspace", intercept=True).save(tmp_path / "s")
    return tmp_path, model


def test_another_model_is_refused_and_both_are_named(saved):
    folder, model = saved
    other = satlens.wrap(random_hooked(n_layers=4, d=16, vocab=40, seed=1))
    with pytest.raises(
        InputError,
        match=rf"The shortcut .*s.json is of the model {model.name} \(4 blocks of width 16, 40 outputs, "
        rf"weights {satlens.models.weights_sha256(model)[:12]}..\); the model given is {other.name} .*"
        "Their unembeddings differ as well",
    ):
        LinearShortcut.load(folder / "s", other)
    with pytest.raises(InputError, match="They have other shapes"):
        LinearShortcut.load(folder / "s", random_hooked(n_layers=3, d=16, vocab=40))


def test_a_model_that_was_trained_further_is_refused(saved):
    folder, _ = saved
    host = random_hooked(n_layers=4, d=16, vocab=40)
    assert LinearShortcut.load(folder / "s", host).maps
    next(p for name, p in host.named_parameters() if "attn" in name).data.mul_(1.001)
    with pytest.raises(InputError, match="unembeddings are the same, their other weights are not"):
        LinearShortcut.load(folder / "s", host)


def change(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


TAMPER = {
    "tensors cut short": (
        lambda f: (f / "s.safetensors").write_bytes((f / "s.safetensors").read_bytes()[:-8]),
        r"is not the file that s.json was written with.* Save the shortcut again",
    ),
    "tensors missing": (lambda f: (f / "s.safetensors").unlink(), r"A shortcut is the pair NAME"),
    "json cut short": (
        lambda f: (f / "s.json").write_text((f / "s.json").read_text()[:-9]), "s.json is no JSON"
    ),
    "a setting edited": (lambda f: change(f / "s.json", settings={}), "was changed after it was written"),
    "a tuned lens": (
        lambda f: change(f / "s.json", format="satlens.TunedLens/1"), "holds no shortcut of satlens"
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPER)
def test_a_changed_short_or_foreign_file_is_refused(saved, how):
    folder, model = saved
    tamper, words = TAMPER[how]
    tamper(folder)
    with pytest.raises(InputError, match=words):
        LinearShortcut.load(folder / "s", model)
