"""How long a message waits before it is tried again."""

import pytest

from msupply_dhis2.aws.queues import wait_seconds

TWELVE_HOURS = 43_200
PUSH_TIME_OUT = 300


@pytest.mark.parametrize(
    ("receive_count", "about"),
    [(1, 30), (2, 60), (3, 120), (4, 240), (5, 480), (6, 900), (7, 900), (9_999, 900)],
)
def test_backoff_doubles(receive_count: int, about: int) -> None:
    waits = {wait_seconds(receive_count) for _ in range(200)}
    assert about * 0.9 <= min(waits)
    assert max(waits) <= about * 1.1
    assert len(waits) > 1, "messages that failed together come back together"


@pytest.mark.parametrize(
    ("asked_for", "waited"), [(7, 7), (0, 1), (-3, 1), (0.4, 1), (3_600, 3_600), (1e12, 42_000)]
)
def test_server_wait_is_taken(asked_for: float, waited: int) -> None:
    assert wait_seconds(3, asked_for) == waited
    assert waited + PUSH_TIME_OUT <= TWELVE_HOURS


def test_outage_of_an_hour() -> None:
    assert sum(wait_seconds(count) for count in range(1, 12)) >= 3_600
