"""How new values are, and who has claimed them."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.settings import Scheme
from msupply_dhis2.state.ordering import claims
from msupply_dhis2.state.ordering.claims import ANY, OLDEST, Claim, Claims, Revision, mark_of
from msupply_dhis2.state.ordering.in_flight import MOST_ORG_UNITS, InFlightMessage, org_units_of
from tests.support.batches import value_of

MONTH_END = datetime(2026, 2, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
revisions = st.builds(Revision, st.integers(0, 10**14), st.integers(0, 10**14))
claims_made = st.builds(Claim, revisions, st.text(max_size=8))
marks = st.binary(min_size=6, max_size=6)


def test_later_snapshot_wins() -> None:
    monthly_run = Revision.of(MONTH_END, MONTH_END + 100 * HOUR)
    backfill_of_that_month = Revision.of(MONTH_END, MONTH_END + 9_000 * HOUR)
    a_day_of_that_month = Revision.of(MONTH_END - 24 * HOUR, MONTH_END + 9_999 * HOUR)
    assert OLDEST < a_day_of_that_month < monthly_run < backfill_of_that_month


@given(revisions, revisions)
def test_stamp_round_trip(one: Revision, other: Revision) -> None:
    assert Revision.parse(str(one)) == one
    assert (str(one) < str(other)) == (one < other)


@given(st.lists(st.tuples(claims_made, st.sets(marks, max_size=6)), max_size=8), revisions, st.randoms())
def test_latest_claim(made: list[tuple[Claim, set[bytes]]], floor: Revision, chance: Random) -> None:
    latest: dict[bytes, Claim] = {}
    for claim, claimed in made:
        for mark in claimed:
            latest[mark] = max(claim, latest.get(mark, claim))
    shuffled = list(made)
    chance.shuffle(shuffled)
    made_so: Claims = {}
    for claim, claimed in shuffled:
        for mark in claimed:
            claims.add(made_so, mark, claim)
    read = claims.read(claims.written(made_so))
    assert read == made_so == latest
    # What could not be read may have been claimed by any.
    unknown = read | {ANY: Claim(floor, "")}
    assert claims.read(claims.written(unknown)) == unknown
    assert {mark: claims.latest(unknown, mark) for mark in latest} == {
        mark: max(each, Claim(floor, "")) for mark, each in latest.items()
    }
    assert claims.latest(unknown, b"nobody") == Claim(floor, "")
    assert {mark: claims.latest(read, mark) for mark in latest} == latest
    assert claims.latest(read, b"nobody") is None
    # Each once: what nobody holds any more takes no room.
    assert sum(len(each["marks"]) for each in claims.written(made_so)) == 6 * len(latest)


@given(st.dictionaries(claims_made, st.sets(marks, min_size=1, max_size=4), min_size=1, max_size=3))
def test_cut_claims(held: dict[Claim, set[bytes]]) -> None:
    written = claims.written({mark: claim for claim, marks in held.items() for mark in marks})
    written[-1]["marks"] = bytes(written[-1]["marks"][:-1])  # type: ignore[arg-type]  # they are bytes
    with pytest.raises(ValueError, match="incomplete"):
        claims.read(written)


def test_org_unit_size() -> None:
    values = [value_of(f"element{number}", "1") for number in range(6_000)]
    (written,) = claims.written({mark_of(value, Scheme.UID): Claim(OLDEST, "run") for value in values})
    assert len(written["marks"]) == 6 * 6_000


def test_marks_are_distinct() -> None:
    values = [
        value_of("a"),
        value_of("b"),
        value_of("a", category_option_combo="c"),
        value_of("a", attribute_option_combo="c"),
        value_of("a", scheme=Scheme.CODE, category_option_combo="c"),
        value_of("a\x1fb"),
    ]
    kept = {mark_of(value, scheme) for value in values for scheme in (Scheme.UID, Scheme.CODE)}
    assert len(kept) == 2 * len(values)
    assert mark_of(value_of("a", "5"), Scheme.UID) == mark_of(value_of("a", "7"), Scheme.UID)


EARLY, LATE = Revision(1, 1), Revision(2, 1)


@pytest.mark.parametrize(
    ("ours", "other", "follows"),
    [
        ({"202601": (LATE, LATE)}, {"202601": (EARLY, EARLY)}, True),
        ({"202601": (EARLY, EARLY)}, {"202601": (LATE, LATE)}, False),
        ({"202601": (LATE, LATE)}, {"202601": (LATE, LATE)}, False),
        ({"202601": (LATE, LATE)}, {"202602": (EARLY, EARLY)}, False),
        (
            {"202601": (EARLY, EARLY), "202602": (LATE, LATE)},
            {"202601": (EARLY, EARLY), "202602": (LATE, LATE)},
            False,
        ),
        ({"2026": (EARLY, LATE)}, {"2026": (EARLY, EARLY)}, True),
    ],
)
def test_newer_waits_in_period(
    ours: dict[str, tuple[Revision, Revision]],
    other: dict[str, tuple[Revision, Revision]],
    follows: bool,  # noqa: FBT001 - a case
) -> None:
    assert (
        InFlightMessage("run-1", "ours", ours).must_follow(InFlightMessage("run-1", "other", other))
        is follows
    )


@pytest.mark.parametrize(
    ("ours", "other", "follows"),
    [
        (["OU_0", "OU_1"], ["OU_1", "OU_2"], True),
        (["OU_0"], ["OU_1"], False),
        # Of more than are told any may be meant.
        (["OU_0"], [f"OU_{number}" for number in range(1, MOST_ORG_UNITS + 2)], True),
        ([f"OU_{number}" for number in range(1, MOST_ORG_UNITS + 2)], ["OU_0"], True),
    ],
)
def test_org_units_are_independent(
    ours: list[str],
    other: list[str],
    follows: bool,  # noqa: FBT001 - a case
) -> None:
    newer = InFlightMessage("run-1", "ours", {"202601": (LATE, LATE)}, org_units_of(ours))
    older = InFlightMessage("run-1", "other", {"202601": (EARLY, EARLY)}, org_units_of(other))
    assert newer.must_follow(older) is follows
