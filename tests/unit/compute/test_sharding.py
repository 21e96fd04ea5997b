"""Dividing a run: every org unit in exactly one shard, evenly, and always alike."""

import json
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.compute.event import MonthStep, parse_compute_event
from msupply_dhis2.compute.sharding import MOST_ORG_UNITS, Shard, count_ledger_lines, divide, parse_shard
from msupply_dhis2.domain.stock import OrgUnit, Store
from msupply_dhis2.errors import EventError

STEPS = (
    MonthStep(as_of=datetime(2026, 1, 1, tzinfo=UTC), month="2025-12"),
    MonthStep(as_of=datetime(2026, 2, 1, tzinfo=UTC)),
)


def country(lines: list[list[int]]) -> tuple[list[OrgUnit], dict[str, int]]:
    """Make org units whose stores have so many lines."""
    org_units = []
    by_store: dict[str, int] = {}
    for place, of_stores in enumerate(lines):
        code = f"OU{place:05d}"
        stores = tuple(
            Store(f"{code}-{each}", code, code, code, Fraction(1)) for each in range(len(of_stores))
        )
        org_units.append(OrgUnit(code, stores))
        by_store |= {store.id: number for store, number in zip(stores, of_stores, strict=True)}
    return org_units, by_store


COUNTRIES = st.lists(st.lists(st.integers(0, 5_000), min_size=1, max_size=3), max_size=60).map(country)
LIMITS = st.integers(1, 20_000)


@given(country=COUNTRIES, limit=LIMITS)
def test_exact_partition(country: tuple[list[OrgUnit], dict[str, int]], limit: int) -> None:
    org_units, lines = country
    shards = divide(org_units, lines, limit)
    assert all(shards)
    assert sorted(each.code for shard in shards for each in shard) == [each.code for each in org_units]
    # In their order, which is that of the database's rows.
    assert all(one.code < other.code for shard in shards for one, other in pairwise(shard))


@given(country=COUNTRIES, limit=LIMITS)
def test_balanced(country: tuple[list[OrgUnit], dict[str, int]], limit: int) -> None:
    org_units, lines = country
    shards = divide(org_units, lines, limit)
    if shards:
        sizes = [count_ledger_lines(shard, lines) + len(shard) for shard in shards]
        assert max(sizes) - min(sizes) <= 1 + max(count_ledger_lines([each], lines) for each in org_units)


@given(country=COUNTRIES, limit=LIMITS)
def test_count_from_limit(country: tuple[list[OrgUnit], dict[str, int]], limit: int) -> None:
    org_units, lines = country
    total = count_ledger_lines(org_units, lines)
    assert len(divide(org_units, lines, limit)) == min(len(org_units), max(1, -(-total // limit)))


@given(country=COUNTRIES, limit=LIMITS)
def test_deterministic(country: tuple[list[OrgUnit], dict[str, int]], limit: int) -> None:
    org_units, lines = country
    turned = dict(reversed(lines.items()))
    assert divide(org_units, lines, limit) == divide(org_units, turned, limit)


def test_one_shard_within_limit() -> None:
    org_units, lines = country([[400], [300, 300]])
    assert divide(org_units, lines, 1_000) == (tuple(org_units),)


def test_org_units_without_lines() -> None:
    org_units, lines = country([[1_000], [1_000], *([0] for _ in range(100))])
    one, other = divide(org_units, lines, 1_000)
    assert abs(len(one) - len(other)) <= 1


def test_message_size() -> None:
    org_units, lines = country([[10_000_000], *([0] for _ in range(2 * MOST_ORG_UNITS - 1))])
    one, other = (
        shard(tuple(each.code.ljust(50, "x") for each in part))
        for part in divide(org_units, lines, 10_000_000)
    )
    assert max(len(one.encoded()), len(other.encoded())) < 1_000_000


def shard(org_units: tuple[str, ...] = ("OU_KAMO", "OU_KOHU"), **changes: object) -> Shard:
    made = Shard(
        version=1,
        run_id="20260201T010000Z-manual-1f0c2a9b",
        planned_by="request-1",
        event=parse_compute_event({"manual": True, "months": "2025-11..2025-12", "items": ["Amoxicillin"]}),
        number=3,
        of=12,
        ledger_lines=1_950_000,
        org_units=org_units,
        steps=STEPS,
    )
    return made.model_copy(update=changes)


def test_message_round_trip() -> None:
    assert parse_shard(shard().encoded()) == shard()


def test_message_version() -> None:
    message = json.loads(shard().encoded())
    assert message["shard"].pop("version") == 1
    with pytest.raises(EventError):
        parse_shard(message)


def test_without_first_step() -> None:
    rest = shard().after(1)
    assert rest == shard(steps=STEPS[1:])
    assert rest is not None
    assert rest.after(1) is None
    assert (shard().name, rest.name) == ("Shard 3 of 12, 2025-12", "Shard 3 of 12")
    assert (shard().parts[0], rest.parts[0]) == ("3/12/2025-12", "3/12")


def test_identity_is_content() -> None:
    # Planned again, when other stores have grown, number 3 may be other org units.
    assert shard(number=4).key == shard().key
    others = [shard(org_units=("OU_KAMO",)), shard(planned_by="request-2"), shard().after(1)]
    assert len({shard().key, *(other.key for other in others if other)}) == 4


@pytest.mark.parametrize("body", ["", "{}", '{"manual": true}', '{"shard": {"version": 2}}'])
def test_foreign_message_refused(body: str) -> None:
    with pytest.raises(EventError, match="invoke it with the run's event again"):
        parse_shard(body)


@pytest.mark.parametrize(
    ("place", "content", "says"),
    [
        ((), {"lins": 5}, "shard.lins is not a field. The fields are: version, run_id, planned_by, "),
        (
            ("event",),
            {"store": "Kamo"},
            "shard.event.store is not a field. Did you mean stores?",
        ),
        (
            ("steps", 0),
            {"basis": "x"},
            "shard.steps.0.basis is not a field. The fields are: as_of, m",
        ),
        (
            ("steps", 1),
            {"as_of": "2026-02-01T00:00:00"},
            "shard.steps.1.as_of is not a time. Write a date and a time with its offset",
        ),
        (("event",), {"months": "1999-01"}, "lies before the year 2000: is the year right?"),
    ],
)
def test_wrong_field_is_named(place: tuple[str | int, ...], content: dict[str, object], says: str) -> None:
    message = json.loads(shard().encoded())
    inside = message["shard"]
    for part in place:
        inside = inside[part]
    inside.update(content)
    for body in (message, json.dumps(message)):
        with pytest.raises(EventError) as refused:
            parse_shard(body)
        assert says in str(refused.value)
        assert "right?." not in str(refused.value)


def test_fault_is_short() -> None:
    message = json.loads(shard().encoded())
    message["shard"]["org_units"] = list(range(5_000))
    message["shard"]["\x00" + "x" * 500_000] = 1
    with pytest.raises(EventError) as refused:
        parse_shard(json.dumps(message))
    assert len(str(refused.value)) < 5_000
    assert all(line.isprintable() for line in str(refused.value).splitlines())
    assert str(refused.value).endswith("more.")


def test_fault_hides_content() -> None:
    message = json.loads(shard().encoded())
    message["shard"]["number"] = "mark3d-secret"
    with pytest.raises(EventError) as refused:
        parse_shard(message)
    assert "shard.number is not what belongs here." in str(refused.value)
    assert "mark3d-secret" not in str(refused.value)


@pytest.mark.parametrize(("year", "says"), [(2062, "is in the future"), (1970, "before the year 2000")])
def test_unknowable_instant(year: int, says: str) -> None:
    steps = (STEPS[0], MonthStep(as_of=datetime(year, 1, 1, tzinfo=UTC)))
    shard().require_known(now=datetime(2026, 2, 1, tzinfo=UTC))
    with pytest.raises(EventError, match=rf"shard.steps.1.as_of: {year}-01-01T00:00:00.*{says}"):
        shard(steps=steps).require_known(now=datetime(2026, 2, 1, tzinfo=UTC))
