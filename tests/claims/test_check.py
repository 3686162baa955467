"""A claim as a line of a test, as somebody else would write it."""

import pytest

from satlens.claims import check
from satlens.errors import InputError
from satlens.verdicts import HOLDS, UNKNOWN

TEXTS = [
    "Lily had a red ball. She ran to the park.",
    "One day a dog sat on the mat.",
    "Tom saw a cat.",
]


def test_the_fixture_is_there(claim):
    assert claim is check


def test_on_gives_the_row(claim, settling):
    row = claim("depth_left_over").on(str(settling), TEXTS)
    assert row.id == "depth_left_over" and row.p_holm == row.p  # alone, nothing is corrected


def test_what_does_not_hold_is_an_assertion_with_its_reason(claim, settling):
    # a model that settles after a block or two: more is left than along any path
    asked = claim("depth_left_over")
    row = asked.on(str(settling), TEXTS)
    if row.verdict == HOLDS:
        assert asked.holds_on(str(settling), TEXTS) == row
    with pytest.raises(AssertionError, match="order_in_untrained: .* In untrained models, too"):
        claim("order_in_untrained").holds_on(str(settling), TEXTS[:1])


def test_one_text_cannot_tell(claim, settling):
    assert claim("order").on(str(settling), TEXTS[:1]).verdict == UNKNOWN


def test_an_unknown_claim_is_named(claim):
    with pytest.raises(InputError, match="No claim called 'odrer'. Choices: order"):
        claim("odrer")


def test_in_a_repository_of_its_own(pytester, settling):
    pytester.makepyfile(
        f"""
        def test_depth(claim):
            row = claim("depth_left_over").on({str(settling)!r}, {TEXTS!r})
            assert row.value is not None

        def test_order(claim):
            claim("order").holds_on({str(settling)!r}, {TEXTS[:1]!r})
        """
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*AssertionError: order: cannot be told here. In decoders of text*"]
    )
