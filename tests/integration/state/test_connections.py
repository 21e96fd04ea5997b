"""What is remembered of each DHIS2, kept in DynamoDB."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from cli.console.stack_today import last_of_any
from cli.console.today import Remembered
from msupply_dhis2.errors import AwsError
from msupply_dhis2.state.connections import (
    last_success,
    read_call_limit,
    record_success,
    remember_call_limit,
    written_in,
)
from tests.conftest import Aws

URL = "https://dhis2.example.org/hmis"
EARLY = datetime(2026, 2, 5, 1, 3, 20, tzinfo=UTC)
LATE = EARLY + timedelta(microseconds=1)


def test_never_succeeded(aws: Aws) -> None:
    assert last_success(aws.table, URL, "pusher") is None


def test_utc(aws: Aws) -> None:
    there = timezone(timedelta(hours=13))
    record_success(aws.table, URL, "pusher", EARLY.astimezone(there))
    assert last_success(aws.table, URL, "pusher") == EARLY


@pytest.mark.parametrize("instants", [(EARLY, LATE), (LATE, EARLY), (LATE, LATE, EARLY)])
def test_newest_wins(aws: Aws, instants: Sequence[datetime]) -> None:
    for instant in instants:
        record_success(aws.table, URL, "pusher", instant)
    assert last_success(aws.table, URL, "pusher") == LATE


def test_address_and_user(aws: Aws) -> None:
    record_success(aws.table, URL, "pusher", EARLY)
    record_success(aws.table, URL, "other", LATE)
    assert last_success(aws.table, URL, "pusher") == EARLY
    assert last_success(aws.table, URL, "other") == LATE
    assert last_success(aws.table, URL + "2", "pusher") is None


def test_last_of_any_user(aws: Aws) -> None:
    assert last_of_any(aws.table, URL) is None
    titles = {"server": "HMIS, 2.42.5", "data_set_id": "STOCK", "data_set": "LMIS stock"}
    record_success(aws.table, URL, "a # b", EARLY, titles)
    assert last_of_any(aws.table, URL) == Remembered(EARLY, "a # b", **titles)
    # What push notes leaves the titles, which it does not read.
    record_success(aws.table, URL, "pusher", LATE)
    assert last_of_any(aws.table, URL) == Remembered(LATE, "pusher", **titles)


def test_missing_table(aws: Aws) -> None:
    aws.table.delete()
    with pytest.raises(AwsError, match="while changing the table stack"):
        record_success(aws.table, URL, "pusher", EARLY)


def test_batch_limit(
    aws: Aws,
) -> None:
    assert read_call_limit(aws.table, URL) is None
    remember_call_limit(aws.table, URL, 125)
    remember_call_limit(aws.table, URL + "2", 60)
    assert read_call_limit(aws.table, URL) == 125
    remember_call_limit(aws.table, URL, None)
    assert read_call_limit(aws.table, URL) is None
    assert read_call_limit(aws.table, URL + "2") == 60


def test_time_zone() -> None:
    assert written_in(EARLY, ZoneInfo("Pacific/Auckland")) == "2026-02-05 14:03 (Pacific/Auckland)"
