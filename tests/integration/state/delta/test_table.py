"""The records in DynamoDB; and that the table in memory, by which the laws are tried, does the same."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from msupply_dhis2.domain.batch import Message
from msupply_dhis2.state.delta.record import TRACKED_FOR, Attempt, Record
from msupply_dhis2.state.delta.table import INVALID_FOR, DeltaTable
from msupply_dhis2.state.message import DeliveryState
from msupply_dhis2.state.runs import Runs
from tests.conftest import Aws
from tests.support.batches import value_of
from tests.support.table_in_memory import TableInMemory

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

NOW = datetime(2026, 2, 5, 1, 3, 20, tzinfo=UTC)
TARGET = "https://dhis2.example.org#STOCK#code-code-code-auto"
PERIOD = "202601"

type At = Callable[[datetime], DeltaTable]


@pytest.fixture(params=["moto", "in memory"])
def tables(request: pytest.FixtureRequest, aws: Aws) -> "tuple[Table, Table]":
    """The table of records, and that of the receipts."""
    if request.param == "moto":
        return boto3.resource("dynamodb").Table("stack-acknowledged"), aws.runs
    in_memory: Any = (
        TableInMemory("acknowledged", "target_period", "org_unit"),
        TableInMemory("runs", "run_id", "part"),
    )
    first, second = in_memory
    return first, second


@pytest.fixture
def at(tables: "tuple[Table, Table]") -> At:
    return lambda now: DeltaTable(*tables, now, TARGET)


def record_with(value: str, org_unit: str = "OU_0", attempt_id: str = "s1") -> Record:
    record = Record(PERIOD, org_unit)
    until = int((NOW + TRACKED_FOR).timestamp())
    record.note(value_of("DE_0", value, org_unit=org_unit), Attempt("batch-1", attempt_id, until, 0, value))
    return record


def read(records: DeltaTable, org_unit: str = "OU_0") -> Record:
    return records.read(PERIOD, org_unit)


def test_round_trip(at: At) -> None:
    records, record = at(NOW), record_with("12")
    assert records.write(record)

    assert read(records).entries == record.entries
    assert read(records).version == 1
    assert read(records, "OU_1") == Record(PERIOD, "OU_1")
    assert list(records.org_units(PERIOD)) == ["OU_0"]
    assert records.faults() == ()


def test_concurrent_write(at: At) -> None:
    records = at(NOW)
    assert records.write(record_with("12"))
    one, other = read(records), read(records)

    assert records.write(one)
    assert not records.write(other)
    assert not records.write(record_with("13")), "also where it was not there when it was read"


@pytest.mark.parametrize("org_unit", ["OU_0", None])
def test_invalidated(at: At, org_unit: str | None) -> None:
    value = value_of("DE_0", "12")
    record = record_with("12")
    record.entries[value.identifier].confirmed = "12"
    record.entries[value.identifier].attempts.clear()
    at(NOW).write(record)
    assert read(at(NOW)).is_known(value, {}, NOW.timestamp())

    at(NOW).invalidate(PERIOD, org_unit)

    later = NOW + timedelta(days=1)
    assert not read(at(later)).is_known(value, {}, later.timestamp())
    assert list(at(NOW).org_units(PERIOD)) == ["OU_0"]


@pytest.mark.parametrize(
    ("attribute", "damage"),
    [("content", b"?"), ("content", "text"), ("version", "text"), ("invalid_until", "text")],
)
def test_damaged_record(at: At, tables: "tuple[Table, Table]", attribute: str, damage: str | bytes) -> None:
    at(NOW).write(record_with("12"))
    tables[0].update_item(
        Key={"target_period": f"{TARGET}#{PERIOD}", "org_unit": "OU_0"},
        UpdateExpression=f"SET {attribute} = :damage",
        ExpressionAttributeValues={":damage": damage},
    )
    records = at(NOW)
    record = read(records)
    assert record.entries == {}
    assert "cannot be read for OU_0 in 202601: all their values are sent" in records.faults()[0]
    assert records.write(record)
    again = at(NOW)
    read(again)
    assert again.faults() == ()

    # What push marks meanwhile does not shorten it.
    at(NOW + timedelta(days=1)).invalidate(PERIOD, "OU_0")
    until = datetime.fromtimestamp(read(at(NOW)).invalid_until, UTC)
    assert until >= (NOW + TRACKED_FOR + INVALID_FOR).replace(microsecond=0)


def test_too_large_record(at: At) -> None:
    records, record = at(NOW), Record(PERIOD, "OU_0")
    chance = random.Random(1)  # noqa: S311 - for a test, and always the same
    until = int((NOW + TRACKED_FOR).timestamp())
    for number in range(30_000):
        value = value_of(f"{chance.getrandbits(64):x}", str(chance.getrandbits(30)))
        record.note(value, Attempt("batch-1", "s1", until, number, value.value))

    assert records.write(record)

    assert read(at(NOW)).entries == {}
    assert "There are too many values to remember" in records.faults()[0]
    assert read(at(NOW)).invalid_until > (NOW + TRACKED_FOR).timestamp()


def test_applied_instants(at: At, tables: "tuple[Table, Table]") -> None:
    message, runs = Message("batch-1", "s1", 3), Runs(tables[1])
    applied = frozenset({0})
    runs.register([message], NOW)
    runs.settle(
        message,
        DeliveryState(),
        {0: "stored", 1: "rejected"},
        applied=applied,
        began=NOW,
        ended=NOW + timedelta(minutes=1),
    )

    (receipt,) = at(NOW).receipts(record_with("12")).values()

    assert (receipt.settled, receipt.applied) == (frozenset({0, 1}), applied)
    assert receipt.ended - receipt.began == 60


def test_expiry(at: At, tables: "tuple[Table, Table]") -> None:
    at(NOW).write(record_with("12"))
    item = tables[0].get_item(Key={"target_period": f"{TARGET}#{PERIOD}", "org_unit": "OU_0"})["Item"]
    assert int(str(item["expires_at"])) > (NOW + timedelta(days=365)).timestamp()
