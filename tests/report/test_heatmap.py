"""What is seen and heard on the page, before a browser: entries, wrong ones, and the words for them."""

import copy
import re

import pytest

from satlens.errors import InputError
from satlens.report.audit.tables import summary, tables_markdown
from satlens.report.heatmap import document
from satlens.report.nouns import Nouns
from satlens.report.page import page_text
from satlens.report.words import visible
from tests.report.example import HOSTILE, make_heatmap, make_results
from tests.report.example_media import make_cards, make_frames, make_kind, make_picture, make_wave
from tests.report.test_page import Reader

KINDS = {
    "images": (make_kind("image", "class token"), make_cards()),
    "words": (make_kind("recording", "position"), make_cards(heard=True)),
    "frames": (make_kind("recording", "frame", tokens=40), make_frames()),
    "speech": (
        make_kind("recording", "token", tokens=40),
        [entry | {"wave": make_wave()} for entry in make_heatmap(12)],
    ),
    "text": (make_results(), make_heatmap()),
}


def page_of(kind):
    return Reader(page_text(*KINDS[kind]))


def test_an_entry_keeps_its_picture_and_its_waveform():
    picture, wave = make_picture(), make_wave(read=1.0)
    made = document(
        make_heatmap(docs=1)[0] | {"picture": picture, "wave": wave, "text": "a source"}
    )
    assert made["picture"] == picture and made["wave"] == wave and made["text"] == "a source"
    plain = document(make_heatmap(docs=1)[0])
    assert not {"picture", "wave", "text"} & plain.keys()
    assert plain["pos"] == list(range(40))


WRONG = {
    "picture.alt is missing": ("picture", lambda p: p.pop("alt")),
    "picture.title is not a documented key": ("picture", lambda p: p.update(title="x")),
    "picture.width is 0, below 1": ("picture", lambda p: p.update(width=0)),
    "picture.src is no PNG or JPEG": (
        "picture",
        lambda p: p.update(src="https://example.org/a.png"),
    ),
    "at most 100,000": ("picture", lambda p: p.update(src=p["src"] + "A" * 100_000)),
    "wave.peaks has 0 entries": ("wave", lambda w: w.update(peaks=[])),
    "has 2,001 entries|has 2001 entries": ("wave", lambda w: w.update(peaks=[[0, 0]] * 2001)),
    "a low above its high": ("wave", lambda w: w.update(peaks=[[0.5, -0.5]])),
    r"wave.peaks\[0\]\[1\] is nan": ("wave", lambda w: w.update(peaks=[[0.0, float("nan")]])),
    "wave.seconds is 0, not above 0": ("wave", lambda w: w.update(seconds=0)),
    "wave.frame is -1, not above 0": ("wave", lambda w: w.update(frame=-1)),
    "wave.read is 'all'": ("wave", lambda w: w.update(read="all")),
    "text is 3, not string": ("text", None),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_picture_or_waveform_is_refused(message):
    key, spoil = WRONG[message]
    entry = make_heatmap(docs=1)[0]
    entry |= {"picture": make_picture(), "wave": make_wave(), "text": 3 if spoil is None else "a"}
    document(copy.deepcopy(entry) | {"text": "a"})
    if spoil:
        spoil(entry[key])
    with pytest.raises(InputError, match=f"Heatmap document 0: .*({message})"):
        page_text(make_results(), [entry])


def test_an_address_in_the_place_of_a_picture_is_refused():
    src = make_picture()["src"]
    for bad in (
        "javascript:alert(1)",
        "data:image/svg+xml;base64,AAAA",
        src + '" onerror="x',
        src + "\n",
    ):
        with pytest.raises(InputError, match="picture.src"):
            document(make_heatmap(docs=1)[0] | {"picture": make_picture() | {"src": bad}})


def test_places_are_one_a_position():
    with pytest.raises(InputError, match="39 places"):
        document(make_heatmap(docs=1)[0] | {"pos": list(range(39))})


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_names_are_only_text(text):
    def around(name):
        cards = make_cards(2, name=name.replace("{", "{{").replace("}", "}}"))
        cards[1]["wave"] = make_wave(name)
        return Reader(page_text(make_kind("image", "class token"), cards))

    found = around(text)
    assert found.tags == around("harmless").tags
    shown = found.block("documents")
    assert shown[0]["picture"]["alt"] == visible(text).replace("·", " ") == shown[1]["wave"]["alt"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_small_and_asks_for_nothing(kind):
    reader = page_of(kind)
    assert len(page_text(*KINDS[kind]).encode()) < 5e6
    sources = [v for _, name, v in reader.attributes if name in ("src", "href", "srcset")]
    assert sources == ["data:,"]
    assert "{{" not in reader.text


SIZES = {
    "images": "60 images.",
    "words": "60 recordings.",
    "frames": "2,400 frames, 60 recordings.",
    "speech": "2,400 tokens, 60 recordings.",
    "text": "960 tokens, 12 documents.",
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_counts_in_the_words_of_what_was_read(kind):
    text = page_of(kind).text
    assert text.count(SIZES[kind]) >= 9, text[:500]
    wrong = {"images": ("token", "document", "frame"), "words": ("token", "document", "frame"),
             "frames": ("token", "document"), "speech": ("image", "frame"),
             "text": ("image", "recording", "label")}[kind]  # fmt: skip
    static = text[text.index("When is each rank fixed?") : text.index("Notes")]
    # What the run itself says (verdicts, notes, the statistic as published) is not the page's to reword.
    found = {word for word in wrong if re.search(rf"\b{word}s?\b", static, re.IGNORECASE)}
    assert not found, [static[m.start() - 60 : m.end() + 40] for word in found
                       for m in re.finditer(rf"\b{word}s?\b", static, re.IGNORECASE)]  # fmt: skip


@pytest.mark.parametrize("kind", ["images", "words", "frames"])
def test_charts_and_tables_count_in_the_same_words(kind):
    reader, results = page_of(kind), KINDS[kind][0]
    words = str(reader.block("charts")) + summary(results).split("Verdicts")[0]
    words += tables_markdown(results).split("**Verdicts**")[0]
    assert not re.search(r"\b[Tt]okens?\b|\b[Dd]ocuments?\b", words)
    assert Nouns.of(results["corpus"]).position + "s" in words


def test_a_page_of_text_says_what_it_said():
    text = page_of("text").text
    for words in ("Token by token", "A cell holds the token that", "document ", "final token, fixed",
                  "How many tokens does this rest on?", "keep each token's final state",
                  "holds its final token in every later layer"):  # fmt: skip
        assert words.strip() in text, words
    assert "Where a sentence says" not in text


def test_the_words_of_the_cards():
    text = page_of("images").text
    for words in ("Image by image", "One card an image, one row a layer", "final label, fixed",
                  "keep each image's final state", "holds its final label in every later layer",
                  "Where a sentence says document or token, read image.",
                  "an unlikely label there"):  # fmt: skip
        assert words in text, words
    assert "share their" not in text and "one scale" not in text
    assert "The waveforms share one scale." in page_of("words").text
    assert "The waveform above the columns shares their time." in page_of("frames").text
    assert "The waveform of the recording stands above." in page_of("speech").text
