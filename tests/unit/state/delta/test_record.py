"""What is remembered of an org unit and period: what DHIS2 may hold, how it is written down, what is forgotten."""

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.domain.data_value import Column, DataValue, Origin
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.settings import Scheme
from msupply_dhis2.state.delta.record import (
    OVERLAP_SECONDS,
    SETTLED_SECONDS,
    Attempt,
    Entry,
    Held,
    NoValue,
    Record,
)
from msupply_dhis2.state.message import DeliveryState

NOON = 1_800_000_000
HOUR = 3600
UNTIL = NOON + 30 * 24 * HOUR
IDENTIFIER = ("AMOX", None, None)

values = st.text(min_size=1, max_size=8)
helds = values | st.sampled_from(NoValue)
attempts = st.builds(
    Attempt, values, values, st.integers(0, 2**32), st.integers(0, 5_000), st.none() | values
)
entries = st.builds(
    Entry,
    st.sampled_from(Metric),
    st.sampled_from(Scheme),
    values,
    values,
    helds,
    st.none() | values,
    st.lists(attempts, max_size=3),
    st.sampled_from([Kind.STORE, Kind.CUSTOMER]),
)
identifiers = st.tuples(values, st.none() | values, st.none() | values)


def attempt(name: str, value: str | None) -> Attempt:
    return Attempt(f"batch-{name}", "s1", UNTIL, 0, value)


def receipt(began: int, ended: int, *, applied: bool = True) -> DeliveryState:
    return DeliveryState(frozenset({0}), frozenset({0} if applied else ()), began, ended)


def entry(*sent: Attempt, confirmed: Held = NoValue.UNKNOWN) -> Entry:
    return Entry(Metric.STOCK_ON_HAND, Scheme.CODE, "Kamo", "Amoxicillin", confirmed, None, list(sent))


def value_of(text: str) -> DataValue:
    return DataValue(
        Column(("AMOX", None, None), "202610", Scheme.CODE, Metric.STOCK_ON_HAND, "Amoxicillin"),
        Origin("OU_KAMO", "Kamo"),
        text,
    )


@given(
    held=st.dictionaries(identifiers, entries, max_size=6),
    full=st.dictionaries(st.sampled_from(Metric), st.integers(0, 2**32)),
    disturbed=st.integers(0, 2**32).map(float),
)
def test_round_trip(
    held: dict[tuple[str, str | None, str | None], Entry], full: dict[Metric, int], disturbed: float
) -> None:
    written = Record("202610", "OU_KAMO", held, full, disturbed)
    read = Record("202610", "OU_KAMO", invalid_until=disturbed)
    read.read(written.encoded())
    assert (read.entries, read.full) == (held, full)


@given(
    content=st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
        lambda content: zlib.compress(repr(content).encode())
    )
)
def test_damaged_content(content: bytes) -> None:
    with pytest.raises(ValueError, match=":"):
        Record("202610", "OU_KAMO").read(content)


def _spoilt(content: Any, data: st.DataObject) -> Any:  # noqa: ANN401 - JSON
    """Put something else in place of one thing, at whatever depth."""
    if isinstance(content, list | dict) and content and data.draw(st.booleans()):
        keys = list(content) if isinstance(content, dict) else range(len(content))
        key = data.draw(st.sampled_from(keys))
        content[key] = _spoilt(content[key], data)
        return content
    return data.draw(st.sampled_from([None, -1, 10**30, 1.5, "text", [], {}, [[]], ["a", 1]]))


@given(st.dictionaries(identifiers, entries, min_size=1, max_size=3), st.data())
def test_spoilt_content(held: dict[tuple[str, str | None, str | None], Entry], data: st.DataObject) -> None:
    written = Record("202610", "OU_KAMO", held, {Metric.STOCK_ON_HAND: 5}).encoded()
    spoilt = _spoilt(json.loads(zlib.decompress(written)), data)
    record = Record("202610", "OU_KAMO")
    try:
        record.read(zlib.compress(json.dumps(spoilt).encode()))
    except ValueError:
        return
    record.is_known(value_of("7"), {}, NOON)
    record.settle({each: receipt(NOON, NOON) for each in record.attempts()}, NOON)
    record.note(value_of("7"), attempt("later", "7"))
    assert record.encoded()


def test_invalidated_later() -> None:
    written = Record("202610", "OU_KAMO", {IDENTIFIER: entry(confirmed="7")})
    read = Record("202610", "OU_KAMO", invalid_until=NOON)
    read.read(written.encoded())
    assert not read.is_known(value_of("7"), {}, NOON)
    undisturbed = Record("202610", "OU_KAMO")
    undisturbed.read(written.encoded())
    assert undisturbed.is_known(value_of("7"), {}, NOON)


def test_in_flight_is_uncertain() -> None:
    it = entry(attempt("new", "8"), confirmed="7")
    assert it.holds({}, NOON, 0.0) == {"7", "8"}
    applied = {("batch-new", "s1"): receipt(NOON, NOON + 60)}
    assert it.holds(applied, NOON + HOUR, 0.0) == {"8"}


def test_same_value_in_flight() -> None:
    assert entry(attempt("a", "7"), attempt("b", "7"), confirmed="7").holds({}, NOON, 0.0) == {"7"}


def test_after_rejection() -> None:
    refused = {("batch-new", "s1"): receipt(NOON, NOON + 60, applied=False)}
    assert entry(attempt("new", "8"), confirmed="7").holds(refused, NOON + HOUR, 0.0) == {NoValue.UNKNOWN}


def test_last_applied_counts() -> None:
    redriven, newer = attempt("redriven", "7"), attempt("newer", "8")
    applied = {
        ("batch-redriven", "s1"): receipt(NOON + HOUR, NOON + HOUR + 60),
        ("batch-newer", "s1"): receipt(NOON, NOON + 60),
    }
    assert entry(redriven, newer).holds(applied, NOON + 2 * HOUR, 0.0) == {"7"}


def test_applied_together() -> None:
    applied = {
        ("batch-a", "s1"): receipt(NOON, NOON + 60),
        ("batch-b", "s1"): receipt(NOON + OVERLAP_SECONDS, NOON + OVERLAP_SECONDS + 60),
    }
    assert entry(attempt("a", "7"), attempt("b", "8")).holds(applied, NOON + HOUR, 0.0) == {"7", "8"}


def test_kept_until_no_delivery() -> None:
    applied = {("batch-a", "s1"): receipt(NOON, NOON + 60)}
    it = entry(attempt("a", "7"))
    assert not it.settle(applied, NOON + 60 + SETTLED_SECONDS, 0.0)
    assert it.attempts
    assert it.settle(applied, NOON + 61 + SETTLED_SECONDS, 0.0)
    assert (it.attempts, it.confirmed, it.acknowledged) == ([], "7", "7")


def test_missing_kept_for_message_life() -> None:
    it = entry(attempt("lost", "8"), confirmed="7")
    assert not it.settle({}, UNTIL, 0.0)
    assert it.holds({}, UNTIL, 0.0) == {"7", "8"}
    # A push that began in time may still be at it for an hour.
    assert not it.settle({}, UNTIL + HOUR, 0.0)
    assert it.holds({}, UNTIL + HOUR, 0.0) == {NoValue.UNKNOWN}
    assert it.settle({}, UNTIL + HOUR + 1, 0.0)
    assert (it.attempts, it.confirmed) == ([], NoValue.UNKNOWN)


def test_applied_deletion() -> None:
    record = Record("202610", "OU_KAMO", {IDENTIFIER: entry(attempt("delete", None), confirmed="7")})
    record.settle({("batch-delete", "s1"): receipt(NOON, NOON + 60)}, NOON + 2 * HOUR)
    assert record.entries == {}


def test_expired_attempt() -> None:
    redriven, newer = attempt("redriven", "7"), attempt("newer", "8")
    applied = {("batch-newer", "s1"): receipt(NOON + 24 * HOUR, NOON + 24 * HOUR + 60)}
    long_after = UNTIL + 16 * 24 * HOUR
    it = entry(redriven, newer)
    assert it.holds(applied, long_after, 0.0) == {NoValue.UNKNOWN, "8"}
    it.settle(applied, long_after, 0.0)
    assert it.holds(applied, long_after, 0.0) != {"8"}


def test_former_customer() -> None:
    noted, read = Record("202610", "OU_KAMO"), Record("202610", "OU_KAMO")
    value = value_of("5")
    noted.note(value._replace(origin=value.origin._replace(kind=Kind.CUSTOMER)), attempt("1", "5"))
    read.read(noted.encoded())
    ((identifier, entry_read),) = read.entries.items()
    assert read.as_value(identifier, entry_read).origin.kind is Kind.CUSTOMER
