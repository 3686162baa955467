"""What a run keeps for the page's heatmap, for every kind of model: texts, pictures, waveforms."""

import base64
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import satlens
from satlens.models import mask_documents, read_audio, tensor_batches, wrap
from satlens.report.heatmap import document
from satlens.runs.heatmap import heatmap
from satlens.runs.media import SIDE, peaks, thumbnail
from satlens.runs.reading import Reading
from satlens.survey.corpus import Corpus
from tests.builders import random_hf, random_other_hf, to_bridge
from tests.models.pictures import image_classifier, noise, processor, write_pictures
from tests.models.speech import random_ctc, random_whisper, whisper_processor
from tests.models.test_contract_own import Classifier, by_hand
from tests.models.test_inputs import make_tokenizer

soundfile = pytest.importorskip("soundfile")


def entries(model, documents, given=None, k=3):
    """The heatmap of these documents; ``given`` is what the model is handed in their place."""
    model, documents = wrap(model), tuple(documents)
    read = list(documents) if given is None else given
    events = satlens.detect(model, read, k=k, trajectory=True)
    corpus = Corpus("corpus", documents, "00")
    made = heatmap(events, model, Reading(corpus, model.batches(read, 8), 0, ()))
    for entry in made:
        document(entry)  # it is what the page takes
        of = events[events.doc == entry["doc"]]
        assert entry["layer"] == of.layer[: len(entry["layer"])].tolist()
        assert entry["pos"] == of.pos[: len(entry["pos"])].tolist()
        assert np.shape(entry["top"]) == (len(entry["pos"]), events.n_layers, k)
    return made, events


def decoded(picture):
    head, _, coded = picture["src"].partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(BytesIO(base64.b64decode(coded)))


def write_sounds(folder, lengths, rate=16_000, seed=0):
    """WAV files of noise, the second of two channels."""
    folder.mkdir(exist_ok=True)
    rng, paths = np.random.default_rng(seed), []
    for i, n in enumerate(lengths):
        path = folder / f"{i}.wav"
        wave = rng.uniform(-0.5, 0.5, (n, 2) if i == 1 else n)
        soundfile.write(path, wave, rate, subtype="FLOAT")
        paths.append(path)
    return paths


# ---- pictures ----


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    host = image_classifier(scale=3.0)
    host.processor = processor(tmp_path_factory.mktemp("processor"))
    host.config.id2label = {i: f"animal {i}, creature {i}" for i in range(7)}
    return host


def test_images_are_taken_evenly_and_shown_as_they_are(classifier, tmp_path):
    paths = write_pictures(tmp_path, 30)
    made, events = entries(classifier, paths)
    assert [entry["doc"] for entry in made] == [0, 3, 5, 8, 11, 13, 16, 18, 21, 24, 26, 29]
    for entry in made:
        path = paths[entry["doc"]]
        assert entry["title"] == entry["picture"]["alt"] == path.relative_to(tmp_path).as_posix()
        shown = decoded(entry["picture"])
        assert (shown.width, shown.height) == (
            entry["picture"]["width"],
            entry["picture"]["height"],
        )
        assert np.array_equal(np.asarray(shown), np.asarray(Image.open(path).convert("RGB")))
        final = events.token[events.doc == entry["doc"]][0]
        assert entry["top"][0][-1] == [f"animal {i}, creature {i}" for i in final]


def test_few_images_are_all_shown_and_one_alone_too(classifier, tmp_path):
    paths = write_pictures(tmp_path, 3)
    assert [entry["doc"] for entry in entries(classifier, paths)[0]] == [0, 1, 2]
    (alone,), _ = entries(classifier, paths[:1])
    assert alone["title"] == "000.png" and alone["picture"]["width"] == 24


def test_a_damaged_image_keeps_its_place_and_is_not_shown(classifier, tmp_path):
    paths = write_pictures(tmp_path, 4)
    paths[1].write_bytes(paths[1].read_bytes()[:60])
    made, _ = entries(classifier, paths)
    assert [entry["doc"] for entry in made] == [0, 2, 3]
    assert made[1]["title"] == paths[2].relative_to(tmp_path).as_posix()


def test_a_large_picture_becomes_small_upright_and_bare(tmp_path):
    path = tmp_path / "large.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    exif[0x010E] = "a private description"
    image = Image.fromarray(noise(0, 300, 800))
    image.save(path, exif=exif, comment=b"a private comment", quality=95)
    made = thumbnail(path, "large.jpg")
    assert (made["width"], made["height"]) == (60, SIDE)
    assert len(made["src"]) < 20_000
    shown = decoded(made)
    assert shown.format == "JPEG" and not shown.getexif() and "comment" not in shown.info
    assert thumbnail(tmp_path / "gone.png", "gone.png") is None


# ---- recordings ----


def one_answer(samples=5):
    """A module of one's own that hears recordings of a few samples and gives one answer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = by_hand(Classifier().eval())
    read = partial(read_audio, samples=samples)
    return replace(
        model, batches=partial(tensor_batches, n_positions=6, read=read), reads="recordings"
    )


def test_a_recording_with_one_answer_is_whole_and_says_how_much_was_read(tmp_path):
    paths = write_sounds(tmp_path / "wav", [8, 5, 3] + [6] * 20)
    made, _ = entries(one_answer(), paths)
    assert len(made) == 12 and made[-1]["doc"] == 22
    by_doc = {entry["doc"]: entry for entry in made}
    long, short = by_doc[0]["wave"], by_doc[2]["wave"]
    assert long["seconds"] == 8 / 16_000 and long["read"] == 5 / 16_000 and len(long["peaks"]) == 8
    assert "read" not in short and short["seconds"] == 3 / 16_000
    assert long["alt"] == by_doc[0]["title"] == "0.wav"
    wave, _ = soundfile.read(paths[0])
    assert np.allclose(long["peaks"], np.stack([wave, wave], 1), atol=5e-4)


def test_seconds_are_those_of_the_file_at_another_rate(tmp_path):
    paths = write_sounds(tmp_path / "wav", [4_000, 8_000], rate=8_000)
    made, _ = entries(one_answer(5), paths)
    assert [entry["wave"]["seconds"] for entry in made] == [0.5, 1.0]
    assert [entry["wave"]["read"] for entry in made] == [5 / 16_000] * 2


def test_frames_share_the_time_of_their_samples(tmp_path):
    paths = write_sounds(tmp_path / "wav", [2_000, 7_000, 1_500, 2_000])
    made, events = entries(random_ctc(), paths)
    assert [entry["doc"] for entry in made] == [0, 1, 2]
    assert [entry["title"] for entry in made] == ["0.wav", "1.wav, the first 0.2 s", "2.wav"]
    hop = 32  # samples from one frame to the next
    for entry in made:
        n = min(100, int((events.doc == entry["doc"]).sum()))
        wave = entry["wave"]
        assert len(entry["tokens"]) == n and wave["frame"] == hop / 16_000
        assert wave["seconds"] == pytest.approx(n * hop / 16_000) and len(wave["peaks"]) == 5 * n
        assert entry["tokens"][:3] == ["0.0000", "0.0020", "0.0040"]
        heard = soundfile.read(paths[entry["doc"]], always_2d=True)[0].mean(1)
        for frame in (0, 1, n - 1):
            part = heard[frame * hop : (frame + 1) * hop]
            low, high = np.array(wave["peaks"][5 * frame : 5 * frame + 5]).T
            assert low.min() == pytest.approx(part.min(), abs=1e-3)
            assert high.max() == pytest.approx(part.max(), abs=1e-3)
    assert made[0]["top"][0][-1] == [f"#{i}" for i in events.token[events.doc == 0][0]]


def test_speech_stands_below_its_recording(tmp_path):
    host = random_whisper()
    host.processor = whisper_processor("english")
    paths = write_sounds(tmp_path / "wav", [8_000, 24_000])
    made, _ = entries(host, [(paths[0], "ab c"), (paths[1], None)])
    assert [entry["title"] for entry in made] == ["0.wav", "1.wav"]
    assert "read" not in made[0]["wave"] and "frame" not in made[0]["wave"]
    assert made[1]["wave"]["read"] == 1.0 and made[1]["wave"]["seconds"] == 1.5
    assert "".join(made[0]["tokens"][1:]).strip() == "ab c"


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60), st.integers(1, 70))
def test_peaks_are_those_of_equal_stretches(samples, n):
    found = peaks(torch.tensor(samples, dtype=torch.float32), n)
    count = min(n, len(samples))
    ends = [round(i * len(samples) / count) for i in range(count + 1)]
    parts = [samples[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    assert np.allclose(found, [[min(part), max(part)] for part in parts], atol=5.1e-4)


# ---- text ----


def test_text_is_text_alone():
    host = random_hf("llama", vocab=50, layers=3)
    host.tokenizer = None
    made, _ = entries(host, [[3, 4, 5], [6, 7]], k=2)
    assert [entry["title"] for entry in made] == ["document 0", "document 1"]
    assert made[0]["tokens"] == ["#3", "#4", "#5"]
    assert made[0].keys() == {"doc", "title", "tokens", "pos", "top", "layer"}


def test_masked_text_shows_the_text_and_the_masked_positions(tmp_path):
    host = to_bridge(random_other_hf("bert"), "bert")
    host.tokenizer = make_tokenizer(cls_token="[CLS]", sep_token="[SEP]", mask_token="d")
    texts = ["a b c a b c", "b a b a"]
    ids = mask_documents(wrap(host), texts, share=0.5, seed=0).ids
    made, events = entries(host, texts, given=ids)
    for entry, row in zip(made, ids, strict=True):
        masked = [i for i, token in enumerate(row) if int(token) == 6]
        assert entry["pos"] == masked and set(entry["tokens"]) == {"d"}
        assert entry["text"].count("d") == len(masked)


def test_a_pair_shows_its_source():
    host = random_other_hf("t5")
    host.tokenizer = make_tokenizer(eos_token="[SEP]")
    made, _ = entries(host, [("a b", "c d"), ("d", "a")])
    assert [entry["title"] for entry in made] == ["pair 0", "pair 1"]
    assert made[0]["text"].startswith("a b") and "c" not in made[0]["text"]


# ---- real models ----


@pytest.mark.assets
def test_what_a_real_model_says_of_real_images(assets):
    paths = sorted((assets / "data" / "cifar10").rglob("*.jpg"))[::20]
    made, _ = entries(satlens.load_model(assets / "models" / "deit-tiny"), paths, k=5)
    assert len({Path(entry["title"]).parts[0] for entry in made}) == len(made) == 10
    assert all(entry["picture"]["width"] == 32 for entry in made)
    assert all("#" not in label for entry in made for label in entry["top"][0][-1])
