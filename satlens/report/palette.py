"""Colours of the figures and of the page: safe for the colour-blind, on light paper and on dark.

Ranks are ordered, so they take an ordered ramp (anchors of matplotlib's "plasma", whose lightness
rises evenly): rank 1 is always the one that stands out most from the paper.
"""

_ANCHORS = ((13, 8, 135), (126, 3, 168), (204, 71, 120), (248, 149, 64), (240, 249, 33))
_RANGE = {"light": (0.0, 0.74), "dark": (0.93, 0.42)}

INK = {
    "light": {"paper": "#ffffff", "card": "#f6f7f9", "ink": "#1b1f24", "muted": "#5d6673", "line": "#d8dde3",
              "model": "#0072b2", "fresh": "#a05a00", "null": "#7a828e", "good": "#00674f", "part": "#8a5a00",
              "bad": "#a3341f", "unsure": "#4f5866"},
    "dark": {"paper": "#14171b", "card": "#1d2126", "ink": "#e8eaed", "muted": "#a3abb6", "line": "#373d45",
             "model": "#56b4e9", "fresh": "#e6a23c", "null": "#8d96a2", "good": "#4ccaa2", "part": "#e6b04a",
             "bad": "#f08a72", "unsure": "#b4bcc8"},
}  # fmt: skip
"""Names for colours by use; `model` and `fresh` differ in hue and in lightness, and in marker."""

CELLS = {
    "light": {"fixed": "#2a6f97", "on-fixed": "#ffffff", "held": "#c3dbe8", "near": "#d9a05b"},
    "dark": {"fixed": "#5aa9d6", "on-fixed": "#0d1419", "held": "#27455a", "near": "#b9803c"},
}
"""Cells of the token heatmap by what they hold, and the ink on a fixed one."""

LINES = {
    "light": ("#0072b2", "#c26a00", "#00795c", "#b0479a", "#7a4a1e", "#5c63c9", "#7a828e"),
    "dark": ("#56b4e9", "#e69a3c", "#3ecf9f", "#e58fd0", "#c99e6b", "#a3a9ff", "#8d96a2"),
}
"""Colours for a few named lines, the one in question first; a line also has a marker of its own."""


def rank_colors(k: int, theme: str = "light") -> list[str]:
    """One colour a rank, rank 1 first.

    >>> rank_colors(1), len(rank_colors(7, "dark"))
    (['#0d0887'], 7)
    """
    first, last = _RANGE[theme]
    steps = [first + (last - first) * i / max(k - 1, 1) for i in range(k)]
    return [_at(step) for step in steps]


def _at(x: float) -> str:
    """The ramp at ``x`` in 0 .. 1."""
    left = min(int(x * 4), 3)
    share = x * 4 - left
    mixed = (a + (b - a) * share for a, b in zip(_ANCHORS[left], _ANCHORS[left + 1], strict=True))
    return "#" + "".join(f"{round(c):02x}" for c in mixed)
