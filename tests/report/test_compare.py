"""Audits side by side, and what is refused."""

import json

import pytest

from satlens.cli.main import main
from satlens.errors import InputError
from satlens.report.compare import comparison, read_audits, tables
from satlens.report.validate import plain, write_results
from tests.report.example import make_results


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A model of three ranks with a twin, and one of two ranks without a twin or nulls."""
    folder = tmp_path_factory.mktemp("runs")
    full, bare = plain(make_results(k=3)), plain(make_results(k=2, nulls=False))
    bare["saturation"]["untrained"] = bare["order"]["untrained"] = None
    bare["model"]["name"] = "bare|one"
    for name, results in (("full", full), ("bare", bare)):
        (folder / name).mkdir()
        write_results(results, folder / name / "results.json")
    return folder


def test_one_row_a_model_and_one_a_twin(runs):
    layers, censored, order = tables(read_audits([runs / "full", runs / "bare" / "results.json"]))
    full = json.loads((runs / "full" / "results.json").read_text())
    for table in (layers, censored, order):
        assert [row[1] for row in table.rows] == ["trained", "untrained", "trained"]
        assert {len(row) for row in table.rows} == {len(table.head)}
    entry = full["saturation"]["untrained"]["ranks"][2]
    assert layers.rows[1][-1].startswith(f"{entry['mean_layer']:.2f} [")
    assert layers.rows[2][-1] == censored.rows[2][-1] == ""  # it has no rank 3
    assert censored.rows[0][2].startswith(
        f"{full['saturation']['trained']['ranks'][0]['censored']['value']:.2f}"
    )
    excess = full["nulls"]["rotated"]["excess"]["value"]
    assert order.rows[0][-2].startswith(f"{excess:+.3f} [")
    assert order.rows[1][-2:] == order.rows[2][-2:] == ("not drawn", "not drawn")


def test_the_command_prints_what_the_function_gives(runs, capsys):
    assert main(["compare", str(runs / "full"), str(runs / "bare")]) == 0
    assert capsys.readouterr().out == comparison([runs / "full", runs / "bare"]) + "\n"
    assert main(["compare", str(runs / "bare"), "--markdown"]) == 0
    assert "| bare\\|one | trained |" in capsys.readouterr().out


def test_what_is_no_audit_is_refused(runs, tmp_path, capsys):
    with pytest.raises(InputError, match="give the folders of one audit or more"):
        comparison([])
    assert main(["compare", str(tmp_path)]) == 2
    assert "holds no audit" in capsys.readouterr().err
    (tmp_path / "results.json").write_text('{"schema": "satlens.probe/1"}')
    with pytest.raises(InputError, match="do not have the form|not of an audit"):
        comparison([tmp_path])
