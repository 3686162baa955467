import pytest

from satlens.errors import InputError, OutputError
from satlens.runs.settings import AuditSettings, check_output, output_folder

ASKED = AuditSettings("tiny")


def test_settings_both_ways(tmp_path):
    asked = AuditSettings("tiny", corpus="a ü.txt", k=3, separator="\n\n")
    (tmp_path / "settings.yaml").write_text(asked.to_yaml(), encoding="utf-8")
    assert AuditSettings.read(tmp_path / "settings.yaml") == asked


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k: 5", "settings want `model`"),
        ("model: tiny\nranks: 3", r"holds \['model', 'ranks'\]"),
        ("model: tiny\nk: five", "k must be int, found 'five'"),
        ("model: tiny\nk: true", "k must be int, found True"),
        ("[1, 2]", "holds list"),
        ("a: [", "is not a YAML file"),
        ("model: tiny\nk: 0", "k must be at least 2, got 0"),
        ("model: tiny\ndraws: 5", "draws must be at least 20, got 5"),
    ],
)
def test_bad_settings_files_are_refused(tmp_path, text, message):
    (tmp_path / "settings.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        AuditSettings.read(tmp_path / "settings.yaml")


def fill(folder, settings=ASKED):
    with output_folder(folder, settings, overwrite=False) as beside:
        (beside / "results.json").write_text("{}")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_run_appears_whole(tmp_path):
    fill(tmp_path / "run")
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == ["results.json", "settings.yaml"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError, OSError(28, "No space left")])
def test_a_run_that_fails_leaves_nothing(tmp_path, error):
    with (
        pytest.raises((KeyboardInterrupt, InputError, OutputError)),
        output_folder(tmp_path / "run", ASKED, overwrite=False) as beside,
    ):
        (beside / "results.json").write_text("half")
        raise error
    assert names(tmp_path) == []


def test_a_failed_replacement_keeps_the_run_that_was_there(tmp_path):
    fill(tmp_path / "run")
    with (
        pytest.raises(KeyboardInterrupt),
        output_folder(tmp_path / "run", ASKED, overwrite=True) as beside,
    ):
        (beside / "report.html").write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == ["results.json", "settings.yaml"]


def test_another_run_is_replaced_only_when_told(tmp_path):
    fill(tmp_path / "run")
    with pytest.raises(OutputError, match="holds this run already; .* --overwrite"):
        check_output(tmp_path / "run", ASKED, overwrite=False)
    with pytest.raises(OutputError, match="holds a run with other settings"):
        check_output(tmp_path / "run", AuditSettings("tiny", k=2), overwrite=False)
    with output_folder(tmp_path / "run", ASKED, overwrite=True) as beside:
        (beside / "report.html").write_text("new")
    assert names(tmp_path / "run") == ["report.html", "settings.yaml"]
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_run_is_never_touched(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "settings.yaml").write_text(ASKED.to_yaml())
    with (
        pytest.raises(OutputError, match=r"does not write \(thesis.tex\)"),
        output_folder(tmp_path, ASKED, overwrite),
    ):
        pass
    assert names(tmp_path) == ["settings.yaml", "thesis.tex"]
    with pytest.raises(OutputError, match="is a file"):
        check_output(tmp_path / "thesis.tex", ASKED, overwrite)
