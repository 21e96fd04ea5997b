"""Which values of a batch have a fate already, kept in DynamoDB."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msupply_dhis2.errors import ConfigurationError
from msupply_dhis2.progress import note_settled, read_settled
from tests.conftest import Aws

NOW = datetime(2026, 2, 5, 1, 3, 20, tzinfo=UTC)


def test_of_a_new_batch_nothing_is_settled(aws: Aws) -> None:
    assert read_settled(aws.table, "run-1-abc", "s1") == frozenset()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.frozensets(st.integers(0, 20_000), max_size=60))
def test_the_places_that_are_settled_are_read_as_they_were_noted(aws: Aws, places: frozenset[int]) -> None:
    note_settled(aws.table, "run-1-abc", "s1", places, NOW)
    assert read_settled(aws.table, "run-1-abc", "s1") == places


def test_the_same_batch_of_the_same_run_computed_again_is_sent_anew(aws: Aws) -> None:
    note_settled(aws.table, "run-1-abc", "s1", {0, 1}, NOW)
    assert read_settled(aws.table, "run-1-abc", "s2") == frozenset()


def test_a_row_goes_when_no_message_can_come_any_more(aws: Aws) -> None:
    note_settled(aws.table, "run-1-abc", "s1", {0, 1}, NOW)
    (row,) = aws.table.scan()["Items"]
    longest_life_of_a_message = timedelta(days=14)
    assert NOW + longest_life_of_a_message < datetime.fromtimestamp(int(str(row["expires_at"])), UTC)


def test_a_batch_of_many_values_fits_into_a_row(aws: Aws) -> None:
    places = frozenset(range(50_000))
    note_settled(aws.table, "run-1-abc", "s1", places, NOW)
    assert read_settled(aws.table, "run-1-abc", "s1") == places


def test_a_damaged_row_is_told(aws: Aws) -> None:
    aws.table.put_item(Item={"id": "batch#run-1-abc#s1", "settled": "all"})
    with pytest.raises(ConfigurationError, match="run-1-abc#s1 is damaged"):
        read_settled(aws.table, "run-1-abc", "s1")
