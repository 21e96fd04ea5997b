"""A run's counts on the whole way: they add up to what was computed, whatever is repeated or breaks off."""

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from msupply_dhis2.aws import clients
from msupply_dhis2.errors import AwsBusyError
from msupply_dhis2.handlers import compute as compute_function
from msupply_dhis2.state import rejected_rows
from msupply_dhis2.state import runs as table
from msupply_dhis2.state.run import Counts, Outcome, Run
from msupply_dhis2.state.runs import Runs
from sandbox.dhis2 import FaultKind
from tests.conftest import BUCKET, Aws
from tests.integration.handlers.test_dead_letters import put
from tests.support.functions import Invocation, Pushed, delivery, invoke, show_again
from tests.support.whole_way import OCTOBER, World, whole_way

SHARD_QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:stack-shards"


class BreaksOffError(BaseException):
    """Lambda ends a function: no code of its own runs any more."""


# A function that breaks off has no metrics to publish.
breaks_off = pytest.mark.filterwarnings("ignore:No application metrics")


@pytest.fixture
def world(aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[World]:
    with whole_way(aws, capsys, tmp_path) as it:
        it.use(only_changes=False)
        yield it


def misplace_items(world: World, number: int) -> None:
    """Let data elements of some items be missing in DHIS2, so that it refuses their values."""
    world.sql(
        "UPDATE item SET universal_code = 'nowhere-' || id "
        "WHERE id IN (SELECT DISTINCT item_id FROM item_link ORDER BY item_id LIMIT ?)",
        number,
    )


def the_run(world: World) -> Run:
    runs = Runs(world.aws.runs)
    (run_id,) = {str(item["run_id"]) for item in world.aws.runs.scan()["Items"]}
    run = runs.run(run_id)
    assert run is not None
    return run


def last_lines(*invocations: Invocation) -> list[dict[str, Any]]:
    return [line for each in invocations for line in each.lines if line.get("event") == "run_ended"]


def work_shards(world: World) -> list[Invocation]:
    worked = []
    while messages := world.aws.messages(world.aws.shard_queue_url):
        for message in messages:
            worked.append(invoke("compute", delivery([message], SHARD_QUEUE_ARN), world.capsys))
            world.aws.sqs.delete_message(
                QueueUrl=world.aws.shard_queue_url, ReceiptHandle=message["ReceiptHandle"]
            )
    return worked


def test_last_line_and_row(world: World) -> None:
    answer = world.compute()
    before = the_run(world)
    assert before.counts == Counts(queued=answer["values"], waiting=answer["values"])
    assert before.ended_at is None

    pushes = world.deliver()

    run = the_run(world)
    assert run.counts == Counts(queued=answer["values"], stored=answer["values"])
    assert len(world.values()) == answer["values"]
    assert (run.outcome, run.batches, run.started_by) == (Outcome.COMPLETE, answer["batches"], "manual")
    assert (run.computed.values, run.computed.periods) == (answer["values"], ("202610",))
    (line,) = last_lines(*pushes)
    assert line["message"].startswith(f"Run {answer['run_id']} ended well. {answer['values']:,} queued: ")
    assert (line["level"], line["stored"], line["outcome"]) == ("INFO", answer["values"], "complete")
    assert sum(each.metric("RunsEnded") for each in pushes) == 1
    assert sum(each.metric("RunsIncomplete") for each in pushes) == 0


def test_refused_rows_file(world: World) -> None:
    misplace_items(world, 1)
    answer = world.compute()
    pushes = world.deliver()
    run = the_run(world)
    assert run.counts.rejected > 0
    assert run.counts.rejected + run.counts.stored == answer["values"]
    assert run.outcome is Outcome.WITH_REJECTIONS
    shares = [line["RejectedShare"] for each in pushes for line in each.lines if "RejectedShare" in line]
    assert shares == [[100 * run.counts.rejected / answer["values"]]]
    (line,) = last_lines(*pushes)
    assert line["rejected_file"] == run.rejected_file == f"s3://{BUCKET}/runs/{run.run_id}/rejected.csv"
    assert run.rejected_file in line["message"]
    body = world.aws.s3.get_object(Bucket=BUCKET, Key=f"runs/{run.run_id}/rejected.csv")["Body"].read()
    rows = list(csv.DictReader(StringIO(body.decode("utf-8-sig"))))
    assert len(rows) == run.counts.rejected
    assert all(row["store"] and row["item"] and row["reason"] and row["what to do"] for row in rows)


def test_shortened_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected_rows, "MOST_ROWS", 1)
    misplace_items(world, 4)
    world.compute()
    (line,) = last_lines(*world.deliver())
    assert line["rejected"] > line["rejected_file_rows"] > 0
    assert f"which has only {line['rejected_file_rows']:,} of them" in line["message"]


def test_unwritable_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    misplace_items(world, 1)
    world.compute()
    keep = clients.s3().put_object

    def refuse_files(**asked: Any) -> object:  # noqa: ANN401 - as boto3 takes it
        if asked["Key"].endswith(".csv"):
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")
        return keep(**asked)

    monkeypatch.setattr(clients.s3(), "put_object", refuse_files)
    (line,) = last_lines(*world.deliver())
    assert "The file of rejected values could not be written. AWS refused keeping the rows" in line["message"]
    assert f"Its parts are in s3://{BUCKET}/runs/{line['run_id']}/parts/." in line["message"]
    assert line.get("rejected_file") is None
    assert the_run(world).outcome is Outcome.WITH_REJECTIONS


@breaks_off
@pytest.mark.slow
def test_rejected_once_after_redrive(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    misplace_items(world, 1)
    world.compute()
    messages = world.aws.messages()

    def break_off(*_: object, **__: object) -> None:
        raise BreaksOffError

    with monkeypatch.context() as broken:
        broken.setattr(Runs, "settle", break_off)
        for message in messages:
            with pytest.raises(BreaksOffError):
                invoke("push", delivery([message], world.aws.queue_arn), world.capsys)
    # The queue gives them up, and they are sent again.
    for message in messages:
        world.aws.sqs.delete_message(QueueUrl=world.aws.queue_url, ReceiptHandle=message["ReceiptHandle"])
        put(world, message, world.aws.dead_letter_queue_url)
    invoke("push", {"dead_letters": "redrive"}, world.capsys)
    world.deliver()

    run = the_run(world)
    assert run.counts.rejected > 0
    assert run.counts.queued == run.counts.stored + run.counts.unchanged + run.counts.rejected
    body = world.aws.s3.get_object(Bucket=BUCKET, Key=f"runs/{run.run_id}/rejected.csv")["Body"].read()
    assert len(list(csv.DictReader(StringIO(body.decode("utf-8-sig"))))) == run.counts.rejected


def test_duplicate_delivery(world: World) -> None:
    answer = world.compute()
    messages = world.aws.messages()
    for _ in range(2):
        for message in messages:
            invoke("push", delivery([message], world.aws.queue_arn), world.capsys)
    assert the_run(world).counts == Counts(queued=answer["values"], stored=answer["values"])


@breaks_off
@pytest.mark.slow
def test_push_breaks_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = world.compute()
    messages = world.aws.messages()

    def break_off(*_: object, **__: object) -> None:
        raise BreaksOffError

    with monkeypatch.context() as broken:
        broken.setattr(Runs, "settle", break_off)
        for message in messages[:2]:
            with pytest.raises(BreaksOffError):
                invoke("push", delivery([message], world.aws.queue_arn), world.capsys)
    stored_unheard = len(world.values())
    assert stored_unheard > 0
    assert the_run(world).counts == Counts(queued=answer["values"], waiting=answer["values"])

    pushes = [invoke("push", delivery([message], world.aws.queue_arn), world.capsys) for message in messages]

    counts = the_run(world).counts
    assert counts == Counts(
        queued=answer["values"], stored=answer["values"] - stored_unheard, unchanged=stored_unheard
    )
    assert len(last_lines(*pushes)) == 1


@breaks_off
@pytest.mark.slow
def test_compute_breaks_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*_: object, **__: object) -> None:
        raise BreaksOffError

    with monkeypatch.context() as broken:
        broken.setattr(Runs, "register", break_off)
        with pytest.raises(BreaksOffError):
            invoke("compute", OCTOBER, world.capsys, "request-1")
    queued_unheard = world.waiting()
    assert queued_unheard > 0
    assert the_run(world).counts == Counts()

    # AWS tries the invocation again.
    answer = world.compute()
    assert answer["batches"] + queued_unheard == world.waiting()
    world.deliver()

    counts = the_run(world).counts
    # What the first attempt queued is older than what the second did.
    assert counts.queued == counts.stored + counts.superseded
    assert counts.stored == answer["values"] == len(world.values())
    assert the_run(world).batches == answer["batches"] + queued_unheard
    assert the_run(world).outcome is Outcome.COMPLETE


def test_push_ends_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    original = compute_function.RunRecorder.finished
    pushes: list[Pushed] = []

    def finished_late(self: compute_function.RunRecorder, result: Any) -> None:  # noqa: ANN401 - as the original
        monkeypatch.setattr(compute_function.RunRecorder, "finished", original)
        pushes.extend(world.deliver())
        original(self, result)

    monkeypatch.setattr(compute_function.RunRecorder, "finished", finished_late)
    computed = invoke("compute", OCTOBER, world.capsys)
    assert pushes
    assert last_lines(*pushes) == []
    # What compute logged before push ran was taken with push's own lines.
    assert the_run(world).outcome is Outcome.COMPLETE
    assert computed.said("ended well") or the_run(world).ended_at is not None


def test_unwanted_values(
    world: World,
) -> None:
    answer = world.compute()
    world.use(only_changes=False, use_dhis2=False)
    pushes = world.deliver()
    run = the_run(world)
    assert run.counts == Counts(queued=answer["values"], not_sent=answer["values"])
    assert run.outcome is Outcome.INCOMPLETE
    (line,) = last_lines(*pushes)
    assert line["level"] == "ERROR"
    assert sum(each.metric("RunsIncomplete") for each in pushes) == 1


@pytest.mark.slow
def test_waiting_values(world: World) -> None:
    answer = world.compute()
    world.dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", status=500)
    messages = world.aws.messages()
    pushes = [
        Pushed(pushed.answer, pushed.lines, [message])
        for message in messages
        for pushed in [invoke("push", delivery([message], world.aws.queue_arn), world.capsys)]
    ]
    assert the_run(world).counts == Counts(queued=answer["values"], waiting=answer["values"])
    assert last_lines(*pushes) == []
    world.dhis2.faults.clear()
    for pushed in pushes:
        show_again(world.aws, pushed)
    assert len(last_lines(*world.deliver())) == 1
    assert the_run(world).counts == Counts(queued=answer["values"], stored=answer["values"])


def test_dry_or_empty_run(world: World) -> None:
    invoke("compute", OCTOBER | {"dry_run": True}, world.capsys)
    invoke("compute", {"interval": "weekly", "scheduled_time": "2026-11-02T01:00:00Z"}, world.capsys)
    assert world.aws.runs.scan()["Items"] == []


def test_failed_run_by_hand(world: World) -> None:
    world.sql("DROP TABLE stock_line")
    failed = invoke("compute", OCTOBER, world.capsys)
    assert failed.answer["status"] == "failed"
    run = the_run(world)
    assert run.outcome is Outcome.FAILED
    (line,) = last_lines(failed)
    assert failed.answer["message"] in line["message"]
    assert failed.metric("RunsIncomplete") == 1


def test_start_not_noted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AwsBusyError("DynamoDB is away.")

    with monkeypatch.context() as broken:
        broken.setattr(table, "change_items", refuse)
        with pytest.raises(AwsBusyError):
            invoke("compute", OCTOBER, world.capsys)
    ended = [item for item in world.aws.runs.scan()["Items"] if "outcome" in item]
    assert ended == []


@pytest.mark.slow
def test_failed_before_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Runs.register

    def register_late(self: Runs, messages: Any, now: Any) -> None:  # noqa: ANN401 - as the original
        monkeypatch.setattr(Runs, "register", original)
        world.use(only_changes=False, setup="nonsense")
        for message in world.aws.messages():
            assert invoke("push", delivery([message], world.aws.queue_arn), world.capsys).answer != {
                "batchItemFailures": []
            }
            world.aws.sqs.change_message_visibility(
                QueueUrl=world.aws.queue_url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        world.use(only_changes=False)
        original(self, messages, now)

    monkeypatch.setattr(Runs, "register", register_late)
    answer = world.compute()
    world.deliver()
    assert the_run(world).counts == Counts(queued=answer["values"], stored=answer["values"])


@pytest.mark.slow
def test_failed_schedule_stays_open(world: World) -> None:
    event = {"interval": "monthly", "scheduled_time": "2026-11-03T01:00:00Z"}
    assert world.sql("ALTER TABLE stock_line RENAME TO elsewhere")
    with pytest.raises(Exception, match="stock_line"):
        invoke("compute", event, world.capsys)
    run = the_run(world)
    assert (run.ended_at, run.parts_open) == (None, 1)
    assert "stock_line" in str(run.message)
    assert world.sql("ALTER TABLE elsewhere RENAME TO stock_line")
    invoke("compute", event, world.capsys)
    world.deliver()
    run = the_run(world)
    assert (run.outcome, run.message) == (Outcome.COMPLETE, None)


@pytest.mark.slow
def test_run_in_shards(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = invoke("compute", OCTOBER | {"dry_run": True}, world.capsys).answer
    monkeypatch.setenv("LINES_PER_INVOCATION", "60")
    planned = invoke("compute", OCTOBER, world.capsys)
    again = invoke("compute", OCTOBER, world.capsys)
    assert planned.answer["status"] == again.answer["status"] == "planned"
    assert the_run(world).parts_open == planned.answer["shards"] > 1
    assert last_lines(planned, again) == []

    shards = work_shards(world)

    assert sum("was finished at an earlier delivery" in str(each.lines) for each in shards) == len(shards) / 2
    pushes = world.deliver()
    run = the_run(world)
    assert run.counts == Counts(queued=alone["values"], stored=alone["values"])
    assert run.computed.values == alone["values"]
    assert (run.outcome, len(last_lines(*shards, *pushes))) == (Outcome.COMPLETE, 1)


def test_unchanged_run(world: World) -> None:
    world.use()
    first = world.run()
    answer = invoke("compute", OCTOBER | {"as_of": "2026-11-03T12:00"}, world.capsys)
    assert answer.answer["batches"] == 0
    (line,) = last_lines(answer)
    assert (line["queued"], line["already_stored"], line["outcome"]) == (0, first["values"], "complete")
    assert "DHIS2 has them already" in line["message"]
