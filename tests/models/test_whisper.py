"""Whisper's decoder: its states, which positions count, its own transcripts, its inputs and errors."""

import copy

import numpy as np
import pytest
import torch

import satlens
from satlens.errors import InputError, ModelError
from satlens.models import weights_sha256, wrap
from satlens.patching import patch
from satlens.saturation.detect import stream
from tests.builders import random_ids
from tests.models.speech import (
    END,
    ENGLISH,
    NO_TIMESTAMPS,
    SECOND,
    START,
    TRANSCRIBE,
    random_whisper,
    sounds,
    whisper_processor,
)  # fmt: skip

AUDIO = sounds([16_000, 9_000, 12_345, 16_000])
PAIRS = list(zip(AUDIO, random_ids(50, [6, 3, 8, 3]), strict=True))


@pytest.fixture
def host():
    return random_whisper()


@pytest.fixture
def spoken():
    """With a tokenizer whose prompt names a language."""
    model = random_whisper(processor=False)
    model.processor = whisper_processor("english")
    return model


@torch.no_grad()
def by_hand(host, features, ids, k):
    """Saturation layers of one row, from the outputs of the layers and whole sorts."""
    seen = []
    handles = [
        layer.register_forward_hook(lambda _m, _i, out: seen.append(out))
        for layer in host.model.decoder.layers
    ]
    logits = host(input_features=features[None], decoder_input_ids=ids[None]).logits[0]
    for handle in handles:
        handle.remove()
    scores = [host.proj_out(host.model.decoder.layer_norm(state))[0] for state in seen]
    top = torch.stack(
        [s.sort(dim=-1, descending=True, stable=True).indices[:, :k] for s in [*scores, logits]]
    )
    final, layers = top[-1], torch.zeros(len(ids), k, dtype=torch.int64)
    for layer, now in enumerate(top[:-1]):
        layers[now != final] = layer + 1
    return layers, final


def test_events_are_those_of_a_literal_loop(host):
    events = satlens.detect(host, PAIRS, k=3)
    for row in wrap(host).batches(PAIRS, 4).rows:
        layers, final = by_hand(host, row.features, row.ids, 3)
        mine = events.doc == row.doc
        assert events.layer[mine].tolist() == layers[row.real].tolist()
        assert events.token[mine].tolist() == final[row.real].tolist()
    assert events.layer.max() == 2
    assert len(np.unique(events.layer)) == 3


def test_what_predicts_the_transcript_and_its_end_counts(spoken):
    prompt = [START, ENGLISH, TRANSCRIBE, NO_TIMESTAMPS]
    model = wrap(spoken)
    inputs = [(AUDIO[0], "ab c"), (AUDIO[1], [1, 2]), (AUDIO[2], [START, 3, END]), (AUDIO[3], " ")]
    rows = model.batches(inputs, 4).rows
    assert [row.ids.tolist() for row in rows] == [
        [*prompt, 0, 1, 2, 0, 3], [*prompt, 1, 2], [START, 3], prompt,
    ]  # fmt: skip
    assert [int(row.real.sum()) for row in rows] == [6, 3, 2, 1]
    assert all(row.real.diff().sum() in (0, 1) and row.real[-1] for row in rows)
    assert all(row.real.all() for row in model.batches(inputs, 4, include_bos=True).rows)


def test_without_a_tokenizer_the_prompt_is_what_the_model_forces(host):
    host.generation_config.forced_decoder_ids = [[2, TRANSCRIBE], [1, ENGLISH], [3, None]]
    (row,) = wrap(host).batches([(AUDIO[0], [5])], 1).rows
    assert row.ids.tolist() == [START, ENGLISH, TRANSCRIBE, 5]


@torch.no_grad()
def written_literally(host, features, prompt, limit):
    ids = list(prompt)
    settings = host.generation_config
    while len(ids) < limit:
        scores = host(input_features=features[None], decoder_input_ids=torch.tensor([ids])).logits[
            0, -1
        ]
        scores[settings.suppress_tokens or []] = -torch.inf
        if len(ids) == len(prompt):
            scores[settings.begin_suppress_tokens or []] = -torch.inf
        token = int(scores.argmax())
        if token == END:
            break
        ids.append(token)
    return ids


@pytest.mark.parametrize("seed", range(3))
def test_without_a_transcript_its_own_greedy_one_is_read(seed, caplog):
    host = random_whisper(seed)
    host.proj_out.weight.data[END] += 0.3  # so that it ends sometimes
    plain = wrap(host).batches(AUDIO, 3)
    assert "4 of 4 recordings came without a transcript" in caplog.text
    host.generation_config.suppress_tokens = [int(plain.rows[0].ids[1]), 9]
    host.generation_config.begin_suppress_tokens = [END, 7]
    mixed = [
        AUDIO[0],
        (AUDIO[1], [3, 4]),
        (AUDIO[2], None),
        {"array": AUDIO[3], "sampling_rate": SECOND},
    ]
    rows = wrap(host).batches(mixed, 2).rows
    for row, given in zip(rows, (False, True, False, False), strict=True):
        want = [START, 3, 4] if given else written_literally(host, row.features, [START], 16)
        assert row.ids.tolist() == want
    assert rows[0].ids.tolist() != plain.rows[0].ids.tolist()


def test_its_own_transcript_is_rank_one(host):
    host.generation_config.suppress_tokens = None
    (row,) = wrap(host).batches(AUDIO[:1], 1).rows
    events = satlens.detect(host, AUDIO[:1], k=2)
    assert events.token[:-1, 0].tolist() == row.ids[1:].tolist()


def test_recordings_longer_than_the_encoder_are_cut_and_said(host, caplog):
    (long,) = sounds([20_000])
    wrap(host).batches([(long, [1]), (AUDIO[0], [1])], 2)
    assert "1 of 2 recordings was longer than the 1 s that the model reads at once" in caplog.text


def test_a_prompt_without_a_language_is_said(spoken, caplog):
    spoken.generation_config.lang_to_id = {"<|en|>": ENGLISH}
    wrap(spoken).batches([(AUDIO[0], "ab")], 1)
    assert "names no language" not in caplog.text
    spoken.processor = whisper_processor()
    wrap(spoken).batches([(AUDIO[0], "ab")], 1)
    assert "The prompt names no language" in caplog.text


def test_files_and_a_broken_one_among_them(host, tmp_path, caplog):
    soundfile = pytest.importorskip("soundfile")
    for name, wave in (("a.wav", AUDIO[1]), ("c.wav", AUDIO[2])):
        soundfile.write(tmp_path / name, wave.numpy(), SECOND, subtype="FLOAT")
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    pairs = [
        (tmp_path / f"{name}.wav", ids) for name, ids in zip("abc", ([1], [2], [3]), strict=True)
    ]
    rows = wrap(host).batches(pairs, 3).rows
    assert "1 of 3 audio files cannot be read and was skipped: b.wav" in caplog.text
    assert [(row.name, row.ids.tolist()) for row in rows] == [
        ("a.wav", [START, 1]),
        ("c.wav", [START, 3]),
    ]
    want = wrap(host).batches([(AUDIO[1], [1])], 1).rows[0].features
    assert torch.equal(rows[0].features, want)
    assert len(wrap(host).batches(str(tmp_path), 2).rows) == 2


FEATURES = torch.zeros(2, 8, 100)
BAD = [
    ("Tom ran.", r"An audio model reads no text"),
    ([("Tom ran.", "Tom ran.")], r"An audio model reads no text"),
    ([(AUDIO[0], [1], [2])], r"a pair \(audio, transcript\); got 3 things"),
    ([["a.wav", "b.wav"]], r"Recording 0 is list; pass a WAV or FLAC file"),
    ([(AUDIO[0], "ab")], r"is text, but the model has no tokenizer"),
    ([(AUDIO[0], [60])], r"ids from 60 to 60; the model reads 0 \.\. 57"),
    ([(AUDIO[0], [1] * 16)], r"The transcript of recording 0 has 17 tokens with its prompt; .* 16"),
    ({"input_features": FEATURES[:, :, :50]}, r"floats \[recording, 8, 100\]; got .*\(2, 8, 50\)"),
    ({"input_features": FEATURES[:0]}, r"Got no recordings"),
    ({"input_features": FEATURES / 0}, r"input_features hold NaN"),
    (
        {"input_features": FEATURES, "decoder_input_ids": [[START, 1]]},
        r"2 rows, decoder_input_ids 1",
    ),
]


@pytest.mark.parametrize(("inputs", "message"), BAD)
def test_what_cannot_be_read(host, inputs, message):
    with pytest.raises(InputError, match=message):
        wrap(host).batches(inputs, 2)


def test_without_a_processor():
    model = wrap(random_whisper(processor=False))
    assert len(
        model.batches({"input_features": FEATURES, "decoder_input_ids": [[START, 1]] * 2}, 2)
    )
    with pytest.raises(InputError, match=r"no processor .*AutoProcessor\.from_pretrained"):
        model.batches(AUDIO, 2)


def test_a_processor_of_another_model(host):
    host.processor = copy.deepcopy(host.processor)
    host.processor.nb_max_frames = 200
    with pytest.raises(
        ModelError, match=r"gives \(8, 200\) .* \(8, 100\)\. It belongs to another model"
    ):
        wrap(host).batches(AUDIO, 2)


def test_a_decoder_state_into_another_utterance(host):
    docs = list(zip(sounds([16_000] * 8, seed=3), random_ids(50, [7] * 8, seed=5), strict=True))
    result = patch(host, docs, gap=1, offsets=[0], conditions=["paired", "self"], k=3)
    assert len(result) > 0
    assert float(result.estimate("advance", "self").value.max()) == 0.0
    pairs = result.pairs
    assert (pairs.events.doc[pairs.donor] != pairs.events.doc[pairs.recipient]).any()


@torch.no_grad()
def test_a_recording_in_several_rows_is_encoded_once(host):
    model = wrap(host)
    rows = model.batches(PAIRS, 4).rows
    many = [rows[0], rows[1], rows[0], rows[0], rows[1]]
    batch = model.batches(PAIRS, 4).collate(many)
    encoded = []
    handle = host.model.encoder.register_forward_hook(
        lambda _m, i, out: encoded.append(len(out[0]))
    )
    logits = model.forward(batch)
    handle.remove()
    assert encoded == [2]
    want = host(**batch.args).logits
    assert float((logits - want)[batch.real].abs().max()) <= 2e-5 * float(want.std())


def test_untrained_is_another_model_with_the_same_ears(spoken):
    spoken.generation_config.suppress_tokens = [4]
    fresh, again = satlens.untrained(spoken, seed=1), satlens.untrained(spoken, seed=1)
    assert weights_sha256(fresh) == weights_sha256(again) != weights_sha256(spoken)
    assert fresh.processor is spoken.processor
    assert fresh.generation_config.suppress_tokens == [4]
    batches = wrap(spoken).batches(AUDIO, 2)
    events = next(iter(stream(fresh, batches)))[1]
    assert len(events) > 0


def test_a_folder_is_loaded_with_its_processor(spoken, tmp_path):
    spoken.save_pretrained(tmp_path / "whisper")
    assert satlens.load_model(tmp_path / "whisper").processor is None
    spoken.processor.save_pretrained(tmp_path / "whisper")
    loaded = satlens.load_model(tmp_path / "whisper")
    assert wrap(loaded).name == "whisper"
    texts = [(AUDIO[0], "ab c"), AUDIO[1]]
    want, got = (satlens.detect(one, texts, k=3) for one in (spoken, loaded))
    assert (got.layer == want.layer).all() and (got.token == want.token).all()


def test_bfloat16(host):
    host = host.bfloat16()
    want = satlens.detect(host, PAIRS, k=3, method="plain")
    events = satlens.detect(host, PAIRS, k=3)
    assert (events.layer == want.layer).all() and (events.token == want.token).all()
