"""Which values of a batch have a fate already, kept in DynamoDB."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msupply_dhis2.errors import ConfigurationError
from msupply_dhis2.progress import KEPT_FOR, Progress, note_progress, read_progress, read_receipts
from tests.conftest import Aws

NOW = datetime(2026, 2, 5, 1, 3, 20, tzinfo=UTC)


def test_of_a_new_batch_nothing_is_settled(aws: Aws) -> None:
    assert read_progress(aws.table, "run-1-abc", "s1") == Progress()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.frozensets(st.integers(0, 20_000), max_size=60))
def test_the_places_that_are_settled_are_read_as_they_were_noted(aws: Aws, places: frozenset[int]) -> None:
    note_progress(aws.table, "run-1-abc", "s1", Progress(places, places), NOW)
    assert read_progress(aws.table, "run-1-abc", "s1") == Progress(places, places)


def test_the_same_batch_of_the_same_run_computed_again_is_sent_anew(aws: Aws) -> None:
    note_progress(aws.table, "run-1-abc", "s1", Progress(frozenset({0, 1})), NOW + KEPT_FOR)
    assert read_progress(aws.table, "run-1-abc", "s2") == Progress()


def test_a_row_goes_when_no_message_can_come_any_more(aws: Aws) -> None:
    note_progress(aws.table, "run-1-abc", "s1", Progress(frozenset({0, 1})), NOW + KEPT_FOR)
    (row,) = aws.table.scan()["Items"]
    longest_life_of_a_message = timedelta(days=14)
    assert NOW + longest_life_of_a_message < datetime.fromtimestamp(int(str(row["expires_at"])), UTC)


def test_a_batch_of_many_values_fits_into_a_row(aws: Aws) -> None:
    places = frozenset(range(50_000))
    note_progress(aws.table, "run-1-abc", "s1", Progress(places, places), NOW)
    assert read_progress(aws.table, "run-1-abc", "s1") == Progress(places, places)


def test_a_damaged_row_is_told(aws: Aws) -> None:
    aws.table.put_item(Item={"id": "batch#run-1-abc#s1", "settled": "all"})
    with pytest.raises(ConfigurationError, match="run-1-abc#s1 is damaged"):
        read_progress(aws.table, "run-1-abc", "s1")


def test_deliveries_add_up_and_their_times_span_them_all(aws: Aws) -> None:
    minute = timedelta(minutes=1)
    first = Progress().after(frozenset({0, 1, 2}), frozenset({0}), began=NOW, ended=NOW + minute)
    second = first.after(
        frozenset({0, 1, 2, 3}), frozenset({3}), began=NOW + 5 * minute, ended=NOW + 6 * minute
    )
    note_progress(aws.table, "run-1-abc", "s1", second, NOW + KEPT_FOR)

    assert read_receipts(aws.table, [("run-1-abc", "s1"), ("run-1-abc", "s2")]) == {
        ("run-1-abc", "s1"): Progress(frozenset({0, 1, 2, 3}), frozenset({0, 3}), NOW, NOW + 6 * minute)
    }


def test_more_receipts_than_one_call_holds_are_read_and_a_damaged_one_tells_nothing(aws: Aws) -> None:
    progress = Progress(frozenset({1}), frozenset({1}), NOW, NOW)
    for number in range(130):
        note_progress(aws.table, f"batch-{number}", "s1", progress, NOW + KEPT_FOR)
    aws.table.put_item(Item={"id": "batch#batch-7#s1", "settled": "all"})

    receipts = read_receipts(aws.table, [(f"batch-{number}", "s1") for number in range(130)])

    assert receipts == {(f"batch-{number}", "s1"): progress for number in range(130) if number != 7}
