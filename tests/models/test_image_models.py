"""Image classifiers as bridge and as they are: the contract, `load_model`, `untrained`, two heads refused."""

import json
import logging
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import satlens
from satlens.errors import InputError, MissingExtraError, ModelError
from satlens.models import class_names, load_model, untrained, wrap
from satlens.models.inputs.image_processor import load_image_processor
from tests.builders import random_hf, to_bridge
from tests.contracts.residual_model import ResidualModelContract
from tests.models.pictures import (
    PROCESSOR,
    SIZE,
    image_classifier,
    noise,
    processor,
    write_pictures,
)


class TestHuggingFaceImages(ResidualModelContract):
    n_layers = 3
    test_padding_on_either_side_gives_the_same_rows = None  # images are not padded

    @pytest.fixture(scope="class", params=["vit", "deit"])
    @classmethod
    def host(cls, request):
        return image_classifier(request.param)

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls):
        return torch.randn(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))

    def test_only_the_class_token_counts(self, model, inputs):
        batch = self.first(model, inputs)
        # DeiT's distillation token is in the stream, and nobody reads it.
        assert batch.real.shape[1] == 4 + (2 if "DeiT" in type(model.host).__name__ else 1)
        assert batch.real.nonzero()[:, 1].tolist() == [0, 0, 0, 0]

    def test_without_the_norm_the_readout_is_another(self, model, inputs):
        """Errata 6: the final norm belongs to the readout of every layer, the last one's too."""
        states = model.states(self.first(model, inputs))
        bare = model.host.classifier(states.resid[-1])
        assert (bare - states.logits).abs().max() > 0.1 * states.logits.std()


class TestPicturesThroughABridge(ResidualModelContract):
    n_layers = 3
    test_padding_on_either_side_gives_the_same_rows = None  # images are not padded

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls, tmp_path_factory):
        model = to_bridge(image_classifier("deit", scale=2.0))
        model.processor = processor(tmp_path_factory.mktemp("model"))
        return model

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("pictures")
        write_pictures(folder, 5)
        return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model's folder, as transformers saves it."""
    path = tmp_path_factory.mktemp("models") / "small-vit"
    image_classifier(scale=3.0).save_pretrained(path)
    processor(path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures")
    write_pictures(path, 6)
    return path


def same_events(a, b):
    for name in ("layer", "token", "doc", "pos"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_a_folder_comes_with_its_image_processor(folder, pictures, caplog):
    with caplog.at_level(logging.WARNING):
        model = load_model(folder)
    assert not caplog.text
    assert wrap(model).name == "small-vit"
    hf = type(image_classifier()).from_pretrained(folder).eval()
    hf.image_processor = load_image_processor(str(folder), local=True)
    same_events(satlens.detect(model, pictures, k=3), satlens.detect(hf, pictures, k=3))


def test_a_processor_of_several_inputs_gives_its_image_processor(folder, pictures):
    class Both:
        image_processor = load_image_processor(str(folder), local=True)

    hf = type(image_classifier()).from_pretrained(folder).eval()
    hf.processor = Both()
    assert len(satlens.detect(hf, pictures, k=3)) == 6


def test_a_folder_without_processor_reads_pixels(tmp_path, caplog):
    image_classifier().save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, logger="satlens"):
        model = load_model(tmp_path)
    assert "has no preprocessor_config.json: the model reads pixels, not images" in caplog.text
    assert "tokenizer" not in caplog.text
    assert len(satlens.detect(model, torch.zeros(2, 3, SIZE, SIZE), k=2)) == 2


def test_a_processor_of_another_library(tmp_path):
    image_classifier().save_pretrained(tmp_path)
    # transformers 5 has this one for torchvision alone.
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "Sam2ImageProcessor"})
    )
    with pytest.raises(MissingExtraError, match=r"for torchvision only.*pip install torchvision"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "settings", ["no json", json.dumps(PROCESSOR | {"image_processor_type": "NoSuchProcessor"})]
)
def test_a_processor_that_cannot_be_loaded(tmp_path, settings):
    image_classifier().save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(settings)
    with pytest.raises(ModelError, match=r"The image processor of .* cannot be loaded \(\w+: "):
        load_model(tmp_path)


def test_without_pillow_a_model_reads_pixels(folder, pictures, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with caplog.at_level(logging.WARNING, logger="satlens"):
        model = load_model(folder)
    assert 'pip install "satlens[vision]"' in caplog.text
    assert len(satlens.detect(model, torch.zeros(2, 3, SIZE, SIZE), k=2)) == 2
    with pytest.raises(MissingExtraError, match=r"pip install"):
        satlens.detect(model, pictures)


def test_two_heads_are_refused(tmp_path):
    model = image_classifier("deit-teacher")
    message = r"averages two heads.*Load the checkpoint as DeiTForImageClassification"
    with pytest.raises(ModelError, match=message):
        wrap(model)
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path)


def test_a_model_without_a_classifier_is_refused():
    model = image_classifier(labels=7)
    model.classifier = nn.Identity()
    with pytest.raises(ModelError, match=r"not built like ViT or DeiT with a linear classifier"):
        wrap(model)
    with pytest.raises(ModelError, match=r"reads images and has no unembed"):
        wrap(to_bridge(image_classifier().vit))


def test_a_readout_of_your_own(folder):
    model = image_classifier()

    def readout(resid):
        return model.classifier(model.vit.layernorm(resid))

    wrapped = wrap(model, readout=readout)
    assert wrapped.readout is readout
    assert len(satlens.detect(wrapped, torch.zeros(2, 3, SIZE, SIZE), k=2)) == 2


def test_bfloat16(folder, pictures):
    model = load_model(folder, dtype=torch.bfloat16)
    events = satlens.detect(model, pictures, k=3)
    same_events(events, satlens.detect(model, pictures, k=3, method="plain"))


def test_a_text_model_does_not_read_pictures():
    with pytest.raises(InputError, match=r"Cannot read Image; pass a string"):
        satlens.detect(random_hf(), Image.fromarray(noise(0)))


@pytest.mark.parametrize("bridge", [True, False])
@pytest.mark.parametrize("kind", ["vit", "deit"])
def test_untrained(tmp_path, kind, bridge, pictures):
    model = image_classifier(kind)
    host = to_bridge(model) if bridge else model
    host.processor = processor(tmp_path)
    fresh = untrained(host, seed=3)
    assert type(fresh) is type(host) and not fresh.training
    assert fresh.processor is host.processor
    events = satlens.detect(fresh, pictures, k=3)
    same_events(events, satlens.detect(untrained(host, seed=3), pictures, k=3))
    # Not of zeros: DeiT's embeddings start at 0, so of a grey image nothing is left.
    inputs = torch.linspace(-1, 1, 3 * SIZE**2).reshape(1, 3, SIZE, SIZE)
    states = [
        wrap(one).states(next(iter(wrap(one).batches(inputs, 1))))
        for one in (fresh, untrained(host, seed=4), host)
    ]
    assert not torch.equal(states[0].logits, states[1].logits)
    assert not torch.equal(states[0].logits, states[2].logits)


def test_class_names(folder):
    model = image_classifier(id2label={index: f"class {index}" for index in range(7)})
    assert class_names(model, np.array([2, 0])) == ["class 2", "class 0"]
    assert class_names(to_bridge(model), [2]) == class_names(wrap(model), [2]) == ["class 2"]
    assert class_names(model, [99]) == class_names(nn.Linear(2, 2), [99]) == ["#99"]
