"""results.json: the schema documents every key, and the light check agrees with jsonschema."""

import copy
import json

import jsonschema
import numpy as np
import pytest

from satlens.errors import InputError
from satlens.report.validate import (
    VERBS,
    check_results,
    plain,
    read_results,
    schema,
    verb_of,
    write_results,
)
from tests.report.example import make_results
from tests.report.example_parts import make_patch, make_probe

MADE = {"audit": make_results, "probe": make_probe, "patch": make_patch}


def every_property(rule):
    """Every (name, rule) of a documented key, however deep."""
    for name, inner in rule.get("properties", {}).items():
        yield name, inner
        yield from every_property(inner)
    for key in ("items", "additionalProperties"):
        if isinstance(rule.get(key), dict):
            yield from every_property(rule[key])
    for inner in (*rule.get("$defs", {}).values(), *rule.get("anyOf", ())):
        yield from every_property(inner)


@pytest.mark.parametrize("verb", MADE)
def test_every_key_has_a_description(verb):
    found = list(every_property(schema(verb)))
    assert len(found) > 60
    assert [name for name, rule in found if not rule.get("description")] == []


@pytest.mark.parametrize("verb", MADE)
def test_the_schema_is_valid_and_accepts_a_whole_result(verb):
    jsonschema.Draft202012Validator.check_schema(schema(verb))
    results = plain(MADE[verb]())
    jsonschema.validate(results, schema(verb))
    check_results(results)
    assert verb_of(results) == verb


def test_a_shape_of_one_name_is_one_shape():
    seen = {}
    for verb in VERBS.values():
        for name, rule in schema(verb)["$defs"].items():
            assert seen.setdefault(name, rule) == rule, name
    for name in ("model", "corpus", "versions", "verdict", "estimate", "ci"):
        assert all(name in schema(verb)["$defs"] for verb in VERBS.values())


BREAKS_OF_PARTS = {
    "control": ("probe", lambda r: r["controls"].update(dice={}), "controls.dice is not"),
    "share": ("probe", lambda r: r["probe"].update(auc="high"), "probe.auc is 'high'"),
    "condition": (
        "patch",
        lambda r: r["patching"]["conditions"]["self"].pop("n"),
        "self.n is missing",
    ),
    "offset": ("patch", lambda r: r["patching"].update(offsets=[0.5]), "offsets[0] is 0.5"),
}


@pytest.mark.parametrize("name", BREAKS_OF_PARTS)
def test_a_broken_part_is_found_by_both(name):
    verb, change, words = BREAKS_OF_PARTS[name]
    results = plain(MADE[verb]())
    change(results)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(results, schema(verb))
    with pytest.raises(InputError, match=f"{verb}/schema.json") as error:
        check_results(results)
    assert words in str(error.value)


def broken(change):
    results = plain(make_results(docs=2, tokens=5))
    change(results)
    return results


BREAKS = {
    "missing": (lambda r: r.pop("corpus"), "results.corpus is missing"),
    "unknown": (lambda r: r.update(extra=1), "results.extra is not a documented key"),
    "deep": (lambda r: r["order"]["trained"]["page"].update(p="small"), "page.p is 'small'"),
    "word": (lambda r: r["verdicts"][0].update(verdict="maybe"), "not one of"),
    "short": (lambda r: r["nulls"]["walk"]["excess"].update(ci=[1.0]), "has 1 entries"),
    "negative": (lambda r: r["corpus"].update(tokens=-1), "below 0"),
    "form": (lambda r: r.update(schema="satlens.audit/0"), "satlens.audit/1"),
    "flag": (lambda r: r["corpus"].update(windows=True), "not integer"),
    "either": (lambda r: r["saturation"].update(untrained=3), "untrained is 3"),
    "seconds": (lambda r: r["seconds"].update(all="long"), "seconds.all"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_the_light_check_finds_what_jsonschema_finds(name):
    change, words = BREAKS[name]
    results = broken(change)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(results, schema())
    with pytest.raises(InputError, match="form of results.json") as error:
        check_results(results)
    assert words in str(error.value)


def test_a_schema_keyword_that_is_not_checked_is_refused(monkeypatch):
    changed = copy.deepcopy(schema())
    changed["pattern"] = "x"
    monkeypatch.setattr("satlens.report.validate.schema", lambda verb: changed)
    with pytest.raises(InputError, match="'pattern', which the check does not know"):
        check_results(make_results(docs=2, tokens=5))


def test_writing_and_reading_back(tmp_path):
    path = write_results(make_results(docs=2, tokens=5), tmp_path / "results.json")
    text = path.read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert read_results(path) == json.loads(text) == plain(make_results(docs=2, tokens=5))


def test_wrong_results_write_nothing(tmp_path):
    with pytest.raises(InputError):
        write_results({"schema": "satlens.audit/1"}, tmp_path / "results.json")
    assert list(tmp_path.iterdir()) == []


def test_reading_what_is_no_result(tmp_path):
    with pytest.raises(InputError, match="Could not read results"):
        read_results(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"schema": ')
    with pytest.raises(InputError, match="Could not read results"):
        read_results(tmp_path / "half.json")


def test_plain_takes_numpy_apart():
    made = plain({"a": np.int16(3), "b": np.array([1.0, np.inf]), "c": (np.bool_(True), None)})
    assert made == {"a": 3, "b": [1.0, None], "c": [True, None]}
    assert type(made["a"]) is int
