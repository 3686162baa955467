"""`checkpoints`: what is found, in which order, loaded one at a time, and what is refused before that."""

import gc
import json
import shutil
import weakref

import pytest
import torch

import satlens
from satlens.errors import InputError, ModelError
from satlens.models import weights_sha256
from satlens.theory import checkpoints, track
from satlens.theory.tracking.revisions import step_of
from tests.builders import random_hf
from tests.models.test_inputs import make_tokenizer
from tests.theory.test_track import SMALL, documents
from tests.zoo.synthetic import micro, write_texts


def save(folder, seed=0, **shape):
    random_hf("llama", seed=seed, **shape).save_pretrained(folder)
    make_tokenizer(bos_token="<s>").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """As transformers.Trainer leaves it: checkpoints, logs, and more."""
    root = tmp_path_factory.mktemp("training") / "mine"
    for seed, step in enumerate((500, 1000, 50)):
        save(root / f"checkpoint-{step}", seed)
    (root / "runs" / "events").mkdir(parents=True)
    (root / "trainer_state.json").write_text("{}")
    return root


@pytest.fixture
def copied(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "mine")


def test_a_trainers_folder_in_order_of_number(trained):
    found = checkpoints(trained)
    assert found.name == "mine" and found.notes == ()
    assert found.steps == [50, 500, 1000] and len(found) == 3
    assert [one.name for one in found.stored] == [
        "checkpoint-50",
        "checkpoint-500",
        "checkpoint-1000",
    ]
    for step, model in found:
        own = satlens.load_model(trained / f"checkpoint-{step}")
        assert weights_sha256(model) == weights_sha256(own)


@pytest.mark.parametrize("form", ["step{}", "step_{}", "step-{}", "global_step{}", "checkpoint_{}"])
def test_other_names_of_steps(trained, tmp_path, form):
    for step in (9, 10):
        shutil.copytree(trained / "checkpoint-500", tmp_path / form.format(step))
    shutil.copytree(trained / "checkpoint-500", tmp_path / "best")
    found = checkpoints(str(tmp_path))
    assert found.steps == [9, 10]
    assert found.notes == ("Left out, without a step in the name: best.",)


def test_one_model_at_a_time_and_only_when_asked(trained, monkeypatch):
    alive = []
    load = satlens.load_model

    def watched(*args, **kw):
        gc.collect()
        assert not [one for one in alive if one() is not None]
        model = load(*args, **kw)
        alive.append(weakref.ref(model))
        return model

    monkeypatch.setattr("satlens.theory.tracking.stored.load_model", watched)
    found = checkpoints(trained)
    assert alive == []
    rows = track(found, documents(vocab=7), **SMALL).rows
    assert [row.step for row in rows] == [50, 500, 1000] and len(alive) == 3


def test_a_run_of_the_zoo(tmp_path):
    from satlens.zoo.train import train

    threads = torch.get_num_threads()
    try:
        train(write_texts(tmp_path / "texts"), tmp_path / "run", micro(optimizer="adamw", steps=12))
    finally:
        torch.set_num_threads(threads)
    found = checkpoints(tmp_path / "run")
    assert found.name == "run" and found.steps[0] == 0 and found.steps[-1] == 12
    direct = dict(satlens.theory.snapshots(tmp_path / "run"))
    for step, model in found:
        assert weights_sha256(model) == weights_sha256(direct[step])
    (tmp_path / "run" / "settings.json").write_text('{"settings": {"cake": 1}}')
    with pytest.raises(InputError, match=r"holds no settings of python -m satlens\.zoo\.train"):
        checkpoints(tmp_path / "run")


def test_what_holds_no_course_is_refused(trained, copied, tmp_path):
    with pytest.raises(InputError, match="is no folder here.*Taken are the --out folder"):
        checkpoints(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"trainer_state\.json is a file"):
        checkpoints(trained / "trainer_state.json")
    with pytest.raises(InputError, match=r"it is one model \(config\.json\)\. Taken are"):
        checkpoints(trained / "checkpoint-500")
    (tmp_path / "cake" / "epoch3").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no checkpoints: found epoch3. Taken are"):
        checkpoints(tmp_path / "cake")
    for number in range(6):
        (tmp_path / "cake" / f"slice-{number}").mkdir()
    with pytest.raises(InputError, match=r"slice-3 and 2 more\. Taken are"):
        checkpoints(tmp_path / "cake")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no checkpoints: empty"):
        checkpoints(tmp_path / "empty")
    (copied / "checkpoint-2000").mkdir()
    with pytest.raises(InputError, match=r"No config\.json in checkpoint-2000"):
        checkpoints(copied)
    (copied / "checkpoint-2000").rmdir()
    shutil.copytree(copied / "checkpoint-500", copied / "step500")
    with pytest.raises(InputError, match=r"two of 500 \(checkpoint-500, step500\)"):
        checkpoints(copied)
    for name in ("step500", "checkpoint-500", "checkpoint-50"):
        shutil.rmtree(copied / name)
    with pytest.raises(InputError, match="one checkpoint, checkpoint-1000: a course needs two"):
        checkpoints(copied)
    with pytest.raises(InputError, match="not a name on the Hugging Face hub, which alone has"):
        checkpoints(trained, ["step1"])
    with pytest.raises(InputError, match="Give a revision or more"):
        checkpoints("org/small", [])


def test_checkpoints_of_several_models_are_refused_without_reading_weights(copied):
    for weights in copied.glob("*/model.safetensors"):
        weights.unlink()
    config = json.loads((copied / "checkpoint-1000" / "config.json").read_text())
    (copied / "checkpoint-1000" / "config.json").write_text(
        json.dumps(config | {"hidden_size": 64})
    )
    with pytest.raises(InputError, match="the width is 32 in checkpoint-1000 and 32|the width is"):
        checkpoints(copied)
    (copied / "checkpoint-1000" / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"Cannot read .*config\.json"):
        checkpoints(copied)
    (copied / "checkpoint-1000" / "config.json").write_text(json.dumps(config))
    assert len(checkpoints(copied)) == 3
    file = copied / "checkpoint-50" / "tokenizer.json"
    split = json.loads(file.read_text())
    file.write_text(json.dumps(split | {"truncation": None, "padding": None}))
    assert len(checkpoints(copied)) == 3
    split["model"]["vocab"]["z"] = split["model"]["vocab"].pop("d")
    file.write_text(json.dumps(split))
    with pytest.raises(InputError, match="tokenizers in .*checkpoint-50.* differ"):
        checkpoints(copied)


@pytest.mark.parametrize("revision", ["main", "v1.0", "abc1def", "a" * 40])
def test_a_revision_without_a_step_is_refused_with_what_to_write(revision):
    with pytest.raises(InputError, match=f"Write STEP:REVISION, for example 143000:{revision}"):
        step_of(revision)
    assert step_of(f"7:{revision}") == (7, revision)


def test_revisions_in_the_cache(hub_cache):
    found = checkpoints("org/small", ["20:main", "step512", "step0"])
    assert found.steps == [0, 20, 512] and found.name == "org/small"
    by_folder = checkpoints(hub_cache / "models--org--small", ["step0", "step512", "20:main"])
    assert by_folder.name == "org/small"
    hashes = [[weights_sha256(model) for _, model in every] for every in (found, by_folder)]
    assert hashes[0] == hashes[1] and len(set(hashes[0])) == 3
    with pytest.raises(
        ModelError, match="at revision 'step9'.*Downloaded before: main, step0, step512"
    ):
        checkpoints("org/small", ["step0", "step9"])
    with pytest.raises(InputError, match="no revision 'step9'; there are main, step0, step512"):
        checkpoints(hub_cache / "models--org--small", ["step0", "step9"])
    with pytest.raises(InputError, match="name the revisions to follow"):
        checkpoints(hub_cache / "models--org--small")
    with pytest.raises(InputError, match="not a name on the Hugging Face hub"):
        checkpoints("tiny", ["step0", "step1"])
