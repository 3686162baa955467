"""Claims as objects: how two tests become a verdict, how several do, and the table over all of them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satlens.claims import CLAIMS, ClaimTable
from satlens.claims.claim import Claim, Paper, all_of, check_ids, combined, nothing, verdict
from satlens.claims.experiments import EXPERIMENTS
from satlens.claims.studies import VERBS, takes
from satlens.claims.table import ALPHA, table
from satlens.errors import InputError
from satlens.models.protocol import READS
from satlens.significance import holm
from satlens.verdicts import AS_PUBLISHED, FAILS, HOLDS, UNKNOWN

WORDS = (HOLDS, AS_PUBLISHED, FAILS, UNKNOWN)


def entry(name, word, value=0.1, half=0.05, p=0.001):
    return {
        "id": name, "statement": "It is so.", "verdict": word, "p": p, "why": "So it is.", "null": "rotated",
        "effect": {"name": "excess", "value": value, "ci": [value - half, value + half]},
    }  # fmt: skip


def claim(name="order", **change):
    known = dict(
        id=name, statement="Ranks are fixed in order.", paper=Paper("A 2025", "T", "arXiv"), section="order",
        protocol="tau", test="concordance", controls=("paths",), study="audit",
        evidence=verdict("sound"), published=verdict("published"),
    )  # fmt: skip
    return Claim(**{**known, **change})


def results(*entries):
    return {"verdicts": list(entries), "notes": ["A note."]}


@given(st.sampled_from(WORDS), st.sampled_from(WORDS))
def test_only_a_failed_sound_test_gives_way_to_the_published_one(sound, published):
    found = combined({"verdict": sound}, {"verdict": published})
    if sound != FAILS:
        assert found == sound
    else:
        assert found == (AS_PUBLISHED if published in (HOLDS, AS_PUBLISHED) else FAILS)
    assert combined({"verdict": sound}, None) == sound


def test_a_verdict_that_is_not_there_cannot_be_told():
    found = claim().judge(results(entry("published", HOLDS)))
    assert found.verdict == UNKNOWN and found.p is None
    assert found.sound["why"] == "The run gave no verdict 'sound'. A note."


def test_all_of_several_is_the_weakest_and_the_largest_p():
    pick = all_of("early", "late", "all")
    strong, weak = entry("early", HOLDS, 0.5, p=0.001), entry("late", HOLDS, 0.1, p=0.02)
    assert pick(results(strong, weak)) == {**weak, "p": 0.02}
    failed = entry("late", FAILS, -0.3, p=1.0)
    assert pick(results(strong, failed)) == failed
    untold = entry("late", UNKNOWN, 0.0, p=None)
    assert pick(results(strong, untold))["verdict"] == UNKNOWN
    assert pick(results(strong, untold))["p"] is None
    assert pick(results())["verdict"] == UNKNOWN


@given(st.permutations([HOLDS, HOLDS, FAILS, UNKNOWN]))
def test_the_order_of_the_parts_says_nothing(words):
    entries = [entry(f"e{i}", word, 0.1 * i) for i, word in enumerate(words)]
    assert all_of(*(e["id"] for e in entries))(results(*entries))["verdict"] == FAILS


def test_every_claim_says_what_it_is():
    for name, one in CLAIMS.items():
        assert (
            name == one.id and one.study in (*VERBS, *EXPERIMENTS) and set(one.takes) <= set(READS)
        )
        assert bool(one.takes) == bool(takes(one.study))
        assert all((one.statement, one.section, one.protocol, one.test, one.controls))
        assert one.statement.endswith(".") and one.test.endswith(".") and one.protocol.endswith(".")
    assert len({one.statement for one in CLAIMS.values()}) == len(CLAIMS)


def test_unknown_claims_are_named_with_the_choices():
    with pytest.raises(
        InputError, match="No claim called 'ordr'. Choices: order, order_in_encoders"
    ):
        check_ids(CLAIMS, ["order", "ordr"])
    with pytest.raises(InputError, match="No claim called nothing"):
        check_ids(CLAIMS, [])
    assert check_ids(CLAIMS, "order") == ["order"]
    assert check_ids(CLAIMS, ["order", "order"]) == ["order"]


def judged(ps, words=None):
    words = words or [HOLDS] * len(ps)
    return [
        claim(f"c{i}").judge(results(entry("sound", word, p=p), entry("published", HOLDS, p=0.5)))
        for i, (p, word) in enumerate(zip(ps, words, strict=True))
    ]


@given(st.lists(st.floats(1e-6, 0.02), min_size=1, max_size=12))
def test_what_holds_alone_and_not_among_many_cannot_be_told(ps):
    made = table(judged(ps), {})
    corrected = holm(np.array(ps))
    for row, p in zip(made.rows, corrected, strict=True):
        assert row.alone == HOLDS and row.p_holm == pytest.approx(p)
        assert row.verdict == (HOLDS if p < ALPHA else UNKNOWN)
        assert ("Corrected for the claims" in row.why) == (p >= ALPHA)


def test_only_what_holds_is_corrected_away():
    made = table(judged([0.02, 0.9, 0.02], [HOLDS, FAILS, UNKNOWN]), {})
    assert [row.verdict for row in made.rows] == [UNKNOWN, AS_PUBLISHED, UNKNOWN]


def test_the_table_is_kept_and_read_again(tmp_path):
    made = table(
        [*judged([0.001, 0.4], [HOLDS, FAILS]), claim("late").untold("No pair.")], {"k": 5}
    )
    made.save(tmp_path / "claims.json")
    assert ClaimTable.load(tmp_path / "claims.json") == made
    frame = made.to_frame()
    assert frame.verdict.tolist() == [HOLDS, AS_PUBLISHED, UNKNOWN]
    assert frame.published.tolist()[:2] == [HOLDS, HOLDS] and frame.published.isna()[2]
    text = made.to_markdown()
    assert (
        "| **late**: Ranks are fixed in order. (A 2025) | No pair. | - | not run | cannot be told"
        in text
    )
    assert "excess +0.100 [+0.050, +0.150]" in text and text.count("\n") == 5
    assert str(made).splitlines()[0].split() == [
        "c0", "holds", "+0.100", "[+0.050,", "+0.150]", "p", "0.002",
    ]  # fmt: skip
    assert made["c1"].p_holm == 0.4
    with pytest.raises(
        InputError, match="No claim called 'c9' in this table; it holds c0, c1, late"
    ):
        made["c9"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"form": "satlens.claim_table/1", "rows": [{}]}']
)
def test_other_files_are_no_table(tmp_path, text):
    path = tmp_path / "claims.json"
    with pytest.raises(InputError, match="table of claims"):
        ClaimTable.load(path)
    path.write_text(text)
    with pytest.raises(InputError, match="table of claims"):
        ClaimTable.load(path)


def test_what_is_untold_is_ready_for_json():
    assert json.loads(json.dumps(nothing("So."), allow_nan=False))["verdict"] == UNKNOWN
