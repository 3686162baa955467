"""Images of every kind an image model takes: the pixels of its own image processor, and clear words."""

import logging
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import satlens
from satlens.errors import InputError, MissingExtraError
from satlens.models.inputs.image_batches import image_batches
from satlens.models.inputs.images import NAMED, find_pictures
from tests.models.pictures import SIZE, by_hand, image_classifier, noise, processor, write_pictures

SHAPE = dict(shape=(3, SIZE, SIZE), n_positions=5, dtype=torch.float32)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return processor(tmp_path_factory.mktemp("model"))


@pytest.fixture
def folder(tmp_path):
    write_pictures(tmp_path / "pictures", 5)
    return tmp_path / "pictures"


def read(inputs, reader, batch_size=2, **kw):
    """Documents, pixels and note of all batches."""
    batches = image_batches(inputs, batch_size, **(SHAPE | dict(processor=reader) | kw))
    made = list(batches)
    doc = torch.cat([batch.doc for batch in made]).tolist()
    return doc, torch.cat([batch.args["pixel_values"] for batch in made]), batches


def test_a_folder_is_read_whole_in_order_of_path(folder, reader):
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden").mkdir()
    Image.fromarray(noise(9)).save(folder / ".hidden" / "a.png")
    paths = sorted(folder.glob("class*/*.png"))
    for given in (folder, str(folder)):
        doc, pixels, batches = read(given, reader)
        assert doc == [0, 1, 2, 3, 4] and batches.note is None
        assert [row.name for row in batches.rows] == [
            p.relative_to(folder).as_posix() for p in paths
        ]
        assert torch.equal(pixels, by_hand(reader, paths))
    assert batches.n_documents == batches.n_tokens == 5


def test_every_kind_of_input_gives_the_processors_pixels(folder, reader):
    paths = sorted(folder.glob("class*/*.png"))
    want = by_hand(reader, paths)
    images = [Image.open(path) for path in paths]
    arrays = [np.array(image) for image in images]
    kinds = {
        "paths": paths,
        "names": tuple(map(str, paths)),
        "pil": images,
        "arrays": arrays,
        "stack": np.stack(arrays),
        "mixed": [paths[0], images[1], arrays[2], str(paths[3]), images[4]],
        "pixels": want,
        "list of pixels": list(want),
        "output": reader(images=images, return_tensors="pt"),
        "numpy output": reader(images=images, return_tensors="np"),
        "lists": dict(reader(images=images)),
    }
    for name, given in kinds.items():
        doc, pixels, _ = read(given, reader)
        assert doc == [0, 1, 2, 3, 4], name
        assert torch.equal(pixels, want), name
    for one in (paths[2], str(paths[2]), images[2], arrays[2]):
        doc, pixels, _ = read(one, reader)
        assert doc == [0] and torch.equal(pixels, want[2:3])


def test_a_folder_is_not_kept_as_pixels(folder, reader):
    _, _, batches = read(folder, reader)
    assert all(not isinstance(row.source, torch.Tensor) for row in batches.rows)
    assert all(row.source.source.is_file() for row in batches.rows)


def test_batch_size_changes_no_pixel(tmp_path, reader):
    for index, (height, width) in enumerate([(20, 24), (64, 10), (16, 16), (8, 90)]):
        Image.fromarray(noise(index, height, width)).resize((width, height)).save(
            tmp_path / f"{index}.png"
        )
    one, many = (read(tmp_path, reader, size)[1] for size in (1, 4))
    assert torch.equal(one, many)


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1", "CMYK"])
def test_other_colours_become_rgb(tmp_path, reader, mode):
    image = Image.fromarray(noise(0)).convert(mode)
    image.save(tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"))
    seen = Image.open(next(tmp_path.iterdir())).convert("RGB")
    want = reader(images=[seen], return_tensors="pt")["pixel_values"]
    assert torch.equal(read(tmp_path, reader)[1], want)


@pytest.mark.parametrize("channels", [None, 1, 4])
def test_arrays_of_other_channels(reader, channels):
    array = noise(0, channels=channels or 1)
    array = array[..., 0] if channels is None else array
    flat = array[..., 0] if channels == 1 else array
    want = reader(images=[Image.fromarray(flat).convert("RGB")], return_tensors="pt")[
        "pixel_values"
    ]
    assert torch.equal(read([array], reader)[1], want)


def test_a_palette_with_transparent_bytes_gives_no_warning(tmp_path, reader):
    image = Image.fromarray(noise(0)).convert("P")
    image.info["transparency"] = bytes(range(256))
    image.save(tmp_path / "a.png")
    assert read(tmp_path, reader)[2].note is None


def test_a_photograph_is_turned_upright(tmp_path, reader):
    image = Image.fromarray(noise(0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the picture is shown turned by 90 degrees
    image.save(tmp_path / "a.png", exif=exif)
    upright = reader(images=[image.rotate(-90, expand=True)], return_tensors="pt")["pixel_values"]
    assert torch.equal(read(tmp_path, reader)[1], upright)


def test_a_model_of_one_channel(tmp_path, folder):
    grey = processor(tmp_path / "grey", image_mean=[0.5], image_std=[0.5])
    _, pixels, _ = read(folder, grey, shape=(1, SIZE, SIZE))
    assert pixels.shape == (5, 1, SIZE, SIZE)


def broken(folder):
    """A file that is no image, one cut in the middle, an empty one, and one of 16 bits."""
    (folder / "class0" / "text.jpg").write_text("no image at all")
    whole = (folder / "class1" / "001.png").read_bytes()
    (folder / "class1" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    deep = Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 200)
    deep.save(folder / "zdeep.png")
    return ["class0/text.jpg", "class1/cut.png", "empty.png", "zdeep.png"]


def test_damaged_files_are_named_and_left_out(folder, reader, caplog):
    paths = sorted(folder.glob("class*/*.png"))
    names = broken(folder)
    with caplog.at_level(logging.WARNING, logger="satlens"):
        doc, pixels, batches = read(folder, reader)
    assert torch.equal(pixels, by_hand(reader, paths))
    # A document's number is the file's place in the folder, so the others keep theirs.
    assert doc == [0, 1, 2, 4, 5]
    assert [row.name for row in batches.rows] == [p.relative_to(folder).as_posix() for p in paths]
    assert batches.note in caplog.text and batches.n_documents == 5
    assert batches.note.startswith("4 of 9 images cannot be read and are left out: ")
    for name in names:
        assert f"{name} (" in batches.note
    assert "(no image that pillow knows)" in batches.note
    assert "(its values are of mode I;16, not 8 bits a channel)" in batches.note


def test_a_long_list_of_damaged_files_is_counted(folder, reader):
    for index in range(NAMED + 3):
        (folder / f"bad{index}.png").touch()
    note = read(folder, reader)[2].note
    assert note.startswith(f"{NAMED + 3} of {NAMED + 8} images") and note.endswith("and 3 more.")
    assert note.count("bad") == NAMED


def test_a_damaged_file_that_is_named_itself_is_left_out_too(folder, reader):
    broken(folder)
    cut, good = folder / "class1" / "cut.png", folder / "class0" / "000.png"
    doc, _, batches = read([str(cut), good], reader)
    assert doc == [1] and "cut.png" in batches.note
    with pytest.raises(InputError, match=r"None of 1 images can be read: .*cut\.png \("):
        read(cut, reader)


def test_a_file_that_goes_away_while_it_is_read(folder, reader):
    batches = image_batches(folder, 1, processor=reader, **SHAPE)
    (folder / "class1" / "003.png").unlink()
    with pytest.raises(InputError, match=r"class1/003\.png cannot be read: FileNotFoundError"):
        list(batches)


def test_an_empty_folder(tmp_path, reader):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match=r"holds no images: 1 files, none of which ends in \.bmp"):
        read(tmp_path, reader)


BAD = [
    ("Once upon a time", r"'Once upon a time' is neither a file nor a folder\. .* not text: pass a folder"),
    ("x" * 5000, r"'x+\.\.\.' is neither a file nor a folder"),
    ("a\0b", r"is neither a file nor a folder"),
    (["a dog", "a cat"], r"'a dog' is neither a file nor a folder"),
    ([1, 2, 3], r"Image 0 is int, which an image model cannot read"),
    ([[1, 2], [3]], r"Image 0 is list"),
    ({"input_ids": [[1]]}, r"cannot read dict with the keys \['input_ids'\]; pass a folder"),
    ([], r"Got no images \(an empty list\)"),
    (np.zeros((0, 8, 8, 3), np.uint8), r"Got no images \(an array of shape \(0, 8, 8, 3\)\)"),
    (np.zeros((8, 8, 2), np.uint8), r"uint8 and shape \(8, 8, 2\); an image is uint8"),
    (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\); an image is uint8"),
    (np.zeros((8, 8, 3), np.int64), r"int64 and shape \(8, 8, 3\); an image is uint8"),
    (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\); an image is uint8"),
    (np.zeros((1, 1, 8, 8, 3), np.uint8), r"Image 0 is an array of uint8 and shape"),
    (torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8), r"got \(2, 3, 16, 16\) of torch\.uint8\. Raw images"),
    ([torch.zeros(3, 8, 8), torch.zeros(3, 8, 9)], r"several shapes: \[\(3, 8, 8\), \(3, 8, 9\)\]"),
    (b"bytes", r"cannot read bytes"),
    (None, r"cannot read NoneType"),
]  # fmt: skip


@pytest.mark.parametrize(("inputs", "message"), BAD)
def test_input_that_is_no_image(inputs, message, reader):
    with pytest.raises(InputError, match=message):
        read(inputs, reader)


def test_pictures_without_a_processor(folder):
    with pytest.raises(InputError, match=r"has no image processor.*Set model\.processor = "):
        read(folder, None)
    assert read(torch.zeros(1, 3, SIZE, SIZE), None)[0] == [0]


def test_a_processor_of_another_model(tmp_path, folder):
    other = processor(tmp_path / "other", size={"height": 8, "width": 8})
    with pytest.raises(InputError, match=r"shape \(3, 8, 8\) of class0/000\.png; .*another model"):
        image_batches(folder, 2, processor=other, **SHAPE)
    wrong = processor(tmp_path / "wrong", image_mean=[0.5, 0.5])
    with pytest.raises(InputError, match=r"The image processor \w+ fails on class0/000\.png \("):
        image_batches(folder, 2, processor=wrong, **SHAPE)


def test_a_model_of_strange_channels(folder, reader):
    with pytest.raises(InputError, match=r"reads images of 5 channels; pass float pixels"):
        read(folder, reader, shape=(5, SIZE, SIZE))


def test_without_pillow(folder, reader, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError) as error:
        read(folder, reader)
    message = str(error.value)
    assert 'pip install "satlens[vision]"' in message and "\n" not in message
    assert read(torch.zeros(1, 3, SIZE, SIZE), None)[0] == [0]


def test_pictures_are_found_without_pillow(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert len(find_pictures(folder)) == 5


def test_the_model_reads_what_the_processor_gives(folder, reader):
    model = image_classifier(scale=3.0)
    model.processor = reader
    want = satlens.detect(model, by_hand(reader, sorted(folder.glob("class*/*.png"))), k=3)
    for method in ("auto", "plain"):
        got = satlens.detect(model, folder, k=3, method=method)
        for name in ("layer", "token", "doc", "pos"):
            assert np.array_equal(getattr(got, name), getattr(want, name)), name
    assert (got.pos == 0).all()
