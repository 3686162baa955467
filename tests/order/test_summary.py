import dataclasses
import json

import jsonschema
import numpy as np
import pytest

from satlens.errors import InputError
from satlens.order import NullDraws, report
from satlens.report.validate import schema
from tests.order.planted import layers_without_order, make_events

SCHEMA = schema("audit")


def check(part: str, value) -> None:
    """The part of a report against its part of the results' schema."""
    jsonschema.validate(value, {"$ref": f"#/$defs/{part}", "$defs": SCHEMA["$defs"]})


def an_events(documents=6, seed=0, shift=1):
    rng = np.random.default_rng(seed)
    layer, doc = layers_without_order(rng, documents, tokens=8, k=4, n_layers=9)
    layer = np.clip(layer + shift * np.arange(4), 0, 8)
    top = rng.integers(0, 3, (len(layer), 9, 4))
    return make_events(layer, 9, doc, top=top)


def nulls_of(events):
    rng = np.random.default_rng(1)
    return {
        kind: NullDraws(kind, rng.permuted(np.stack([events.layer] * 3), axis=2), events)
        for kind in ("rotated", "exchanged", "walk", "line")
    }


def test_a_report_is_ready_for_json_and_fits_the_schema():
    events = an_events()
    found = report(events, nulls_of(events), untrained=an_events(seed=5), draws=50)
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    check("saturation", values["saturation"])
    check("order", values["order"])
    assert set(values["nulls"]) == {"permuted", "rotated", "exchanged", "walk", "line", "untrained"}
    for null in values["nulls"].values():
        check("null", null)
    for one in values["verdicts"]:
        jsonschema.validate(
            one, SCHEMA["properties"]["verdicts"]["items"] | {"$defs": SCHEMA["$defs"]}
        )
    assert values["verdicts"][0]["verdict"] == "holds"
    assert values["settings"] == {"draws": 50, "level": 0.95, "seed": 0, "margin": 0.02}


@pytest.mark.parametrize(
    "events",
    [
        an_events(documents=1),
        make_events(np.full((5, 4), 8), 9),  # everything censored
        make_events(np.zeros((5, 4), int), 1),  # a model of one layer
        make_events([[0, 1]], 9),  # one token, two ranks
    ],
    ids=["one document", "all censored", "one layer", "one token"],
)
def test_reports_of_very_little_hold_no_nan(events):
    found = report(events, nulls_of(events), draws=20)
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    check("saturation", values["saturation"])
    check("order", values["order"])
    for null in values["nulls"].values():
        check("null", null)
    assert values["verdicts"][0]["verdict"] == "cannot be told here"
    assert len(found.to_frame()) > 10


def test_without_path_nulls_there_is_no_verdict():
    found = report(an_events(), draws=20)
    assert found.verdict is None and found.to_dict()["verdicts"] == []
    assert set(found.excess) == {"permuted"}


def test_without_a_trajectory_there_are_no_flips():
    events = dataclasses.replace(an_events(), top=None)
    found = report(events, draws=20)
    assert found.flips is None and "flips" not in found.to_dict()["saturation"]["ranks"][0]
    with_top = report(an_events(), draws=20)
    assert with_top.to_dict()["saturation"]["ranks"][0]["changes"] > 0


def test_the_frame_holds_the_reports_numbers():
    events = an_events()
    found = report(events, nulls_of(events), draws=50)
    frame = found.to_frame().set_index(["section", "name"])
    row = frame.loc[("order", "concordance")]
    estimate = found.concordance.estimate
    assert (row.value, row.low, row.high) == (estimate.value, estimate.low, estimate.high)
    assert row.p == found.concordance.by_documents.p
    assert frame.loc[("saturation", "mean layer"), "rank"].tolist() == [1, 2, 3, 4]
    beyond = frame.loc[("null exchanged", "excess spread")]
    assert beyond.value == found.excess["exchanged"]["spread"].estimate.value


def test_same_seed_same_report():
    events = an_events()
    one, same, other = (report(events, draws=50, seed=seed).to_dict() for seed in (0, 0, 1))
    assert one == same and one != other


def test_bad_input_is_refused():
    events = an_events()
    with pytest.raises(InputError, match="report compares ranks and needs k >= 2"):
        report(make_events([[0]], 4))
    with pytest.raises(
        InputError, match="The null 'rotated' is of k=4 ranks and 9 layers, the events of k=2"
    ):
        report(make_events([[0, 1]], 9), nulls_of(events))
    with pytest.raises(InputError, match="must be of the same tokens as the trained ones"):
        report(events, untrained=events[:3])
