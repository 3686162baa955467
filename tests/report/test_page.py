"""The page as a file: whole, safe whatever the texts hold, and nothing asked of the network."""

import json
import re
from html.parser import HTMLParser

import pytest

from satlens.errors import InputError, OutputError
from satlens.report.audit.captions import CHARTS, MISSING
from satlens.report.page import page_text, write_page
from tests.report.example import HOSTILE, make_heatmap, make_results


class Reader(HTMLParser):
    """The elements, attributes and visible words of a page; the scripts apart."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self.blocks = [], [], [], []
        self.inside = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag in ("script", "style"):
            self.inside = dict(attributes).get("id", tag)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.blocks.append((self.inside, data))
        else:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))

    def block(self, name):
        return json.loads("".join(data for inside, data in self.blocks if inside == name))


@pytest.fixture(scope="module")
def page():
    return page_text(make_results(), make_heatmap())


def test_every_verdict_is_there_with_its_effect(page):
    text = Reader(page).text
    for verdict in make_results()["verdicts"]:
        for key in ("verdict", "statement", "why"):
            assert verdict[key] in text
    assert "excess concordance 0.035 [0.015, 0.055] · null: path exchanged · p < 0.001" in text
    assert "difference of concordance not available" in text


def test_it_asks_nothing_of_the_network(page):
    reader = Reader(page)
    for tag, name, value in reader.attributes:
        if name in ("src", "href", "action", "poster", "data", "srcset"):
            assert (tag, value) == ("link", "data:,"), (tag, name, value)
    policy = [
        v for tag, name, v in reader.attributes if tag == "meta" and "default-src" in (v or "")
    ]
    assert policy and policy[0].startswith("default-src 'none'") and "http" not in policy[0]
    styles = "".join(data for inside, data in reader.blocks if inside == "style")
    assert "@import" not in styles and "url(" not in styles
    assert len(page.encode()) < 6e6


def test_every_chart_has_a_place_a_caption_and_data(page):
    reader = Reader(page)
    places = [value for _, name, value in reader.attributes if name == "data-chart"]
    assert sorted(places) == sorted(CHARTS) == sorted(reader.block("charts"))
    assert reader.text.count("How it can mislead:") == len(CHARTS) + 1
    assert reader.text.count("960 tokens, 12 documents.") == len(CHARTS)


def test_holes_are_all_filled_and_no_number_is_nan(page):
    reader = Reader(page)
    assert "{{" not in reader.text
    assert not re.search(r"\b(NaN|None|nan|null,)\b", reader.text.replace("no null", ""))
    words = json.dumps([reader.block("charts"), reader.block("documents")])
    assert "NaN" not in words and "Infinity" not in words


def page_around(text):
    """A page with this text in every place that takes text from outside."""
    results = make_results()
    results["model"]["name"] = results["corpus"]["name"] = f"m{text}"
    results["settings"] |= {f"key{text}": text}
    results["notes"] = [f"note {text}"]
    results["verdicts"][0] |= {"statement": text, "why": text, "id": text}
    heatmap = make_heatmap(texts=[text, "b", text + "c"])
    heatmap[0]["title"] = text
    return page_text(results, heatmap)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_text_is_only_text(text):
    page = page_around(text)
    page.encode("utf-8")
    reader = Reader(page)
    assert reader.tags == Reader(page_around("harmless")).tags
    assert len(reader.block("documents")) == 2
    assert not any(name.startswith("on") for _, name, _ in reader.attributes)


def test_text_that_looks_like_a_hole_is_not_filled():
    results = make_results()
    results["model"]["name"] = "{{plotly}}"
    text = page_text(results, make_heatmap())
    assert "know?" in text and "{{plotly}}" in Reader(text).text
    assert len(text) < 6e6


def without(*keys):
    def drop(results):
        for key in keys[:-1]:
            results = results[key]
        results.pop(keys[-1])

    return drop


LACKS = {
    "no untrained model": (make_results(untrained=False), ["survival_untrained"]),
    "no nulls": (make_results(nulls=False), ["concordance", "excess", "strict_tau"]),
    "one document": (make_results(docs=1), []),
    "one rank": (make_results(k=1), ["rank_to_place", "pairs"]),
    "one layer": (make_results(n_layers=1), []),
    "one of all": (
        make_results(docs=1, tokens=1, n_layers=1, k=1, untrained=False, nulls=False),
        ["survival_untrained", "excess", "rank_to_place"],
    ),
}


@pytest.mark.parametrize("name", LACKS)
def test_what_is_missing_is_said_in_its_place(name):
    results, charts = LACKS[name]
    reader = Reader(page_text(results, []))
    places = {value for _, key, value in reader.attributes if key == "data-chart"}
    for chart in charts:
        assert chart not in places and MISSING[chart] in reader.text
    assert MISSING["heatmap"] in reader.text
    assert not re.search(r"\b(NaN|None|nan)\b", reader.text)


def blank(value):
    """The same structure with every number in it gone."""
    if isinstance(value, dict):
        return {key: inner if key in ("rank", "draws", "tokens", "tokens_kept", "layers") else blank(inner)
                for key, inner in value.items()}  # fmt: skip
    if isinstance(value, list):
        return [blank(inner) for inner in value]
    return float("nan") if isinstance(value, float) else value


def test_numbers_that_are_not_known_are_said_to_be_so():
    results = make_results(docs=2, tokens=3)
    for key in ("saturation", "order", "nulls", "seconds"):
        results[key] = blank(results[key])
    reader = Reader(page_text(results, make_heatmap()))
    assert "not available" in reader.text
    assert not re.search(r"\b(NaN|None|nan|undefined)\b", reader.text)


def test_with_many_ranks_the_histogram_says_which_it_shows():
    reader = Reader(page_text(make_results(k=30), make_heatmap(k=30)))
    chart = reader.block("charts")["histogram"]
    assert len(chart["data"]) == 10
    assert chart["layout"]["xaxis"]["title"].endswith("ranks 1 to 10 of 30")


def test_repeated_tokens_keep_their_own_columns():
    entry = make_heatmap(texts=["same"], positions=5, docs=1)
    document = Reader(page_text(make_results(), entry)).block("documents")[0]
    assert document["words"] == ["same"] and document["tokens"] == [0] * 5
    assert len(document["top"]) == len(document["layer"]) == 5


def test_a_heatmap_that_does_not_fit_is_refused():
    entry = make_heatmap(docs=1)[0]
    entry["top"][3] = entry["top"][3][:-1]
    with pytest.raises(InputError, match="Heatmap document 0"):
        page_text(make_results(), [entry])


def test_the_page_is_written_whole(tmp_path):
    path = write_page(make_results(), make_heatmap(), tmp_path / "report.html")
    assert path.read_text(encoding="utf-8").endswith("</html>\n")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(OutputError):
        write_page(make_results(), [], tmp_path)
