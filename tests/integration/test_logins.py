"""Refused logins and the attempt under way, kept in DynamoDB."""

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from msupply_dhis2.dhis2.parsing import Query
from msupply_dhis2.errors import (
    AwsError,
    Dhis2AuthenticationError,
    Dhis2Error,
    Dhis2PermanentError,
    Dhis2TransientError,
)
from msupply_dhis2.settings.credentials import Dhis2Credentials
from msupply_dhis2.state.logins import (
    ATTEMPT_SECONDS,
    Login,
    Refusal,
    RefusedBeforeError,
    forget_refusal,
    log_in,
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
    forget_refusal(aws.table, noted)
    assert read_refusal(aws.table) is None
    forget_refusal(aws.table, noted)


def test_the_newest_refused_login_is_the_one_that_is_known_and_values_wait_since_the_first(aws: Aws) -> None:
    remember_refusal(aws.table, LOGIN, "Authentication failed.", EARLY)
    newer = replace(LOGIN, version="v2")
    remember_refusal(aws.table, newer, "The account is locked.", EARLY + timedelta(hours=1))
    assert read_refusal(aws.table) == Refusal(newer, EARLY, "The account is locked.")


def test_a_damaged_row_is_told_and_not_taken_for_a_login_that_authenticates(aws: Aws) -> None:
    aws.table.put_item(Item={"id": "refused-login", "since": "yesterday"})
    with pytest.raises(AwsError, match="refused-login is damaged"):
        read_refusal(aws.table)


def test_a_table_that_is_not_there_is_not_taken_for_a_login_that_authenticates(aws: Aws) -> None:
    aws.table.delete()
    with pytest.raises(AwsError, match="reading whether DHIS2 refused the login"):
        read_refusal(aws.table)


def test_attempts_are_made_one_after_the_other(aws: Aws) -> None:
    order: list[str] = []
    waits = threading.Event()

    def wait(_: float) -> None:
        waits.set()
        time.sleep(0.01)

    def second_attempt() -> None:
        with one_attempt_at_a_time(aws.table, "second", sleep=wait):
            order.append("the second began")

    # They do not begin at the same moment: the table's stand-in does not keep conditional writes apart as AWS does.
    second = threading.Thread(target=second_attempt)
    with one_attempt_at_a_time(aws.table, "first"):
        second.start()
        assert waits.wait(10)
        order.append("the first ended")
    second.join()
    assert order == ["the first ended", "the second began"]
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


class Dhis2:
    """Answers a login, after a while, as it is told to."""

    def __init__(self, error: Dhis2Error | None = None) -> None:
        self.error = error
        self.asked = 0
        self.is_asked = threading.Event()

    def get(self, path: str, params: Query | None = None) -> object:
        assert (path, params) == ("/api/me", {"fields": "id"})
        self.asked += 1
        self.is_asked.set()
        time.sleep(0.1)
        if self.error:
            raise self.error
        return {"id": "M5zQapPyTZI"}


def test_of_functions_that_start_together_one_learns_that_dhis2_refuses_and_the_others_do_not_ask(
    aws: Aws,
) -> None:
    dhis2 = Dhis2(Dhis2AuthenticationError("Authentication failed."))
    errors: list[Exception] = []

    def start() -> None:
        try:
            log_in(aws.table, LOGIN, dhis2, lambda: EARLY)
        except Dhis2AuthenticationError as error:
            errors.append(error)

    first, *others = [threading.Thread(target=start) for _ in range(3)]
    first.start()
    assert dhis2.is_asked.wait(10)
    for other in others:
        other.start()
    for thread in (first, *others):
        thread.join()
    assert dhis2.asked == 1
    assert sorted(isinstance(error, RefusedBeforeError) for error in errors) == [False, True, True]
    assert read_refusal(aws.table) == Refusal(LOGIN, EARLY, "Authentication failed.")


def test_a_new_version_of_the_secret_is_tried(aws: Aws) -> None:
    remember_refusal(aws.table, LOGIN, "Authentication failed.", EARLY)
    log_in(aws.table, replace(LOGIN, version="v2"), Dhis2(), lambda: EARLY)
    with pytest.raises(RefusedBeforeError, match=r"since 2026-02-05 01:03 UTC\. Authentication failed\."):
        log_in(aws.table, LOGIN, Dhis2(), lambda: EARLY)


@pytest.mark.parametrize(
    "fault",
    [Dhis2TransientError("DHIS2 is away."), Dhis2PermanentError("There is no DHIS2 at this address.")],
)
def test_any_other_fault_of_dhis2_is_no_refusal(aws: Aws, fault: Dhis2Error) -> None:
    with pytest.raises(type(fault), match=str(fault)):
        log_in(aws.table, LOGIN, Dhis2(fault), lambda: EARLY)
    assert aws.table.scan()["Items"] == []
