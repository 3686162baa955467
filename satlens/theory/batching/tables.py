"""The record of `satlens.theory.batching.trial` as tables in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = (
    ("speed_up", "tokens a second, first come = 1", "{:.3f}"),
    ("over_reserved", "maximum reserved = 1", "{:.3f}"),
    ("latency_p50", "latency p50, s", "{:.3g}"),
    ("latency_p95", "p95", "{:.3g}"),
    ("peak", "peak memory, positions", "{:.0f}"),
    ("preemptions", "preempted", "{:.1f}"),
    ("wasted", "wasted", "{:.3f}"),
)


def tables(record: Mapping[str, Any]) -> str:
    """What was asked, what was told, what was simulated and what was timed."""
    parts = [_asked(record), _told(record), _simulated(record), _verdicts(record), _timed(record),
             _mixed(record)]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _asked(record: Mapping[str, Any]) -> str:
    asked, settings = record["requests"], record["settings"]
    low, middle, high = asked["length"]
    threshold = record["threshold"]
    policy = "never leaves" if threshold is None else f"softmax response {threshold:g}"
    between = asked["between"]
    share = (
        ""
        if between is None
        else f", {between:.1%} of the variance of exit layers between requests"
    )
    return (
        f"{record['model']}, {asked['requests']} requests from {asked['documents']} documents; prompts of "
        f"{asked['prompt']:.0f} positions on average, {asked['tokens']} new tokens in all (a request's: 10 % "
        f"{low:.0f}, median {middle:.0f}, 90 % {high:.0f}; {settings['most']} at most). Policy: {policy}, "
        f"calibrated on {settings['calibration']} other documents (epsilon {settings['epsilon']:g}, delta "
        f"{settings['delta']:g}). Depth of a request: {asked['depth']:.2f} of {asked['blocks']} blocks, "
        f"standard deviation {asked['depth_spread']:.2f}{share}."
    )


def _told(record: Mapping[str, Any]) -> str:
    head = ["told", "after block", "R2", "of the prompt's length", "beyond it", "rank correlation",
            "of the prompt's length", "best null R2", "p", "beyond the length"]  # fmt: skip
    rows = []
    for what, by in record["predicted"].items():
        for layer, one in by.items():
            names = ("r2", "length_r2", "beyond", "rho", "length_rho")
            most, p = one["null_r2"]["most"], one["null_r2"]["p"]
            rows.append([what, layer, *(_number(one[name], "{:+.2f}") for name in names),
                         _plain(most, "{:+.2f}"), _plain(p, "{:.2f}"), one["verdict"]])  # fmt: skip
    return _table(head, rows, left=2)


def _simulated(record: Mapping[str, Any]) -> str:
    found = record["simulated"]
    head = ["arrivals", "scheduler", *(title for _, title, _ in SHOWN)]
    rows = [
        [
            row["arrivals"],
            row["scheduler"],
            *(_number(row.get(key), form) for key, _, form in SHOWN),
        ]
        for row in found["rows"]
    ]
    settings = found["settings"]
    megabytes = settings["memory"] * found["position_bytes"] / 1e6
    each = found["position_bytes"]
    return (
        _table(head, rows, left=2)
        + f"\n\nMemory: {settings['memory']} positions, each {each:,} bytes ({megabytes:.1f} MB); "
        f"{settings['rows']} rows at most; arrivals at {settings['load']:g} times the rate that first come "
        f"serves; {settings['seeds']} seeds, {settings['shuffles']} shuffles; reading a weight takes as "
        f"long as {record['settings']['reading']:g} multiply-adds, and 1e9 of them a second."
    )


def _verdicts(record: Mapping[str, Any]) -> str:
    head = ["packing by", "verdict", "gain", "over", "p", "share of the oracle's gain"]
    rows = [
        [one["id"], one["verdict"], _number(one["effect"], "{:+.3f}"), one["null"],
         _plain(one["p"], "{:.2f}"), _number(one["share_of_oracle"], "{:.2f}")]
        for one in record["simulated"]["verdicts"]
    ]  # fmt: skip
    return _table(head, rows, left=2)


def _timed(record: Mapping[str, Any]) -> str:
    head = ["requests", "order", "batches", "CPU seconds", "speed, first come = 1: measured",
            "simulated", "simulated seconds", "wasted"]  # fmt: skip
    rows = []
    for title, key in (("the policy's", "timed"), ("planted", "planted")):
        for name, one in record[key]["orders"].items():
            ratio = one["measured"]
            spread = f"{ratio['median']:.3f} [{ratio['least']:.3f}, {ratio['most']:.3f}]"
            seconds = ", ".join(f"{own:.2f}" for own in one["seconds"])
            rows.append([title, name, str(one["batches"]), seconds, spread, f"{one['simulated']:.3f}",
                         f"{one['simulated_seconds']:.2f}", f"{one['wasted']:.3f}"])  # fmt: skip
    return _table(head, rows, left=2)


def _mixed(record: Mapping[str, Any]) -> str:
    head = ["share of tokens that leave after the request's own block", "variance between requests",
            "oracle depth, first come = 1", "wasted, first come", "wasted, packed"]  # fmt: skip
    rows = [
        [f"{one['share']:g}", _plain(one["between"], "{:.2f}"), _number(one["speed_up"], "{:.3f}"),
         _number(one["wasted"], "{:.3f}"), _number(one["wasted_packed"], "{:.3f}")]
        for one in record["mixed"]
    ]  # fmt: skip
    return _table(head, rows, left=1)


def _number(one: Mapping[str, Any] | None, form: str) -> str:
    """A value with its interval."""
    if one is None or one["value"] is None:
        return "–"
    value = form.format(one["value"])
    if one["ci"] is None or None in one["ci"]:
        return value
    low, high = (form.format(end) for end in one["ci"])
    return value if low == high == value else f"{value} [{low}, {high}]"


def _plain(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    marks = [":--"] * left + ["--:"] * (len(head) - left)
    lines = [head, marks, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
