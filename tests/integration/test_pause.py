"""Pausing and resuming the queue: the event source mapping of Lambda, and what is remembered."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from msupply_dhis2.aws.pause import QueuePause, mapping_of
from msupply_dhis2.errors import ConfigurationError
from msupply_dhis2.logins import Login, read_refusal, remember_refusal
from msupply_dhis2.outages import ENOUGH_FAILURES, note_outage, pausing_outage, read_outage
from tests.conftest import Aws

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

NOW = datetime(2026, 2, 5, tzinfo=UTC)
LOGIN = Login("https://dhis2.example.org/hmis", "pusher", "f1", "v1")


def refuse(aws: Aws) -> None:
    remember_refusal(aws.table, LOGIN, "Authentication failed.", NOW)


def test_the_mapping_is_found_by_function_and_queue(aws: Aws) -> None:
    assert mapping_of(boto3.client("lambda"), "stack-push", aws.queue_arn) == aws.mapping


def test_a_mapping_that_is_not_there_is_told(aws: Aws) -> None:
    boto3.client("lambda").delete_event_source_mapping(UUID=aws.mapping)
    with pytest.raises(ConfigurationError, match="No event source mapping"):
        mapping_of(boto3.client("lambda"), "stack-push", aws.queue_arn)


def test_the_queue_is_paused_and_resumed_and_the_reason_forgotten(aws: Aws) -> None:
    pause = QueuePause(aws.table, boto3.client("lambda"), lambda: aws.mapping)
    refuse(aws)
    pause.begin()
    pause.begin()
    assert aws.is_paused()
    assert read_refusal(aws.table) is not None
    pause.end()
    assert not aws.is_paused()
    assert read_refusal(aws.table) is None


@pytest.fixture
def stubbed(aws: Aws) -> Iterator[tuple["LambdaClient", Stubber]]:  # noqa: ARG001 sets the environment
    """Lambda with answers that moto never gives: it knows every mapping and is never busy."""
    client = boto3.client("lambda")
    with Stubber(client) as stub:
        yield client, stub


def test_a_mapping_that_is_still_changing_is_asked_again(
    aws: Aws, stubbed: tuple["LambdaClient", Stubber]
) -> None:
    client, stub = stubbed
    waited: list[float] = []
    stub.add_client_error("update_event_source_mapping", "ResourceInUseException")
    stub.add_response(
        "update_event_source_mapping", {"UUID": aws.mapping}, {"UUID": aws.mapping, "Enabled": True}
    )
    QueuePause(aws.table, client, lambda: aws.mapping, waited.append).end()
    stub.assert_no_pending_responses()
    assert len(waited) == 1


def test_a_mapping_that_goes_on_changing_is_told(aws: Aws, stubbed: tuple["LambdaClient", Stubber]) -> None:
    client, stub = stubbed
    for _ in range(3):
        stub.add_client_error("update_event_source_mapping", "ResourceInUseException")
    with pytest.raises(ConfigurationError, match="pausing the queue") as told:
        QueuePause(aws.table, client, lambda: aws.mapping, lambda _: None).begin()
    assert isinstance(told.value.__cause__, ClientError)


def test_what_cannot_be_resumed_keeps_its_reason_so_that_it_is_looked_after(
    aws: Aws, stubbed: tuple["LambdaClient", Stubber]
) -> None:
    client, stub = stubbed
    refuse(aws)
    stub.add_client_error("update_event_source_mapping", "ResourceNotFoundException")
    with pytest.raises(ConfigurationError, match="resuming the queue"):
        QueuePause(aws.table, client, lambda: aws.mapping).end()
    assert read_refusal(aws.table) is not None


def test_a_reason_that_came_up_while_the_queue_was_being_resumed_is_kept(aws: Aws) -> None:
    refuse(aws)
    note_outage(aws.table, "DHIS2 is down.", NOW)
    later = replace(LOGIN, version="v2")

    def be_overtaken() -> str:
        remember_refusal(aws.table, later, "Authentication failed.", NOW)
        note_outage(aws.table, "DHIS2 is down.", NOW)
        return aws.mapping

    QueuePause(aws.table, boto3.client("lambda"), be_overtaken).end()
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

    QueuePause(aws.table, boto3.client("lambda"), be_overtaken).try_out(outage, NOW)
    assert pausing_outage(aws.table) is not None
