"""Dead letters: each in the queue with its reason, listed, sent again or expired; nothing is lost or counted twice."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from botocore.exceptions import ClientError
from moto.backends import get_backend

from msupply_dhis2.aws import clients
from msupply_dhis2.errors import BatchError, EventError
from msupply_dhis2.handlers import push as push_function
from msupply_dhis2.handlers.push import MOST_FAILURES, WAITS_FOR
from msupply_dhis2.state import dead_letters as on_aws
from msupply_dhis2.state.dead_letters import KEPT_FOR, UNREADABLE
from msupply_dhis2.state.run import Counts, Outcome, Run
from msupply_dhis2.state.runs import Runs
from sandbox.dhis2 import FaultKind
from tests.conftest import BUCKET, Aws
from tests.support.functions import Invocation, delivery, invoke, move_to_dead_letters, put_copies
from tests.support.passing import passing
from tests.support.whole_way import World, document, whole_way

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

TIMED_OUT = 504


@pytest.fixture
def world(aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[World]:
    with whole_way(aws, capsys, tmp_path) as it:
        it.use(only_changes=False)
        yield it


def the_run(world: World) -> Run:
    (run_id,) = {str(item["run_id"]) for item in world.aws.runs.scan()["Items"]} - {UNREADABLE}
    run = Runs(world.aws.runs).run(run_id)
    assert run is not None
    return run


def take(world: World) -> "list[MessageTypeDef]":
    """Take all messages off the queue."""
    messages = world.aws.messages()
    for message in messages:
        world.aws.sqs.delete_message(QueueUrl=world.aws.queue_url, ReceiptHandle=message["ReceiptHandle"])
    return messages


def deliver(
    world: World, message: "MessageTypeDef", *, delivered: int = 1, age: timedelta = timedelta()
) -> Invocation:
    attributes: Any = {
        **message["Attributes"],
        "ApproximateReceiveCount": str(delivered),
        "SentTimestamp": str(int((datetime.now(UTC) - age).timestamp() * 1000)),
    }
    changed: Any = {**message, "Attributes": attributes}
    return invoke("push", delivery([changed], world.aws.queue_arn), world.capsys)


def put(world: World, message: "MessageTypeDef", queue_url: str | None = None) -> None:
    """Put a message on a queue with its attributes, as the console and the queue's own redrive do."""
    world.aws.sqs.send_message(
        QueueUrl=queue_url or world.aws.queue_url,
        MessageBody=str(message["Body"]),
        MessageAttributes={
            name: {"DataType": "String", "StringValue": attribute["StringValue"]}
            for name, attribute in message["MessageAttributes"].items()
        },
    )


def is_done(pushed: Invocation) -> bool:
    return pushed.answer == {"batchItemFailures": []}


def fail_until_dead(
    world: World, message: "MessageTypeDef", status: int = TIMED_OUT, failures: int = 3
) -> Invocation:
    """Deliver a message until push gives it up, which is sooner than on AWS unless a test is about just that."""
    world.dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", status=status)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(push_function, "MOST_FAILURES", failures)
        for number in range(1, failures + 1):
            pushed = deliver(world, message, delivered=number)
            assert is_done(pushed) == (number == failures)
    world.dhis2.faults.clear()
    return pushed


def ask(world: World, **event: object) -> dict[str, Any]:
    return invoke("push", event, world.capsys).answer


def show_dead_letters() -> None:
    """Let a quarter of an hour pass, for which a dead letter that was looked at is hidden."""
    queues = get_backend("sqs")["123456789012"]["us-east-1"].queues
    for message in queues["stack-failed-batches"]._messages:  # noqa: SLF001 - a queue cannot be told the time
        message.visible_at = 0


def in_queue(world: World) -> "list[MessageTypeDef]":
    """Return what lies in the dead-letter queue, without hiding it."""
    messages = world.aws.messages(world.aws.dead_letter_queue_url)
    show_dead_letters()
    return messages


def forget(world: World, message: "MessageTypeDef") -> None:
    """Delete a dead letter from its queue, as the queue itself does after 14 days."""
    world.aws.sqs.delete_message(
        QueueUrl=world.aws.dead_letter_queue_url, ReceiptHandle=message["ReceiptHandle"]
    )


def dead_since(world: World, age: timedelta) -> None:
    """Have all dead letters be dead for so long, as their rows tell."""
    for item in world.aws.runs.scan()["Items"]:
        if item.get("kind") == "dead letter":
            since = (datetime.now(UTC) - age).isoformat()
            dead: Any = item.get("dead_letter", {})
            world.aws.runs.put_item(Item={**item, "started_at": since, "dead_letter": {**dead, "at": since}})


@pytest.mark.slow
def test_other_data_set_kept(world: World) -> None:
    answer = world.compute()
    messages = take(world)
    world.use(only_changes=False, data_set_id="OTHER_SET")
    for message in messages:
        delivered = deliver(world, message)
        assert is_done(delivered)
        assert delivered.said(
            "send only to 'OTHER_SET' (code). If the settings are right, compute the periods again (202610)"
        )
    assert world.posts() == 0
    run = the_run(world)
    assert run.counts == Counts(queued=answer["values"], dead=answer["values"])
    assert run.outcome is Outcome.INCOMPLETE
    # Sent again it dies again, until the settings are as they were.
    assert ask(world, dead_letters="redrive", reason="OtherDataSet")["is_all"]
    for message in take(world):
        assert is_done(deliver(world, message))
    assert the_run(world).counts.dead == answer["values"]
    world.use(only_changes=False, data_set_id=document(world.dhis2.url)["data_set_id"])
    ask(world, dead_letters="redrive")
    for message in take(world):
        assert is_done(deliver(world, message))
    assert the_run(world).counts == Counts(queued=answer["values"], stored=answer["values"])
    assert ask(world, dead_letters="list")["letters"] == []


@pytest.mark.slow
def test_other_data_set_superseded(world: World) -> None:
    world.compute()
    messages = take(world)
    world.use(only_changes=False, data_set_id="OTHER_SET")
    world.compute(as_of="2026-11-03T02:00:00")
    for message in messages:
        pushed = deliver(world, message)
        assert is_done(pushed)
        assert pushed.metric("ValuesSuperseded") > 0
    assert ask(world, dead_letters="list")["letters"] == []


def test_reason_in_queue_and_table(world: World) -> None:
    answer = world.compute()
    first, *others = take(world)
    delivered = fail_until_dead(world, first, failures=MOST_FAILURES)
    for message in others:
        assert is_done(deliver(world, message))
    run = the_run(world)
    assert run.counts.dead + run.counts.stored == run.counts.queued == answer["values"]
    assert run.counts.dead > 0
    assert run.outcome is Outcome.INCOMPLETE
    assert delivered.metric("BatchesDead") == 1
    (line,) = delivered.said("A message went to the dead letters")
    assert "It failed 12 times" in line["message"]
    assert "make redrive" in line["message"]

    (letter,) = in_queue(world)
    said = {name: str(each["StringValue"]) for name, each in letter["MessageAttributes"].items()}
    assert letter["Body"] == first["Body"]
    assert said["run_id"] == answer["run_id"]
    assert said["status"] == "Dhis2SlowError"
    assert said["reason"].endswith("It failed 12 times. It is not tried again automatically.")
    assert said["attempt_id"] == first["MessageAttributes"]["attempt_id"]["StringValue"]
    (row,) = (item for item in world.aws.runs.scan()["Items"] if item.get("kind") == "dead letter")
    why: Any = row["dead_letter"]
    assert (why["reason"], why["status"]) == (said["reason"], said["status"])
    assert "Body" not in row
    assert "Contents" not in world.aws.s3.list_objects_v2(Bucket=BUCKET)


def test_listed(world: World) -> None:
    world.compute()
    first, second, *_ = take(world)
    fail_until_dead(world, first)
    fail_until_dead(world, second, status=500)
    for _ in range(2):
        listed = ask(world, dead_letters="list")
        assert listed["is_all"]
        assert sorted((each["status"], each["messages"]) for each in listed["letters"]) == [
            ("Dhis2FaultError", 1),
            ("Dhis2SlowError", 1),
        ]
        assert listed["message"].startswith("2 dead letters with ")
        assert the_run(world).run_id in listed["message"]
    assert len(ask(world, dead_letters="list", reason="FAULTERROR")["letters"]) == 1
    assert ask(world, dead_letters="list", run="another")["letters"] == []
    assert len(in_queue(world)) == 2


def test_redriven(world: World) -> None:
    answer = world.compute()
    first, *others = take(world)
    fail_until_dead(world, first)
    for message in others:
        deliver(world, message)
    redriven = ask(world, dead_letters="redrive")
    assert redriven["message"].startswith("1 dead letter with ")
    assert in_queue(world) == []
    pushes = world.deliver()
    run = the_run(world)
    assert run.counts == Counts(queued=answer["values"], stored=answer["values"])
    assert run.outcome is Outcome.COMPLETE
    assert len(world.values()) == answer["values"]
    assert [
        line["outcome"] for each in pushes for line in each.lines if line.get("event") == "run_ended"
    ] == ["complete"]
    assert (
        ask(world, dead_letters="redrive")["message"] == "There are no dead letters that could be sent again."
    )


@pytest.mark.slow
def test_redrive_selection(world: World) -> None:
    world.compute()
    first, second, *_ = take(world)
    fail_until_dead(world, first)
    fail_until_dead(world, second, status=500)
    assert ask(world, dead_letters="redrive", run="another")["letters"] == []
    assert world.waiting() == 0
    (sent,) = ask(world, dead_letters="redrive", run=the_run(world).run_id, reason="FaultError")["letters"]
    assert sent["status"] == "Dhis2FaultError"
    (left,) = in_queue(world)
    assert left["MessageAttributes"]["status"]["StringValue"] == "Dhis2SlowError"
    assert world.waiting() == 1


@pytest.mark.slow
def test_console_redrive(world: World) -> None:
    answer = world.compute()
    first, *others = take(world)
    fail_until_dead(world, first)
    for message in others:
        deliver(world, message)
    # The console moves body and attributes.
    (letter,) = in_queue(world)
    put(world, letter)
    forget(world, letter)
    (pushed,) = world.deliver()
    assert pushed.said("A dead letter is sent again")
    assert the_run(world).counts == Counts(queued=answer["values"], stored=answer["values"])


@pytest.mark.slow
def test_redriven_twice(world: World) -> None:
    answer = world.compute()
    first, *others = take(world)
    fail_until_dead(world, first)
    for message in others:
        deliver(world, message)
    for _ in range(2):
        put(world, first)
    world.deliver()
    assert the_run(world).counts == Counts(queued=answer["values"], stored=answer["values"])


def test_expired_names_event(
    world: World,
) -> None:
    answer = world.compute()
    first, *others = take(world)
    fail_until_dead(world, first)
    for message in others:
        deliver(world, message)
    dead = the_run(world).counts.dead
    for letter in in_queue(world):
        forget(world, letter)
    listed = ask(world, dead_letters="list")["message"]
    assert "holds 0 messages, and the table of runs has 1. " in listed
    # It may be on its way between the two queues.
    assert invoke("watchdog", {}, world.capsys).answer["findings"] == []
    dead_since(world, KEPT_FOR + timedelta(hours=1))
    watched = invoke("watchdog", {}, world.capsys)
    (finding,) = watched.answer["findings"]
    assert finding.startswith("Dead letters are expired. ")
    counts = the_run(world).counts
    assert counts == Counts(queued=answer["values"], stored=answer["values"] - dead, expired=dead)
    # It is told once, and listed for a month.
    assert invoke("watchdog", {}, world.capsys).answer["findings"] == []
    (group,) = ask(world, dead_letters="list")["letters"]
    event = json.loads(group["compute_again"].partition("EVENT='")[2].removesuffix("'."))
    assert {"manual": True, "as_of": "2026-11-03"}.items() <= event.items()
    assert "holds" not in ask(world, dead_letters="list")["message"]
    again = invoke("compute", event, world.capsys, "again").answer
    assert again["status"] == "sent"
    # What DHIS2 did not answer may be stored no longer.
    world.aws.table.delete_item(Key={"id": "in-flight"})
    world.deliver()
    assert len(world.values()) == answer["values"]
    dead_since(world, timedelta(days=60))
    assert ask(world, dead_letters="list")["letters"] == []


@pytest.mark.slow
def test_deleted_by_somebody(
    world: World,
) -> None:
    world.compute()
    first, second, *_ = take(world)
    fail_until_dead(world, first)
    for letter in in_queue(world):
        forget(world, letter)
    put(world, second)
    dead_since(world, timedelta(hours=1))
    assert "expired" not in ask(world, dead_letters="redrive")["message"]
    take(world)
    assert ", expired. Dhis2SlowError: " in ask(world, dead_letters="redrive")["message"]
    assert the_run(world).counts.expired > 0
    # It was on its way all the same.
    assert is_done(deliver(world, first))
    assert the_run(world).counts.expired == 0


@pytest.mark.slow
def test_expired_then_dead_again(world: World) -> None:
    world.compute()
    first, *_ = take(world)
    fail_until_dead(world, first)
    (letter,) = in_queue(world)
    forget(world, letter)
    dead_since(world, timedelta(hours=1))
    ask(world, dead_letters="redrive")
    dead = the_run(world).counts.expired
    put(world, letter, world.aws.dead_letter_queue_url)
    assert invoke("watchdog", {}, world.capsys).answer["findings"] == []
    assert (the_run(world).counts.dead, the_run(world).counts.expired) == (dead, 0)
    assert [each["status"] for each in ask(world, dead_letters="list")["letters"]] == ["Dhis2SlowError"]


def test_moved_by_sqs(
    world: World,
) -> None:
    answer = world.compute()
    first, *others = take(world)
    for message in others:
        deliver(world, message)
    put(world, first, world.aws.dead_letter_queue_url)
    told = ask(world, dead_letters="list")
    assert told["letters"] == []
    assert "holds 1 message, and the table of runs has 0. " in told["message"]
    assert the_run(world).counts.dead == 0
    (moved,) = in_queue(world)
    invoke("watchdog", {}, world.capsys)
    listed = ask(world, dead_letters="list")
    assert listed["letters"][0]["status"] == "BrokeOff"
    assert "ran out of time or memory" in listed["message"]
    assert the_run(world).counts.dead == listed["letters"][0]["values"] > 0
    # Sent anew, it is kept for 14 days from now.
    (taken_up,) = in_queue(world)
    assert taken_up["MessageId"] != moved["MessageId"]
    assert taken_up["MessageAttributes"]["run_id"]["StringValue"] == answer["run_id"]
    ask(world, dead_letters="redrive")
    world.deliver()
    assert the_run(world).counts == Counts(queued=answer["values"], stored=answer["values"])


def test_moved_by_sqs_redriven(world: World) -> None:
    answer = world.compute()
    first, *others = take(world)
    for message in others:
        deliver(world, message)
    put(world, first, world.aws.dead_letter_queue_url)
    assert ask(world, dead_letters="redrive", reason="fault")["letters"] == []
    assert len(in_queue(world)) == 1
    (sent,) = ask(world, dead_letters="redrive", reason="brokeoff")["letters"]
    assert sent["messages"] == 1
    world.deliver()
    assert the_run(world).counts == Counts(queued=answer["values"], stored=answer["values"])
    assert in_queue(world) == []


@pytest.mark.parametrize(
    ("function", "event"),
    [("push", {"dead_letters": "redrive"}), ("watchdog", {})],
)
@pytest.mark.slow
def test_applied_is_removed(world: World, function: str, event: dict[str, str]) -> None:
    answer = world.compute()
    first, *others = take(world)
    fail_until_dead(world, first)
    # Push broke off before the queue heard that it was done with the message, and so it comes again.
    for message in (first, *others):
        assert is_done(deliver(world, message))
    assert the_run(world).counts == Counts(queued=answer["values"], stored=answer["values"])
    invoke(function, event, world.capsys)
    # An alarm tells of what lies there.
    assert in_queue(world) == []
    assert world.waiting() == 0


@pytest.mark.slow
def test_moved_back_after_redrive(
    world: World,
) -> None:
    answer = world.compute()
    first, *others = take(world)
    fail_until_dead(world, first)
    for message in others:
        deliver(world, message)
    (letter,) = in_queue(world)
    world.aws.sqs.delete_message(
        QueueUrl=world.aws.dead_letter_queue_url, ReceiptHandle=letter["ReceiptHandle"]
    )
    # The console sends it again, and push only gets so far as to see that it is alive.
    world.dhis2.faults.next(FaultKind.STATUS, times=1, method="POST", status=TIMED_OUT)
    assert not is_done(deliver(world, letter))
    put(world, letter, world.aws.dead_letter_queue_url)
    invoke("watchdog", {}, world.capsys)
    (listed,) = ask(world, dead_letters="list")["letters"]
    assert listed["status"] == "BrokeOff"
    assert the_run(world).counts.dead == listed["values"] > 0
    ask(world, dead_letters="redrive")
    world.deliver()
    assert the_run(world).counts == Counts(queued=answer["values"], stored=answer["values"])
    assert in_queue(world) == []


def test_not_a_batch(world: World) -> None:
    world.aws.sqs.send_message(QueueUrl=world.aws.queue_url, MessageBody='{"version": 99}')
    (message,) = take(world)
    assert is_done(deliver(world, message))
    listed = ask(world, dead_letters="list")
    assert (listed["letters"][0]["run_id"], listed["letters"][0]["status"]) == (UNREADABLE, "BatchError")
    assert "(make redrive)" not in listed["message"]
    redriven = ask(world, dead_letters="redrive")["message"]
    assert redriven.startswith("There are no dead letters that could be sent again.\nNot sent: 1 message. ")
    assert "compute again what is missing in DHIS2, and delete the message" in redriven
    assert (world.waiting(), len(in_queue(world))) == (0, 1)


@pytest.mark.slow
def test_older_version_could_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_understood(_: str) -> NoReturn:
        raise BatchError("The message on the queue is not a batch that this version understands.")

    answer = world.compute()
    first, *others = take(world)
    with monkeypatch.context() as of_the_older_version:
        of_the_older_version.setattr(push_function, "decode", not_understood)
        assert is_done(deliver(world, first))
    for message in others:
        deliver(world, message)
    (letter,) = ask(world, dead_letters="list")["letters"]
    assert (letter["run_id"], letter["status"]) == (UNREADABLE, "BatchError")
    invoke("watchdog", {}, world.capsys)
    (letter,) = ask(world, dead_letters="list")["letters"]
    assert (letter["run_id"], letter["status"]) == (answer["run_id"], "NotUnderstood")
    assert "to another version" in letter["reason"]
    assert ask(world, dead_letters="redrive")["message"].startswith("1 dead letter with ")
    world.deliver()
    assert the_run(world).counts == Counts(queued=answer["values"], stored=answer["values"])
    assert in_queue(world) == []


def test_before_the_queue_forgets(world: World) -> None:
    world.compute()
    message, *_ = take(world)
    world.dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", status=TIMED_OUT)
    assert not is_done(deliver(world, message, age=WAITS_FOR - timedelta(hours=1)))
    assert is_done(deliver(world, message, age=WAITS_FOR + timedelta(hours=1)))
    (letter,) = in_queue(world)
    assert "It waited for 10 days" in str(letter["MessageAttributes"]["reason"]["StringValue"])


def test_applied_is_not_dead(world: World) -> None:
    world.use(only_changes=False, items_per_payload=40)
    answer = world.compute()
    world.use(only_changes=False, items_per_payload=10)
    (message, *_) = take(world)
    world.dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", after=1, status=TIMED_OUT)
    for number in range(1, MOST_FAILURES + 1):
        pushed = deliver(world, message, delivered=number)
        # Each delivery gets one call through.
        world.dhis2.faults.clear()
        world.dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", status=TIMED_OUT)
    assert is_done(pushed)
    counts = the_run(world).counts
    assert counts.stored == len(world.values()) > 0
    assert counts.dead > 0
    assert counts.dead + counts.stored + counts.waiting == answer["values"]


def test_time_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.compute()
    first, *_ = take(world)
    fail_until_dead(world, first)
    monkeypatch.setattr(on_aws, "_LAST_SECONDS", 1_000.0)
    redriven = ask(world, dead_letters="redrive")
    assert not redriven["is_all"]
    assert redriven["message"].endswith("Invoke push with the same event again.")


def test_hidden_is_not_gone(world: World) -> None:
    world.compute()
    first, *_ = take(world)
    fail_until_dead(world, first)
    dead_since(world, timedelta(days=20))
    world.aws.messages(world.aws.dead_letter_queue_url)
    assert not ask(world, dead_letters="redrive")["is_all"]
    (finding,) = invoke("watchdog", {}, world.capsys).answer["findings"]
    assert "some are hidden for up to 15 minutes" in finding
    assert the_run(world).counts.dead > 0
    show_dead_letters()
    redriven = ask(world, dead_letters="redrive")
    assert (redriven["is_all"], redriven["letters"][0]["messages"]) == (True, 1)


def test_unselected_is_visible(world: World) -> None:
    world.compute()
    first, second, *_ = take(world)
    fail_until_dead(world, first)
    fail_until_dead(world, second, status=500)
    for reason in ("SlowError", "FaultError"):
        redriven = ask(world, dead_letters="redrive", reason=reason)
        assert (redriven["is_all"], redriven["letters"][0]["messages"]) == (True, 1)


@pytest.mark.slow
def test_more_than_time_allows(world: World) -> None:
    world.compute()
    put_copies(world.aws, 40)
    move_to_dead_letters(world.aws)
    sent = 0
    for is_all in (False, True):
        with passing(300, {"ReceiveMessage": 90} if not is_all else {}):
            redriven = ask(world, dead_letters="redrive")
        assert redriven["is_all"] == is_all
        sent += sum(group["messages"] for group in redriven["letters"])
    assert (sent, world.waiting(), in_queue(world)) == (40, 40, [])


@pytest.mark.parametrize(
    ("event", "fault"),
    [
        ({"dead_letters": "delete"}, "dead_letters is 'delete'. It takes one of: list, redrive."),
        (
            {"dead_letters": "list", "runs": "x"},
            "runs is not a field. Did you mean run?",
        ),
        ({"dead_letters": "redrives"}, "Did you mean redrive?"),
        ({"Dead letters": "Redrive", "run": ""}, "run is empty."),
    ],
)
def test_bad_event(world: World, event: dict[str, str], fault: str) -> None:
    with pytest.raises(EventError) as refused:
        ask(world, **event)
    assert fault in str(refused.value)
    assert '{"dead_letters": "list"}' in str(refused.value)


@pytest.mark.slow
def test_unreadable_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = world.compute()
    move_to_dead_letters(world.aws)
    # The row of one message, a row that somebody has put there, and a message that is too large to be sent anew.
    first = in_queue(world)[0]
    batch = json.loads(str(first["Body"]))["batch_id"]
    attempt_id = first["MessageAttributes"]["attempt_id"]["StringValue"]
    row = {"run_id": answer["run_id"], "part": f"batch#{batch}#{attempt_id}"}
    damaged = world.aws.runs.get_item(Key=row)["Item"]
    world.aws.runs.put_item(Item={**damaged, "settled": "by hand"})
    by_hand = {"run_id": "by hand", "part": "x", "kind": "dead letter"}
    world.aws.runs.put_item(Item={**by_hand, "started_at": datetime.now(UTC).isoformat()})
    world.aws.sqs.send_message(QueueUrl=world.aws.dead_letter_queue_url, MessageBody="too large")
    send = clients.sqs().send_message

    def refuse_large(**asked: Any) -> object:  # noqa: ANN401 - as boto3 takes it
        if asked["MessageBody"] == "too large":
            raise ClientError({"Error": {"Code": "InvalidParameterValue", "Message": "no"}}, "SendMessage")
        return send(**asked)

    monkeypatch.setattr(clients.sqs(), "send_message", refuse_large)
    watched = invoke("watchdog", {}, world.capsys).answer["findings"]
    assert any(f"The row {row['part']} of the run {answer['run_id']} is damaged" in each for each in watched)
    assert any("The row x of by hand in the table of runs is damaged" in each for each in watched)
    assert any("was not moved. AWS answered with an error" in each for each in watched)
    listed = ask(world, dead_letters="list")
    assert sum(letter["messages"] for letter in listed["letters"]) == answer["batches"] - 1
    assert "The row x of by hand in the table of runs is damaged" in listed["message"]
    redriven = ask(world, dead_letters="redrive")
    assert sum(letter["messages"] for letter in redriven["letters"]) == answer["batches"] - 1
    assert f"The row {row['part']} of the run {answer['run_id']} is damaged" in redriven["message"]
    # Fixed, it is a dead letter like the others.
    world.aws.runs.put_item(Item=damaged)
    assert sum(letter["messages"] for letter in ask(world, dead_letters="redrive")["letters"]) == 1


@pytest.mark.slow
def test_counts_that_do_not_add_up(world: World) -> None:
    answer = world.compute()
    world.aws.runs.update_item(
        Key={"run_id": answer["run_id"], "part": "run"},
        UpdateExpression="ADD queued :one",
        ExpressionAttributeValues={":one": 1},
    )
    named = (
        f"The row run of {answer['run_id']} in the table of runs is damaged (counts: the counts do not add up"
    )
    for message in take(world):
        pushed = deliver(world, message)
        assert is_done(pushed)
        assert pushed.said(named)
    assert len(world.values()) == answer["values"]
    (finding,) = (
        each for each in invoke("watchdog", {}, world.capsys).answer["findings"] if "damaged" in each
    )
    assert finding.startswith(named)
