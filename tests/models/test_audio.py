"""Audio of every accepted kind as waveforms; what cannot be read is named."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens.errors import InputError, MissingExtraError
from satlens.models.inputs.audio import read_audio, resample
from tests.models.speech import sounds

soundfile = pytest.importorskip("soundfile")
STEP = 1 / 32768  # of 16-bit samples


def sine(rate: int, seconds: float = 0.5, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


@pytest.fixture
def folder(tmp_path):
    """Two good files, one in a folder of its own, a text beside them."""
    soundfile.write(tmp_path / "b.wav", sine(16_000), 16_000)
    (tmp_path / "a").mkdir()
    soundfile.write(tmp_path / "a" / "c.FLAC", sine(16_000, 0.25), 16_000, format="FLAC")
    (tmp_path / "notes.txt").write_text("no sound")
    return tmp_path


def test_a_file(folder):
    found = read_audio(folder / "b.wav")
    assert (found.names, found.item, found.note) == (("b.wav",), (0,), None)
    assert found.waves[0].dtype == torch.float32
    assert float((found.waves[0] - torch.from_numpy(sine(16_000))).abs().max()) <= STEP


def test_a_folder_is_read_recursively_in_order_of_name(folder):
    found = read_audio(str(folder))
    assert found.names == ("a/c.FLAC", "b.wav")
    assert [len(wave) for wave in found.waves] == [4000, 8000]
    assert found.note is None


def test_channels_are_averaged(tmp_path):
    left, right = sine(16_000), sine(16_000, hertz=300)
    soundfile.write(tmp_path / "x.wav", np.stack([left, right], 1), 16_000, subtype="FLOAT")
    (wave,) = read_audio(tmp_path / "x.wav").waves
    assert np.allclose(wave, (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("found", [8_000, 22_050, 44_100, 48_000])
def test_another_rate_is_resampled_and_said_once(tmp_path, caplog, found):
    soundfile.write(tmp_path / "x.wav", sine(found), found, subtype="FLOAT")
    soundfile.write(tmp_path / "y.wav", sine(16_000), 16_000, subtype="FLOAT")
    audio = read_audio([tmp_path / "x.wav", tmp_path / "y.wav"])
    assert audio.note == (
        "1 of 2 recordings had another sampling rate and was resampled to 16000 Hz: "
        f"x.wav ({found} Hz)."
    )
    x, y = audio.waves
    assert abs(len(x) - len(y)) <= 1
    middle = slice(1000, 7000)  # the filter rings at the ends
    assert float((x[middle] - y[middle]).abs().max()) < 2e-3


@settings(max_examples=30)
@given(
    found=st.integers(4_000, 48_000),
    hertz=st.floats(100, 1_500),
    seconds=st.floats(0.3, 0.6),
)
def test_a_tone_keeps_its_pitch_at_any_rate(found, hertz, seconds):
    wave = resample(torch.from_numpy(sine(found, seconds, hertz)).float(), found, 16_000)
    # A polyphase filter of coprime rates is long; its ends ring.
    middle = wave[len(wave) // 4 : 3 * len(wave) // 4].double()
    t = (torch.arange(len(middle)) + len(wave) // 4) / 16_000
    basis = torch.stack(
        [torch.sin(2 * torch.pi * hertz * t), torch.cos(2 * torch.pi * hertz * t)], 1
    )
    fit = torch.linalg.lstsq(basis.double(), middle[:, None]).solution[:, 0]
    assert abs(float(fit[0]) - 0.5) < 5e-3
    assert abs(float(fit[1])) < 5e-3


def test_unreadable_files_among_good_ones_are_named_skipped_and_counted(folder):
    (folder / "broken.wav").write_bytes(b"RIFF but no more")
    (folder / "a" / "empty.flac").write_bytes(b"")
    soundfile.write(folder / "nan.wav", np.array([0.0, np.nan]), 16_000, subtype="FLOAT")
    soundfile.write(folder / "none.wav", np.zeros(0), 16_000)
    found = read_audio(folder)
    assert found.names == ("a/c.FLAC", "b.wav")
    assert found.item == (0, 2)
    assert found.note.startswith(
        "4 of 6 audio files cannot be read and were skipped: a/empty.flac ("
    )
    assert "broken.wav (Format not recognised)" in found.note
    assert "nan.wav (NaN or infinite samples), none.wav (no samples)." in found.note


def test_nothing_readable(tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"no")
    with pytest.raises(InputError, match=r"None of 1 audio files can be read: broken\.wav \("):
        read_audio(tmp_path)


def test_arrays_and_mappings():
    a, b = sounds([300, 200])
    assert torch.equal(read_audio(a).waves[0], a)
    for inputs in ([a, b.double()], [a.numpy(), {"array": b, "sampling_rate": np.int64(16_000)}]):
        found = read_audio(inputs)
        assert found.names == ("recording 0", "recording 1")
        assert torch.equal(found.waves[0], a)
        assert torch.equal(found.waves[1], b)
    rows = read_audio(torch.stack([a, a]))
    assert len(rows) == 2
    assert len(read_audio({"array": a.numpy(), "sampling_rate": 8_000}).waves[0]) == 600


def test_nothing_is_shared():
    wave = torch.ones(10)
    array = np.ones(10, np.float32)
    for own in (wave, array):
        read_audio(own).waves[0].zero_()
    assert wave.sum() == array.sum() == 10


def test_one_length_for_all():
    stacked = read_audio([torch.ones(300), torch.ones(200)], samples=250)
    assert stacked.values.shape == (2, 250)
    assert stacked.values.sum(1).tolist() == [250, 200]
    assert stacked.note == (
        "1 of 2 recordings are longer than 0.015625 s and were cut there: recording 0."
    )


BAD = [
    ("Once upon a time", r"no file or folder 'Once upon a time'\. An audio model reads no text"),
    ("no\0file", r"no file or folder"),
    ("x" * 5000, r"no file or folder 'x{57}\.\.\.'"),
    (["Tom ran."], r"no file or folder 'Tom ran\.'"),
    ([], r"Got no recordings \(an empty list\)"),
    (None, r"cannot read NoneType; pass a WAV or FLAC file"),
    (b"RIFF", r"cannot read bytes"),
    (torch.zeros(2, 2, 2), r"Got an array of shape \(2, 2, 2\)"),
    (torch.zeros(0, 5), r"Got an array of shape \(0, 5\)"),
    (torch.zeros(0), r"Recording 0 has shape \(0,\)"),
    ([torch.zeros(2, 9)], r"Recording 0 has shape \(2, 9\); a waveform is 1-D"),
    (torch.tensor([1, 2]), r"Recording 0 holds torch\.int64; a .*divide 16-bit samples by 32768"),
    ([torch.tensor([0.0, torch.nan])], r"Recording 0 holds NaN or infinite values"),
    ([3.5], r"Recording 0 is float"),
    ({"array": torch.ones(3)}, r"the keys \['array'\]; array and sampling_rate are needed"),
    ({"array": torch.ones(3), "sampling_rate": 0}, r"sampling_rate of recording 0 must be a whole"),
]


@pytest.mark.parametrize(("inputs", "message"), BAD)
def test_what_is_no_audio(inputs, message):
    with pytest.raises(InputError, match=message):
        read_audio(inputs)


def test_folders_without_audio(tmp_path):
    with pytest.raises(InputError, match=r"has no WAV or FLAC files \(it is empty\)"):
        read_audio(tmp_path)
    (tmp_path / "story.txt").write_text("Tom ran.")
    with pytest.raises(InputError, match=r"no WAV or FLAC files \(1 other files: story\.txt\)"):
        read_audio(tmp_path)
    with pytest.raises(InputError, match="is a folder; pass it alone"):
        read_audio([tmp_path])


def test_a_rate_that_means_nothing():
    with pytest.raises(InputError, match="rate must be a whole number"):
        read_audio(torch.ones(3), rate=0)


def test_without_soundfile_arrays_are_read_and_files_say_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert len(read_audio(torch.ones(5))) == 1
    with pytest.raises(MissingExtraError, match=r'^[^\n]*pip install "satlens\[audio\]"\.$'):
        read_audio(folder)


@pytest.mark.assets
def test_real_recordings(assets):
    found = read_audio(assets / "data" / "speech")
    assert len(found) == 10
    assert found.note == (
        "1 of 10 recordings had another sampling rate and was resampled to 16000 Hz: "
        "left_farmaker47.wav (48000 Hz)."
    )
    loudest = dict(zip(found.names, (float(wave.abs().max()) for wave in found.waves), strict=True))
    assert max(loudest.values()) <= 1
    assert loudest["silence_tflm.wav"] < 0.01 < loudest["left_farmaker47.wav"]
