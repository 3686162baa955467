"""The tables of a probe and of a patch, pinned on small examples."""

import re

import pytest

from satlens.report.patch import tables as patch_tables
from satlens.report.probe import tables as probe_tables
from satlens.report.validate import plain
from tests.report.example_parts import make_patch, make_probe, missing


@pytest.fixture(scope="module")
def probe():
    return plain(make_probe(without=("exchanged",)))


@pytest.fixture(scope="module")
def patch():
    return plain(make_patch())


def rows(table):
    return {row[0]: row for row in table.rows}


def test_counts_and_chance_are_stated(probe):
    table = probe_tables.counts_table(probe)
    assert table.head == ("layer", "stage 1", "stage 2", "stage 3", "stage 4", "used")
    assert rows(table)["0"] == ("0", "960", "0", "0", "0", "no")
    assert rows(table)["14"] == ("14", "63", "224", "224", "224", "yes")
    assert "4,800 states (1,200 of each stage), so chance is 0.25" in table.note
    assert "301 fix a rank before a higher one (policy: running_max)" in table.note


def test_accuracy_stands_beside_every_control(probe):
    found = rows(probe_tables.accuracy_table(probe))
    assert list(found)[:3] == ["one probe, all layers", "one probe a layer", "chance"]
    assert found["chance"][1] == "0.250"
    assert found["path rotated"] == (
        "path rotated", "0.410 [0.390, 0.430]", "0.603", "3", "+0.110 [+0.090, +0.130]", "yes",
    )  # fmt: skip
    assert found["control task"][5] == "no"
    assert found["path exchanged"][1:5] == ("not available", "-", "0", "not available")


def test_every_stage_has_its_share(probe):
    assert rows(probe_tables.stages_table(probe))["4"][1] == "0.580 [0.560, 0.600]"


def test_what_is_put_in_stands_beside_its_controls(patch):
    table = patch_tables.patching_table(patch)
    found = rows(table)
    assert list(found) == [
        "nothing put in", "paired donor", "its own state", "donor not yet saturated", "random donor",
        "pairs shuffled", "random direction",
    ]  # fmt: skip
    assert found["paired donor"][1:] == (
        "300",
        "0.80 [0.78, 0.82]",
        "0.10 [0.08, 0.12]",
        "",
    )
    assert found["donor not yet saturated"][4] == "+0.30 [+0.28, +0.32]"
    assert "near-circular" in table.note and "300 of 512 pairs of any documents" in table.note


def test_by_offset_every_condition_has_a_column(patch):
    plain_words = patch_tables.published_table(patch)
    assert plain_words.head[:3] == ("offset", "clean", "paired")
    assert rows(plain_words)["+2"][2] == "0.80" and rows(plain_words)["-1"][2] == "0.00"
    assert rows(patch_tables.published_table(patch, intervals=True))["0"][2] == "0.80 [0.78, 0.82]"
    assert rows(patch_tables.advance_table(patch))["+3"][2] == "+0.80"
    assert rows(patch_tables.kept_table(patch))["0"][2] == "0.73"


def test_steering_by_direction_and_by_strength(patch):
    found = rows(patch_tables.steering_table(patch))
    assert found["mean difference"][1] == "0.05 [0.03, 0.07]" and found["mean difference"][4] == ""
    assert found["path rotated"][4] == "+0.02 [0.00, +0.04]"
    assert rows(patch_tables.dose_table(patch))["+4"][1:3] == ("0.20", "0.10")


@pytest.mark.parametrize("stages", [2, 5])
@pytest.mark.parametrize("k", [1, 5])
def test_the_terminal_is_100_columns_and_never_nan(stages, k):
    probe = plain(make_probe(stages=stages, without=("rotated", "untrained")))
    patch = plain(make_patch(k=k, offsets=range(-5, 6)))
    patch["patching"]["conditions"]["unsaturated"]["published"][-1] = missing()
    for module, results in ((probe_tables, probe), (patch_tables, patch)):
        text = module.summary(results)
        assert max(map(len, text.splitlines())) <= 100
        for words in (text, module.tables_markdown(results)):
            assert not re.search(r"\b(nan|none|inf)\b", words, re.IGNORECASE)


def test_a_null_is_named_as_its_part_names_it():
    patch = plain(make_patch())
    patch["verdicts"][0]["null"] = patch["verdicts"][2]["null"] = "shuffled"
    text = patch_tables.summary(patch, width=200)
    assert "against pairs shuffled" in text and "against labels shuffled" in text
