"""`satlens claims` on a small model: the folder, the table, going on, and what is refused."""

import json

import jsonschema
import pytest

from satlens import claims
from satlens.claims.job import run_claims
from satlens.cli import main
from satlens.report.validate import schema
from satlens.runs import ClaimsSettings

ONLY = ("depth_left_over",)
SMALL = dict(max_tokens=400, only=ONLY)


@pytest.fixture(scope="module")
def made(settling, corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("claims") / "run"
    return out, run_claims(ClaimsSettings(str(settling), corpus=str(corpus), **SMALL), out)


def test_the_folder_holds_the_claims_beside_their_evidence(made, settling, corpus):
    out, text = made
    assert {path.name for path in (out / "claims").iterdir()} == {
        "results.json",
        "settings.yaml",
        "claims.md",
    }
    assert (out / "depth" / "results.json").is_file()
    results = json.loads((out / "claims" / "results.json").read_text())
    jsonschema.validate(results, schema("claims"))
    assert [one["id"] for one in results["claims"]] == ["depth_left_over"]
    assert text.endswith(f"The page: {out / 'report.html'}") and "depth_left_over" in text
    page = (out / "report.html").read_text()
    assert "satlens claims · depth" in page
    table = claims.run(str(settling), corpus, out=out, only=ONLY, max_tokens=400)
    assert [one["p_corrected"] for one in results["claims"]] == [row.p_holm for row in table.rows]
    for part in ("depth", "claims"):  # each repeats by itself
        assert f"model: {settling}" in (out / part / "settings.yaml").read_text()


def test_it_goes_on_with_the_runs_that_are_there(made, settling, corpus, capsys):
    out, _ = made
    before = (out / "depth" / "results.json").stat().st_mtime_ns
    arguments = [
        "claims",
        str(settling),
        "--corpus",
        str(corpus),
        "--out",
        str(out),
        "--max-tokens",
        "400",
    ]
    assert main([*arguments, "--only", *ONLY]) == 2
    assert "holds this run already" in capsys.readouterr().err
    assert main([*arguments, "--only", ONLY[0], "--overwrite"]) == 0
    assert (out / "depth" / "results.json").stat().st_mtime_ns == before
    assert "depth_left_over" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--only", "ordr"], "No claim called 'ordr'"),
        (["--only", "order_in_vision"], "about models that read images"),
        (["--k", "1"], "k must be at least 2"),
        (["--corpus", "./nowhere.txt"], "No corpus at ./nowhere.txt"),
    ],
)
def test_bad_requests_are_one_message_and_no_folder(settling, tmp_path, capsys, more, words):
    assert main(["claims", str(settling), "--out", str(tmp_path / "run"), *more]) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error
    assert not list(tmp_path.iterdir())
