"""Stopping a run: nothing more of it is sent, its counts add up, and it can be sent after all."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from msupply_dhis2.aws import clients
from msupply_dhis2.errors import EventError
from msupply_dhis2.state.run import Outcome, Run, event_of
from msupply_dhis2.state.runs import Runs
from sandbox.handlers import delivery
from tests.conftest import Aws
from tests.support.functions import invoke
from tests.support.whole_way import OCTOBER, World, whole_way

SHARD_QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:stack-shards"


@pytest.fixture
def world(aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[World]:
    with whole_way(aws, capsys, tmp_path) as it:
        yield it


def runs() -> Runs:
    return Runs(clients.table("stack-runs"))


def run_of(run_id: str) -> Run:
    run = runs().run(run_id)
    assert run is not None
    return run


def deliver_one(world: World) -> None:
    """Hand one message of the queue to push."""
    (message,) = world.aws.sqs.receive_message(
        QueueUrl=world.aws.queue_url,
        MaxNumberOfMessages=1,
        AttributeNames=["All"],
        MessageAttributeNames=["All"],
    )["Messages"]
    pushed = invoke("push", delivery([message], world.aws.queue_arn), world.capsys)
    assert pushed.answer["batchItemFailures"] == []
    world.aws.sqs.delete_message(QueueUrl=world.aws.queue_url, ReceiptHandle=message["ReceiptHandle"])


def test_unsent_values(world: World) -> None:
    answer = world.compute()
    deliver_one(world)
    stored = len(world.values())
    assert 0 < stored < answer["values"]

    stopped = invoke("push", {"stop": answer["run_id"]}, world.capsys)
    assert stopped.answer["waiting"] == answer["values"] - stored
    assert f"DHIS2 keeps the {stored} values that it has" in stopped.answer["message"]
    posts = world.posts()
    pushes = world.deliver()
    assert (world.posts(), len(world.values())) == (posts, stored)

    run = run_of(answer["run_id"])
    assert (run.counts.queued, run.counts.stored, run.counts.not_sent, run.counts.waiting) == (
        answer["values"],
        stored,
        answer["values"] - stored,
        0,
    )
    assert run.outcome is Outcome.INCOMPLETE
    (last,) = [line for pushed in pushes for line in pushed.lines if line.get("event") == "run_ended"]
    assert last["stopped"] is True
    assert f"make push EVENT='{event_of(run)}'" in last["message"]
    assert "It was stopped at" in last["message"]

    # Once more: what is named sends the rest, and only that.
    again = invoke("compute", json.loads(event_of(run)), world.capsys, "request-2").answer
    assert (again["run_id"], again["already_stored"]) == (answer["run_id"], stored)
    world.deliver()
    assert len(world.values()) == answer["values"]


def test_aws_retry(world: World) -> None:
    world.aws.put_database_address("postgresql://reader:x@127.0.0.1:1/omsupply")
    with pytest.raises(Exception, match="127"):
        invoke("compute", OCTOBER, world.capsys, "request-1")
    world.aws.put_database_address(f"sqlite:///{world.database}")
    (run_id,) = runs().recent(datetime(2020, 1, 1, tzinfo=UTC))
    invoke("push", {"stop": run_id}, world.capsys)
    retried = invoke("compute", OCTOBER, world.capsys, "request-1")
    assert retried.answer["status"] == "stopped"
    assert world.waiting() == 0
    assert run_of(run_id).outcome is Outcome.FAILED


def test_waiting_shards(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES_PER_INVOCATION", "100")
    planned = invoke("compute", OCTOBER, world.capsys).answer
    assert planned["status"] == "planned"
    first, *others = world.aws.messages(world.aws.shard_queue_url)
    invoke("compute", delivery([first], SHARD_QUEUE_ARN), world.capsys)
    waiting = world.waiting()
    assert waiting > 0
    stopped = invoke("push", {"stop": planned["run_id"]}, world.capsys)
    assert stopped.answer["parts_open"] == len(others) > 0

    worked = invoke("compute", delivery(others, SHARD_QUEUE_ARN), world.capsys)
    assert worked.answer["batchItemFailures"] == []
    assert len(worked.said("was stopped: nothing more of it is computed")) == len(others)
    assert world.waiting() == waiting
    world.deliver()
    run = run_of(planned["run_id"])
    assert (run.parts_open, run.parts_failed, run.counts.not_sent) == (0, len(others), run.counts.queued)
    assert (run.outcome, world.values()) == (Outcome.INCOMPLETE, {})


def test_ended_or_unknown_run(world: World) -> None:
    answer = world.run()
    stopped = invoke("push", {"stop": answer["run_id"]}, world.capsys).answer
    assert stopped["message"] == (
        f"The run {answer['run_id']} has ended already (complete): there is nothing to stop."
    )
    assert run_of(answer["run_id"]).stopped_at is None
    with pytest.raises(EventError, match="There is no run no-such-run"):
        invoke("push", {"stop": "no-such-run"}, world.capsys)
    with pytest.raises(EventError, match="with the id of a run"):
        invoke("push", {"stop": ["a", "b"]}, world.capsys)
