"""Refused logins and the attempt under way, kept in DynamoDB."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from msupply_dhis2.credentials import Dhis2Credentials
from msupply_dhis2.errors import ConfigurationError
from msupply_dhis2.logins import (
    ATTEMPT_SECONDS,
    Login,
    Refusal,
    forget_refusal,
    one_attempt_at_a_time,
    read_refusal,
    remember_refusal,
)
from tests.conftest import Aws

LOGIN = Login("https://dhis2.example.org/hmis", "pusher", "f1", "v1")
EARLY = datetime(2026, 2, 5, 1, 3, 20, tzinfo=UTC)


def test_a_login_is_told_apart_by_address_content_and_version_of_the_secret() -> None:
    def login(url: str = "https://a", content: str = "mark3d", version: str = "v1") -> Login:
        credentials = Dhis2Credentials.model_validate(
            {"username": "pusher", "password": content, "version": version}
        )
        return Login.of(url, credentials)

    assert login() == login()
    assert len({login(), login(url="https://b"), login(content="other"), login(version="v2")}) == 4
    assert "mark3d" not in repr(login())


def test_no_login_is_refused_until_one_was(aws: Aws) -> None:
    assert read_refusal(aws.table) is None


def test_a_refused_login_is_remembered_until_it_is_forgotten(aws: Aws) -> None:
    there = timezone(timedelta(hours=13))
    noted = remember_refusal(aws.table, LOGIN, "Authentication failed.", EARLY.astimezone(there))
    assert noted == read_refusal(aws.table) == Refusal(LOGIN, EARLY, "Authentication failed.")
    forget_refusal(aws.table)
    assert read_refusal(aws.table) is None
    forget_refusal(aws.table)


def test_the_newest_refused_login_is_the_one_that_is_known_and_values_wait_since_the_first(aws: Aws) -> None:
    remember_refusal(aws.table, LOGIN, "Authentication failed.", EARLY)
    newer = replace(LOGIN, version="v2")
    remember_refusal(aws.table, newer, "The account is locked.", EARLY + timedelta(hours=1))
    assert read_refusal(aws.table) == Refusal(newer, EARLY, "The account is locked.")


def test_a_damaged_row_is_told_and_not_taken_for_a_login_that_is_let_in(aws: Aws) -> None:
    aws.table.put_item(Item={"id": "refused-login", "since": "yesterday"})
    with pytest.raises(ConfigurationError, match="refused-login is damaged"):
        read_refusal(aws.table)


def test_a_table_that_is_not_there_is_not_taken_for_a_login_that_is_let_in(aws: Aws) -> None:
    aws.table.delete()
    with pytest.raises(ConfigurationError, match="reading whether DHIS2 refused the login"):
        read_refusal(aws.table)


def test_attempts_are_made_one_after_the_other(aws: Aws) -> None:
    under_way = 0
    most = 0

    def attempt(holder: str) -> None:
        nonlocal under_way, most
        with one_attempt_at_a_time(aws.table, holder, sleep=lambda _: None):
            under_way += 1
            most = max(most, under_way)
            read_refusal(aws.table)
            under_way -= 1

    threads = [threading.Thread(target=attempt, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert "Item" not in aws.table.get_item(Key={"id": "login-attempt"})


def test_an_attempt_ends_with_an_error_too(aws: Aws) -> None:
    with pytest.raises(ValueError, match="a fault"), one_attempt_at_a_time(aws.table, "a"):
        raise ValueError("a fault")
    with one_attempt_at_a_time(aws.table, "b", sleep=lambda _: pytest.fail("it waited")):
        pass


def test_the_attempt_of_a_function_that_crashed_is_given_up_after_a_minute(aws: Aws) -> None:
    now = 1_770_000_000.0
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        waited.append(seconds)
        now += seconds

    crashed = one_attempt_at_a_time(aws.table, "crashed", clock=lambda: now)
    crashed.__enter__()
    with one_attempt_at_a_time(aws.table, "next", clock=lambda: now, sleep=sleep):
        assert sum(waited) == ATTEMPT_SECONDS
        # It was only slow: what it does late must not end the other's turn.
        crashed.__exit__(None, None, None)
        assert aws.table.get_item(Key={"id": "login-attempt"})["Item"]["holder"] == "next"
    assert "Item" not in aws.table.get_item(Key={"id": "login-attempt"})
