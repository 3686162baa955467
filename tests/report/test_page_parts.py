"""One page over several runs: any subset of audit, probe and patch, in the reader's order."""

import itertools
import json
import re

import pytest

from satlens.errors import InputError
from satlens.report.audit import captions
from satlens.report.page import page_text
from satlens.report.patch import captions as patch_captions
from satlens.report.probe import captions as probe_captions
from tests.report.example import HOSTILE, make_heatmap, make_results
from tests.report.example_parts import ALPHAS, make_patch, make_probe, missing
from tests.report.test_page import Reader, blank

WORDS = {"audit": captions, "probe": probe_captions, "patch": patch_captions}
MAKE = {"audit": make_results, "probe": make_probe, "patch": make_patch}
SUBSETS = [
    verbs for n in (1, 2, 3) for verbs in itertools.combinations(("audit", "probe", "patch"), n)
]


def page_of(*verbs):
    return page_text([MAKE[verb]() for verb in verbs], make_heatmap())


@pytest.fixture(scope="module")
def whole():
    return page_of("patch", "audit", "probe")


@pytest.mark.parametrize("verbs", SUBSETS, ids="-".join)
def test_a_page_of_any_subset_is_whole(verbs):
    page = page_of(*verbs)
    reader = Reader(page)
    charts = [name for verb in verbs for name in WORDS[verb].CHARTS]
    places = [value for _, name, value in reader.attributes if name == "data-chart"]
    assert sorted(places) == sorted(charts) == sorted(reader.block("charts"))
    assert len(reader.block("documents")) == 2 * ("audit" in verbs)
    assert f"satlens {' · '.join(verbs)}" in reader.text
    assert ("nav" in reader.tags) == (len(verbs) > 1)
    assert "{{" not in reader.text and not re.search(r"\b(NaN|None|nan)\b", reader.text)
    assert len(page.encode()) < 5e6
    for verb in verbs:
        for verdict in MAKE[verb]()["verdicts"]:
            assert verdict["statement"] in reader.text
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_the_order_is_the_readers(whole):
    text = Reader(whole).text
    places = [text.index(words) for words in (
        "What was asked", "The state tells its stage beyond", "A donor's state makes one's own",
        "When is each rank fixed?", "Can the stage be read from the state?",
        "Does a donor's state start the next stage?", "The control path exchanged was drawn",
    )]  # fmt: skip
    assert places == sorted(places)


def test_the_tiles_are_the_effects_that_the_verdicts_were_taken_on(whole):
    text = Reader(whole).text
    for made, name in ((make_probe(), "stage_decodable"), (make_patch(), "transition_by_patching"),
                       (make_patch(), "transition_by_steering")):  # fmt: skip
        effect = next(v["effect"] for v in made["verdicts"] if v["id"] == name)
        low, high = effect["ci"]
        assert f"{effect['value']:+.3f}" in text and f"({low:+.3f} to {high:+.3f})" in text, name


def test_every_link_of_the_way_through_leads_somewhere(whole):
    reader = Reader(whole)
    ids = {value for _, name, value in reader.attributes if name == "id"}
    links = [value for tag, name, value in reader.attributes if (tag, name) == ("a", "href")]
    assert links and all(link.startswith("#") and link[1:] in ids for link in links)


def test_every_control_and_its_meaning_is_there(whole):
    text = Reader(whole).text
    for words in (
        "Gaussian, as published",
        "control task",
        "donor not yet saturated",
        "normal of a probe",
    ):
        assert words in text
    assert "near-circular" in text and "chance 0.25" in text
    for command in (
        "satlens audit --from settings.yaml",
        "satlens patch --from patch/settings.yaml",
    ):
        assert command in text


def test_texts_that_differ_are_told_apart():
    probe = make_probe()
    probe["corpus"] |= {"name": "other.txt", "tokens": 4321}
    text = Reader(page_text([make_results(), probe, make_patch()], [])).text
    assert "read different texts" in text
    assert "corpus, audit and patch" in text and "tokens, probe" in text and "4,321" in text
    assert "read different texts" not in Reader(page_of("audit", "probe")).text


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_text_is_only_text(text):
    def around(text):
        probe, patch = make_probe(), make_patch()
        for results in (probe, patch):
            results["model"]["name"] = results["corpus"]["name"] = f"m{text}"
            results["settings"] |= {f"key{text}": text}
            results["notes"] = [f"note {text}"]
            results["verdicts"][0] |= {"statement": text, "why": text, "id": text, "null": text}
        probe["labels"]["skipped_layers"]["0"] = text
        probe["labels"]["policy"]["ties"] = text
        return page_text([probe, patch], [])

    page = around(text)
    page.encode("utf-8")
    assert Reader(page).tags == Reader(around("harmless")).tags


@pytest.mark.parametrize("verb", ["probe", "patch"])
def test_numbers_that_are_not_known_are_said_to_be_so(verb):
    results = MAKE[verb]()
    for key in ("labels", "probe", "per_layer", "controls", "selectivity", "patching", "steering"):
        if key in results:
            results[key] = blank(results[key])
    if verb == "patch":
        results["steering"]["alphas"] = list(ALPHAS)
    reader = Reader(page_text(results, []))
    assert "not available" in reader.text
    assert not re.search(r"\b(NaN|None|nan|undefined)\b", reader.text)
    assert "NaN" not in json.dumps(reader.block("charts"))


def test_what_is_missing_is_said_in_its_place():
    probe = make_probe(without=make_probe()["controls"])
    probe["per_layer"] |= {"layers": [], "confusion": [], "accuracy": missing(), "auc": None}
    probe["probe"] |= {"confusion": []}
    patch = make_patch(k=1, offsets=[0], alphas=[1.0], docs=1)
    reader = Reader(page_text([probe, patch], []))
    places = {value for _, key, value in reader.attributes if key == "data-chart"}
    for words, names in ((probe_captions, ("probe_controls", "probe_excess", "probe_confusion")),
                         (patch_captions, ("patch_advance", "patch_excess"))):  # fmt: skip
        for name in names:
            assert name not in places and words.MISSING[name] in reader.text
    assert {"probe_layers", "patch_published", "steer_transition"} <= places


def test_every_condition_is_a_line_with_its_numbers(whole):
    chart = Reader(whole).block("charts")["patch_published"]
    lines = {line["name"]: line for line in chart["data"]}
    assert list(lines)[-1] == "paired donor" and len(lines) == 7
    assert lines["paired donor"]["y"] == [0, 0, 0, 0.8, 0.8, 0.8, 0.8]
    assert lines["paired donor"]["customdata"][3].startswith("offset 0: 0.800<br>interval")


@pytest.mark.parametrize("verbs", [(), ("probe", "probe")], ids=["none", "twice"])
def test_one_result_of_each_verb(verbs):
    with pytest.raises(InputError, match="at most one result of each verb"):
        page_of(*verbs)


def test_results_of_two_models_are_refused():
    other = make_probe()
    other["model"] |= {"name": "big", "weights_sha256": "99" * 32}
    with pytest.raises(InputError, match=r"tiny \(abababababab\), big \(999999999999\)"):
        page_text([make_results(), other], [])
