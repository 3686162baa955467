"""Donors and recipients: tokens of one final top-1, of which one settles early and one late.

A pair (donor d, recipient r) has

    t_1(d) = t_1(r),      s_1(r) - s_1(d) >= gap,

and, if asked for, lies in one document or in two, and not too far apart. No token is used twice.
Source: Lioubashevski et al. 2025, section 5 (there gap = 10 of 48 layers, positions at most 30 apart).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.saturation.events import SaturationEvents

GAP_SHARE = 0.21
"""The paper's gap, 10 of the 48 layers of GPT2-XL, as a share of the layers."""


def default_gap(n_layers: int) -> int:
    """The paper's 10 of 48 layers, in a model of this depth.

    >>> default_gap(48), default_gap(16), default_gap(2)
    (10, 3, 1)
    """
    return max(1, round(GAP_SHARE * n_layers))


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of tokens, by their row numbers in the events.

    Attributes:
        donor, recipient: ``[pair]`` rows of ``events``.
        settings: gap, across, max_distance, room, limit and seed.
    """

    events: SaturationEvents
    donor: Int[ndarray, " pair"]
    recipient: Int[ndarray, " pair"]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = object.__setattr__
        own(self, "settings", MappingProxyType(dict(self.settings)))
        for name in ("donor", "recipient"):
            rows = np.array(getattr(self, name), dtype=np.int64)
            rows.flags.writeable = False
            own(self, name, rows)
            if rows.ndim != 1 or not ((rows >= 0) & (rows < len(self.events))).all():
                raise InputError(f"Pairs.{name} wants rows of {self.events!r}, one a pair.")
        if len(self.donor) != len(self.recipient):
            raise InputError(
                f"Pairs wants a donor for each recipient; got {len(self.donor)} and "
                f"{len(self.recipient)}."
            )

    def __len__(self) -> int:
        return len(self.donor)

    def first(self, n: int) -> "Pairs":
        """The first n pairs; they are in random order."""
        return Pairs(self.events, self.donor[:n], self.recipient[:n], self.settings)

    @property
    def doc(self) -> Int[ndarray, " pair"]:
        """The recipients' documents: the units of every interval."""
        return self.events.doc[self.recipient]

    @property
    def donor_layer(self) -> Int[ndarray, " pair"]:
        """``s_1`` of the donors."""
        return self.events.layer[self.donor, 0].astype(np.int64)

    @property
    def recipient_layer(self) -> Int[ndarray, " pair"]:
        """``s_1`` of the recipients."""
        return self.events.layer[self.recipient, 0].astype(np.int64)

    def to_frame(self):
        """A pandas frame, one row a pair: top-1, and document, position and layer of both sides."""
        import pandas as pd

        events, columns = self.events, {"token": self.events.token[self.donor, 0]}
        for side in ("donor", "recipient"):
            rows = getattr(self, side)
            columns[f"{side}_doc"] = events.doc[rows]
            columns[f"{side}_pos"] = events.pos[rows]
            columns[f"{side}_layer"] = events.layer[rows, 0]
        return pd.DataFrame(columns)


def find_pairs(
    events: SaturationEvents,
    *,
    gap: int | None = None,
    across: bool | None = None,
    max_distance: int | None = None,
    room: int = 0,
    limit: int | None = None,
    seed: int = DEFAULT_SEED,
) -> Pairs:
    """Pairs of tokens with one final top-1, the donor fixed at least ``gap`` layers before the recipient.

    Args:
        gap: layers between the two; by default the paper's share, ``max(1, round(0.21 L))``.
        across: True for pairs of two documents, False for pairs inside one, None for either.
        max_distance: positions at most this far apart, each counted in its own document.
        room: the donor's saturation layer has this many layers on both sides that can be patched
            (0 .. L-2).
        limit: stop at this many pairs.
        seed: of the random order in which recipients are taken, and of the choice of their donors.

    Returns:
        Pairs in random order. No token is in two of them, as donor or as recipient.

    Raises:
        InputError: no pair, with how many tokens share a top-1 and how far they are apart; or
            unusable settings.

    Example:
        >>> events = SaturationEvents([[0], [3]], [[7], [7]], doc=[0, 1], pos=[4, 2], n_layers=5)
        >>> find_pairs(events, gap=2).to_frame()[["donor_layer", "recipient_layer"]].values.tolist()
        [[0, 3]]
    """
    gap = default_gap(events.n_layers) if gap is None else gap
    settings = {"gap": gap, "across": across, "max_distance": max_distance, "room": room,
                "limit": limit, "seed": seed}  # fmt: skip
    _check(events, settings)
    rng = np.random.default_rng(seed)
    groups = _groups(events)
    free = np.ones(len(events), bool)
    donors, recipients = [], []
    for recipient in rng.permutation(len(events)).tolist():
        if limit is not None and len(donors) == limit:
            break
        members = groups.get(int(events.token[recipient, 0]))
        if members is None or not free[recipient]:
            continue
        able = members[_allowed(events, recipient, members, settings) & free[members]]
        if len(able):
            donor = int(able[rng.integers(len(able))])
            free[[donor, recipient]] = False
            donors.append(donor)
            recipients.append(recipient)
    if not donors:
        raise InputError(_why_none(events, groups, settings))
    return Pairs(events, np.array(donors), np.array(recipients), settings)


def _groups(events: SaturationEvents) -> dict[int, Int[ndarray, " member"]]:
    """The tokens of each final top-1 that more than one token has."""
    top = events.token[:, 0]
    order = np.argsort(top, kind="stable")
    ids, starts = np.unique(top[order], return_index=True)
    parts = np.split(order, starts[1:])
    return {int(i): part for i, part in zip(ids, parts, strict=True) if len(part) > 1}


def _allowed(
    events: SaturationEvents, recipient: int, members: ndarray, settings: Mapping[str, Any]
) -> Bool[ndarray, " member"]:
    """Which members may donate to this recipient."""
    early = events.layer[members, 0].astype(np.int64)
    able = early <= int(events.layer[recipient, 0]) - settings["gap"]
    able &= _elsewhere(events, recipient, members, settings)
    return able & (early >= settings["room"]) & (early <= events.n_layers - 2 - settings["room"])


def _elsewhere(
    events: SaturationEvents, recipient: int, members: ndarray, settings: Mapping[str, Any]
) -> Bool[ndarray, " member"]:
    """The conditions on documents and positions."""
    able = members != recipient
    if settings["across"] is not None:
        able &= (events.doc[members] != events.doc[recipient]) == settings["across"]
    if settings["max_distance"] is not None:
        distance = np.abs(events.pos[members].astype(np.int64) - int(events.pos[recipient]))
        able &= distance <= settings["max_distance"]
    return able


def _why_none(
    events: SaturationEvents, groups: Mapping[int, ndarray], settings: Mapping[str, Any]
) -> str:
    """What is missing: equal answers, or layers between them."""
    sharing = sum(map(len, groups.values()))
    largest, largest_here = 0, -1
    for members in groups.values():
        layers = events.layer[members, 0].astype(np.int64)
        largest = max(largest, int(layers.max() - layers.min()))
        for recipient in members.tolist():
            able = members[_elsewhere(events, recipient, members, settings)]
            if len(able):
                gap = int(events.layer[recipient, 0]) - int(events.layer[able, 0].min())
                largest_here = max(largest_here, gap)
    text = (
        f"No pair of tokens with one final top-1 and rank-1 saturation layers at least "
        f"{settings['gap']} apart: of {len(events):,} tokens, {sharing:,} share their top-1 with another"
    )
    if not sharing:
        return f"{text}. Give more text."
    text = f"{text}, and the largest gap among those is {largest} layers"
    asked = {k: settings[k] for k in ("across", "max_distance") if settings[k] is not None}
    if asked:
        words = ", ".join(f"{k}={v}" for k, v in asked.items())
        here = f"{largest_here} layers" if largest_here >= 0 else "none, as no such tokens are left"
        text = f"{text} (with {words}: {here})"
    loosen = ", ".join([f"room={settings['room']}"] * bool(settings["room"]) + list(asked))
    more = f", loosen {loosen}" if loosen else ""
    return f"{text}. Lower gap{more}, or give more text."


def _check(events: SaturationEvents, settings: Mapping[str, Any]) -> None:
    """Refuse settings that mean nothing."""
    n_layers = events.n_layers
    if not 1 <= settings["gap"] <= n_layers - 1:
        raise InputError(
            f"gap must be 1 .. {n_layers - 1}, the layers that can lie between two events of "
            f"{n_layers} layers; got {settings['gap']}."
        )
    for name, least in (("max_distance", 0), ("room", 0), ("limit", 1)):
        if settings[name] is not None and settings[name] < least:
            raise InputError(f"{name} must be at least {least}, got {settings[name]}.")
