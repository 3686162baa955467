"""All claims on one small model: each finds its verdict, runs are taken up again, bad input is refused."""

import json

import pytest

from satlens import claims
from satlens.claims.studies import VERBS
from satlens.errors import InputError, OutputError
from satlens.models import load_model
from satlens.runs.folder import RESULTS, parts, place
from satlens.verdicts import UNKNOWN
from tests.runs.parts import KINDS

SHARED = ("k", "max_tokens")
OWN = {
    verb: {name: value for name, value in values.items() if name not in SHARED}
    for verb, (_, values) in KINDS.items() if verb in VERBS
}  # fmt: skip
EXPERIMENTAL = {
    "audit": dict(null_tokens=200, untrained_seeds=1),
    "packing": dict(calibration=1, asked=5, words=(3, 9), most=4, rows=2, epsilon=0.6, delta=0.9, seeds=2),
    "sparse": dict(batch_sizes=(1, 16), length=8, rounds=2),
}  # fmt: skip
SMALL = dict(max_tokens=600, settings=OWN | EXPERIMENTAL)
TEXT = [one.id for one in claims.CLAIMS.values() if "text" in one.takes]


@pytest.fixture(scope="module")
def found(settling, corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("claims") / "run"
    return out, claims.run(str(settling), corpus, out=out, **SMALL)


def test_every_claim_about_text_has_a_row(found):
    _, table = found
    assert [row.id for row in table.rows] == TEXT
    assert {row.verdict for row in table.rows} > {UNKNOWN}


def test_every_claim_finds_the_verdict_it_names(found):
    out, table = found
    for row in table.rows:
        assert "gave no verdict" not in row.why or "nothing to pack by" in row.why, row
        claim = claims.CLAIMS[row.id]
        if claim.study in parts(out):
            results = json.loads((place(out, claim.study) / RESULTS).read_text())
            ids = {one["id"] for one in results["verdicts"]}
            assert row.published is None or row.published["why"]
            assert claim.evidence(results)["id"] in ids


def test_every_sound_test_has_a_p(found):
    for row in found[1].rows:
        if row.verdict != UNKNOWN:
            assert row.p is not None and 0 < row.p <= 1 and row.p_holm >= row.p, row.id


def test_every_verb_is_there_once_and_the_page_shows_them(found):
    out, _ = found
    needed = {claims.CLAIMS[one].study for one in TEXT}
    assert needed >= set(VERBS) and set(parts(out)) <= needed
    left = {path.stem for path in (out / "studies").iterdir()}
    assert left == needed - set(VERBS) == {"untrained", "packing", "sparse"}
    assert (out / "report.html").stat().st_size > 10_000


def test_what_is_there_is_not_made_again(found, settling, corpus):
    out, table = found
    before = {verb: (place(out, verb) / RESULTS).stat().st_mtime_ns for verb in parts(out)}
    again = claims.run(str(settling), corpus, out=out, only=["order", "depth_left_over"], **SMALL)
    assert before == {verb: (place(out, verb) / RESULTS).stat().st_mtime_ns for verb in parts(out)}
    assert again["order"].value == table["order"].value
    assert again["order"].p_holm <= table["order"].p_holm  # two are asked and not all


def test_another_question_does_not_take_its_answer(found, settling, corpus):
    out, _ = found
    with pytest.raises(
        OutputError, match="a depth that was asked something else: seed is 0 there and 3"
    ):
        claims.run(str(settling), corpus, out=out, only="depth_left_over", seed=3, **SMALL)
    other = SMALL | {"settings": {"depth": {"draws": 3}}}
    with pytest.raises(OutputError, match="something else: draws is 2 there and 3 here"):
        claims.run(str(settling), corpus, out=out, only="depth_left_over", **other)


def test_a_model_at_hand_and_texts_at_hand(settling, tmp_path):
    texts = [
        "Lily had a red ball. She ran to the park.",
        "One day a dog sat on the mat.",
        "Tom saw a cat.",
    ]
    table = claims.run(load_model(settling), texts, only="depth_left_over", **SMALL)
    assert table.settings["corpus"] == "3 texts" and table.rows[0].value is not None


def test_a_study_that_cannot_be_made_leaves_its_claims_untold(settling, tmp_path):
    table = claims.run(str(settling), ["Lily ran.", "Tom sat."], only=["stage_decodable", "order"])
    row = table["stage_decodable"]
    assert row.verdict == UNKNOWN and row.why.startswith("satlens probe could not be run: ")
    assert row.p_holm is None and table["order"].study == "audit"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"only": "order_in_vision"}, "'order_in_vision' is about models that read images"),
        ({"only": "ordr"}, "No claim called 'ordr'. Choices: order"),
        ({"corpus": []}, "or a list of texts, none of them empty"),
        ({"corpus": ["a", " "]}, "or a list of texts, none of them empty"),
        ({"corpus": ["a", "b <|endoftext|> c"]}, "Text 1 holds '<|endoftext|>'"),
        ({"corpus": "nowhere.txt"}, "No corpus at nowhere.txt"),
        ({"k": 1}, "k must be at least 2"),
        ({"settings": {"depths": {}}}, "judged from audit, .* settings were given for depths"),
        ({"settings": {"sparse": {"round": 1}}}, "study 'sparse' has no setting round. It has batch_sizes,"),
        ({"settings": {"depth": {"drawn": 1}}}, "satlens depth has no setting drawn. It has batch_size,"),
        ({"settings": {"depth": {"draws": 0}}}, "draws must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused_before_anything_is_made(settling, tmp_path, change, words):
    asked = {"corpus": ["Lily ran.", "Tom sat."], "only": "depth_left_over"} | change
    with pytest.raises(InputError, match=words.replace("|", r"\|")):
        claims.run(str(settling), asked.pop("corpus"), out=tmp_path / "run", **asked)
    assert not (tmp_path / "run").exists()
