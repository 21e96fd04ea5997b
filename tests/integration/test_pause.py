"""Pausing and resuming the queue: the event source mapping of Lambda, and what is remembered."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import boto3
import pytest

from msupply_dhis2.aws import clients
from msupply_dhis2.errors import AwsError
from msupply_dhis2.handlers.pause import QueuePause, mapping_of, reason_of_pause
from msupply_dhis2.state.logins import Login, Refusal, forget_refusal, read_refusal, remember_refusal
from msupply_dhis2.state.outages import ENOUGH_FAILURES, note_outage, pausing_outage, read_outage
from msupply_dhis2.state.resumption import Resumption
from tests.conftest import Aws
from tests.support.breaking_off import BreaksOffError
from tests.support.refusing import busy_lambda as busy

NOW = datetime(2026, 2, 5, tzinfo=UTC)
LOGIN = Login("https://dhis2.example.org/hmis", "pusher", "f1", "v1")


def refuse(aws: Aws) -> None:
    remember_refusal(aws.table, LOGIN, "Authentication failed.", NOW)


def test_the_mapping_is_found_by_function_and_queue(aws: Aws) -> None:
    assert mapping_of(boto3.client("lambda"), "stack-push", aws.queue_arn) == aws.mapping


def test_a_mapping_that_is_not_there_is_told(aws: Aws) -> None:
    boto3.client("lambda").delete_event_source_mapping(UUID=aws.mapping)
    with pytest.raises(AwsError, match="No event source mapping"):
        mapping_of(boto3.client("lambda"), "stack-push", aws.queue_arn)


def test_the_queue_is_paused_and_resumed_and_the_reason_forgotten(aws: Aws) -> None:
    pause = QueuePause(aws.table, boto3.client("lambda"), lambda: aws.mapping, lambda: 300)
    refuse(aws)
    pause.begin()
    pause.begin()
    assert aws.is_paused()
    assert read_refusal(aws.table) is not None
    pause.end()
    assert not aws.is_paused()
    assert read_refusal(aws.table) is None


@dataclass
class Watch:
    """A function's time, which passes only while it waits."""

    seconds_left: float = 300
    waits: list[float] = field(default_factory=list)

    def left(self) -> float:
        return self.seconds_left

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.seconds_left -= seconds


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def pause(aws: Aws, watch: Watch) -> QueuePause:
    return QueuePause(aws.table, clients.event_sources(), lambda: aws.mapping, watch.left, watch.sleep)


@pytest.mark.parametrize("code", ["ResourceInUseException", "ResourceConflictException"])
def test_a_mapping_that_is_still_changing_is_waited_for_up_to_a_minute(
    aws: Aws, pause: QueuePause, watch: Watch, code: str
) -> None:
    refuse(aws)
    with busy("Updating", 7, code):
        assert pause.begin()
    assert aws.is_paused()
    assert 30 <= sum(watch.waits) <= 60
    assert watch.waits == sorted(watch.waits)


def test_a_mapping_that_goes_on_changing_is_told(aws: Aws, pause: QueuePause, watch: Watch) -> None:
    refuse(aws)
    with (
        busy("Enabling", 1000) as refused,
        pytest.raises(AwsError, match=r"still at its last change .* while pausing the queue"),
    ):
        pause.begin()
    assert refused.refusals == len(watch.waits) + 1
    assert sum(watch.waits) <= 60


def test_no_longer_is_waited_than_the_function_lives(aws: Aws, pause: QueuePause, watch: Watch) -> None:
    refuse(aws)
    watch.seconds_left = 5
    with busy("Enabling", 1000), pytest.raises(AwsError):
        pause.begin()
    assert watch.waits
    assert watch.seconds_left >= 0


@pytest.mark.parametrize("state", ["Disabled", "Disabling"])
def test_a_queue_that_another_function_is_pausing_is_paused(
    aws: Aws, pause: QueuePause, watch: Watch, state: str
) -> None:
    refuse(aws)
    with busy(state, 1000):
        assert pause.begin()
    assert watch.waits == []


@pytest.mark.parametrize("state", ["Enabled", "Enabling"])
def test_a_queue_that_another_function_is_resuming_is_resumed(
    aws: Aws, pause: QueuePause, watch: Watch, state: str
) -> None:
    refuse(aws)
    with busy(state, 1000):
        pause.end()
    assert watch.waits == []
    assert reason_of_pause(aws.table) is None


def test_a_queue_that_is_paused_for_no_reason_any_more_and_cannot_be_resumed_at_once_is_looked_after(
    aws: Aws, pause: QueuePause
) -> None:
    # The reason was forgotten while the queue was being paused, as where another push got through.
    assert reason_of_pause(aws.table) is None
    pausing = clients.event_sources().update_event_source_mapping(UUID=aws.mapping, Enabled=False)
    assert pausing["State"] in {"Disabling", "Disabled"}
    with busy("Disabling", 1000), pytest.raises(AwsError, match="resuming the queue"):
        pause.begin()
    assert isinstance(reason_of_pause(aws.table), Resumption)
    pause.resume()
    assert not aws.is_paused()
    assert reason_of_pause(aws.table) is None


def test_a_function_that_ends_while_it_resumes_a_queue_leaves_it_to_others(
    aws: Aws, pause: QueuePause, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(_: float) -> None:
        raise BreaksOffError

    refuse(aws)
    pause.begin()
    monkeypatch.setattr(watch, "sleep", end)
    ending = QueuePause(aws.table, clients.event_sources(), lambda: aws.mapping, watch.left, watch.sleep)
    with busy("Disabling", 1), pytest.raises(BreaksOffError):
        ending.end()
    assert aws.is_paused()
    assert isinstance(reason_of_pause(aws.table), Resumption)


def test_a_queue_that_cannot_be_resumed_waits_for_that_alone_whatever_it_was_paused_for(
    aws: Aws, pause: QueuePause
) -> None:
    refuse(aws)
    pause.begin()
    with busy("Disabling", 1000), pytest.raises(AwsError, match="resuming the queue"):
        pause.end()
    # Of a login that was refused nobody would find out by himself that DHIS2 takes it again.
    assert read_refusal(aws.table) is None
    assert isinstance(reason_of_pause(aws.table), Resumption)


def test_a_queue_that_is_paused_anew_is_not_resumed_for_what_was_over_before(
    aws: Aws, pause: QueuePause
) -> None:
    refuse(aws)
    pause.begin()
    with busy("Disabling", 1000), pytest.raises(AwsError):
        pause.end()
    refuse(aws)
    assert pause.begin()
    forget_refusal(aws.table, Refusal(LOGIN, NOW, ""))
    assert reason_of_pause(aws.table) is None


def test_where_the_mapping_cannot_be_found_the_reason_stays_as_it_is(aws: Aws) -> None:
    def lost() -> str:
        raise AwsError("No event source mapping.")

    refuse(aws)
    before = reason_of_pause(aws.table)
    with pytest.raises(AwsError, match="No event source mapping"):
        QueuePause(aws.table, clients.event_sources(), lost, lambda: 300).end()
    assert reason_of_pause(aws.table) == before


def test_a_reason_that_came_up_while_the_queue_was_being_resumed_is_kept(aws: Aws) -> None:
    refuse(aws)
    note_outage(aws.table, "DHIS2 is down.", NOW)
    later = replace(LOGIN, version="v2")

    def be_overtaken() -> str:
        remember_refusal(aws.table, later, "Authentication failed.", NOW)
        note_outage(aws.table, "DHIS2 is down.", NOW)
        return aws.mapping

    QueuePause(aws.table, boto3.client("lambda"), be_overtaken, lambda: 300).end()
    refusal, outage = read_refusal(aws.table), read_outage(aws.table)
    assert refusal is not None
    assert outage is not None
    assert (refusal.login, outage.failures) == (later, 2)


def test_a_failure_while_the_queue_was_being_tried_keeps_it_from_being_taken_for_tried(aws: Aws) -> None:
    for _ in range(ENOUGH_FAILURES):
        outage = note_outage(aws.table, "DHIS2 is down.", NOW)

    def be_overtaken() -> str:
        note_outage(aws.table, "DHIS2 is down.", NOW)
        return aws.mapping

    QueuePause(aws.table, boto3.client("lambda"), be_overtaken, lambda: 300).try_out(outage, NOW)
    assert pausing_outage(aws.table) is not None
