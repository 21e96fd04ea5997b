"""Push as the function does it: messages of a queue in, outcomes in the log, and what is to be tried again."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import read_dhis2_credentials
from msupply_dhis2.aws.queues import BatchQueue
from msupply_dhis2.domain.batch import Operation, decode
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import AwsBusyError, EventError
from msupply_dhis2.handlers import push as push_on_aws
from msupply_dhis2.handlers import push_batch
from msupply_dhis2.state.breaker import Breaker, BreakerTable, Login, State, log_in
from msupply_dhis2.state.connections import last_success, read_call_limit, record_success
from msupply_dhis2.state.runs import Runs
from sandbox.dhis2 import FaultKind, StandIn, User, stock_metadata
from tests.conftest import Aws
from tests.support.batches import batch_of, settings_of, value_of
from tests.support.functions import Context, Pushed, deliver, delivery, handler_of, show_again

ORG_UNITS = [(f"OU_{number}", f"Clinic {number}") for number in range(6)]
REFERENCES = [("368c74bf", "Amoxicillin 250mg tabs"), ("45bfa4bf", "Ibuprofen 200mg tabs")]
NOW = date(2026, 2, 10)
PASSWORD = "mark3d-secret"
WRONG = "wr0ng-mark3d"

type Push = Callable[..., Pushed]


@pytest.fixture
def dhis2() -> Iterator[StandIn]:
    metadata = stock_metadata(ORG_UNITS, REFERENCES, [metric.value for metric in Metric])
    user = User(username="pusher", password=PASSWORD)
    with StandIn(metadata, version="2.42", users=[user], now=NOW) as server:
        yield server


def body_of(dhis2: StandIn, *numbers: str) -> str:
    """Return a message with a value for each number, in one org unit after the other."""
    values = [
        value_of("SOH_368c74bf", number, org_unit=f"OU_{place}") for place, number in enumerate(numbers)
    ]
    return batch_of(values, settings_of(dhis2.url)).body


def stored(dhis2: StandIn, org_unit: str = "OU_0") -> str | None:
    return dhis2.value("SOH_368c74bf", org_unit, "202601")


def failed_logins(dhis2: StandIn) -> int:
    return sum(request.status == 401 for request in dhis2.requests)


def cold_start() -> None:
    push_on_aws.forget_sessions()


@pytest.fixture
def push(aws: Aws, dhis2: StandIn, capsys: pytest.CaptureFixture[str]) -> Iterator[Push]:
    """Put messages on the queue and hand all that can be seen to push."""
    cold_start()
    aws.put_settings(settings_of(dhis2.url).compact())
    aws.put_dhis2_credentials("pusher", PASSWORD)

    def put_and_deliver(*bodies: str) -> Pushed:
        for body in bodies:
            aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody=body)
        return deliver(aws, capsys)

    yield put_and_deliver
    cold_start()


# ------------------------------------------------------------------------------------------- what is finished


def test_stored_and_counted(dhis2: StandIn, push: Push) -> None:
    pushed = push(body_of(dhis2, "12", "0.5"))
    assert pushed.counts() == (2, 2, 0, 0, 0)
    assert (stored(dhis2), stored(dhis2, "OU_1")) == ("12", "0.5")
    assert pushed.metric("ValuesStored") == 2
    assert pushed.again == []
    (line,) = pushed.said("Batch: ")
    assert (line["run_id"], line["receive"]) == ("run-1", "1")


def test_one_failing_message(dhis2: StandIn, push: Push) -> None:
    dhis2.faults.next(FaultKind.STATUS, times=1, method="POST", status=503)
    pushed = push(body_of(dhis2, "1"), body_of(dhis2, "2"))
    assert pushed.again == [pushed.messages[0]["MessageId"]]
    assert stored(dhis2) == "2"


def test_switched_off(aws: Aws, dhis2: StandIn, push: Push) -> None:
    aws.put_settings(settings_of(dhis2.url, use_dhis2=False).compact())
    pushed = push(body_of(dhis2, "12"))
    assert pushed.again == []
    assert pushed.metric("ValuesNotSent") == 1
    assert pushed.said("Use DHIS2 is off")
    assert dhis2.requests == []


def test_sent_by_hand_while_off(aws: Aws, dhis2: StandIn, push: Push) -> None:
    aws.put_settings(settings_of(dhis2.url, use_dhis2=False).compact())
    by_hand = body_of(dhis2, "12").replace("{", '{"while_off":true,', 1)
    assert push(by_hand).again == []
    assert stored(dhis2) == "12"


def test_by_hand_while_off_and_incomplete(aws: Aws, dhis2: StandIn, push: Push) -> None:
    aws.put_settings("use_dhis2: false")
    by_hand = body_of(dhis2, "12").replace("{", '{"while_off":true,', 1)
    pushed = push(by_hand)
    assert len(pushed.again) == 1
    assert pushed.said("URL is missing")


@pytest.mark.parametrize("operation", Operation)
def test_other_calendar(dhis2: StandIn, push: Push, aws: Aws, operation: Operation) -> None:
    aws.put_settings(settings_of(dhis2.url, only_changes=True, delete_vanished=True).compact())
    dhis2.metadata = dhis2.metadata.model_copy(update={"calendar": "nepali"})
    body = delete_of if operation is Operation.DELETE else body_of
    pushed = push(body(dhis2, "12", "0.5"))
    assert not any(request.method == "POST" for request in dhis2.requests)
    assert pushed.metric("ValuesRejected") == 2
    assert pushed.again == []
    assert len(pushed.said("calendar 'nepali'")) == 2


def delete_of(dhis2: StandIn, *numbers: str) -> str:
    values = [
        value_of("SOH_368c74bf", number, org_unit=f"OU_{place}") for place, number in enumerate(numbers)
    ]
    return batch_of(values, settings_of(dhis2.url), Operation.DELETE).body


def test_delete(aws: Aws, dhis2: StandIn, push: Push) -> None:
    aws.put_settings(settings_of(dhis2.url, only_changes=True, delete_vanished=True).compact())
    push(body_of(dhis2, "12", "0.5", "7"))
    pushed = push(delete_of(dhis2, "12", "0.5"))
    assert (stored(dhis2), stored(dhis2, "OU_1"), stored(dhis2, "OU_2")) == (None, None, "7")
    (line,) = pushed.said("Batch: 2 to delete: 2 deleted, 0 rejected, 0 unaccounted.")
    assert (line["operation"], line["deleted"], line["stored"]) == ("delete", 2, 0)
    assert pushed.metric("ValuesDeleted") == 2
    assert pushed.again == []


def test_delete_switched_off(dhis2: StandIn, push: Push) -> None:
    push(body_of(dhis2, "12"))
    pushed = push(delete_of(dhis2, "12"))
    assert stored(dhis2) == "12"
    assert pushed.again == []
    assert pushed.metric("ValuesNotSent") == 1
    assert pushed.said("Delete vanished values is off")


def test_not_a_batch(aws: Aws, push: Push) -> None:
    assert push("hello").again == []
    (dead,) = aws.messages(aws.dead_letter_queue_url)
    assert dead["Body"] == "hello"
    assert "invoke compute" in str(dead["MessageAttributes"]["reason"])


@pytest.mark.parametrize(
    "event", [{}, {"manual": True}, {"Records": []}, {"Records": [{"eventSource": "aws:s3"}]}]
)
def test_invoked_by_hand(aws: Aws, event: object) -> None:  # noqa: ARG001 sets the environment
    with pytest.raises(EventError, match="invoke compute with"):
        handler_of("push")(event, Context())


def test_success_is_noted(aws: Aws, dhis2: StandIn, push: Push) -> None:
    push(body_of(dhis2, "12"))
    rows = [str(row["id"]) for row in aws.table.scan()["Items"]]
    assert [row for row in rows if row.startswith("connection#")] == [f"connection#{dhis2.url}"]


def test_session_is_kept(dhis2: StandIn, push: Push) -> None:
    push(body_of(dhis2, "1"))
    # DHIS2 looks at the password at login only: who still gets in has kept the session.
    dhis2.users["pusher"] = User(username="pusher", password="changed")
    assert push(body_of(dhis2, "2")).counts()[0] == 1


# -------------------------------------------------------------------------------------------- what is tried again


@pytest.mark.parametrize(
    ("kind", "of_fault"),
    [
        (FaultKind.STATUS, {"status": 502}),
        (FaultKind.STATUS, {"status": 503}),
        (FaultKind.TOO_MANY_REQUESTS, {"seconds": 1}),
        (FaultKind.TRANSIENT_CONFLICT, {}),
    ],
)
def test_passing_fault(
    aws: Aws, dhis2: StandIn, push: Push, kind: FaultKind, of_fault: dict[str, Any]
) -> None:
    dhis2.faults.next(kind, times=None, method="POST", **of_fault)
    failed = push(body_of(dhis2, "12"))
    assert len(failed.again) == 1
    assert failed.said("back to the queue")
    assert failed.metric("BatchesToTryAgain") == 1
    dhis2.faults.clear()
    show_again(aws, failed)
    assert push().again == []
    assert stored(dhis2) == "12"


def test_before_it_is_read(dhis2: StandIn, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AwsBusyError("Try again later.")

    monkeypatch.setattr(BreakerTable, "change", refuse)
    failed = push(body_of(dhis2, "12"))
    assert failed.said("A message goes back to the queue, to be tried again in ")


def test_server_wait(aws: Aws, dhis2: StandIn, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    milliseconds = 1_800_000_000_000
    monkeypatch.setattr("moto.sqs.models.unix_time_millis", lambda: milliseconds)
    dhis2.faults.next(FaultKind.TOO_MANY_REQUESTS, times=None, method="POST", seconds=2)
    failed = push(body_of(dhis2, "12"))
    (line,) = failed.said("of 1 value goes back to the queue, to be tried again in 2 seconds")
    assert line["wait"] == 2
    dhis2.faults.clear()
    assert aws.hidden() == 1
    milliseconds += 2_000
    assert aws.messages() == []
    milliseconds += 1
    assert push().counts() == (1, 1, 0, 0, 0)


def test_rate_limited_metadata(aws: Aws, dhis2: StandIn, push: Push) -> None:
    def let_one_pass() -> None:
        dhis2.faults.clear()
        dhis2.faults.next(FaultKind.TOO_MANY_REQUESTS, times=None, method="GET", after=1, seconds=90)

    waits = []
    let_one_pass()
    pushed = push(body_of(dhis2, "12"))
    while pushed.again:
        (line,) = pushed.said("A proxy before DHIS2 at")
        assert "asks for fewer requests (status 429, " in line["message"]
        waits.append(line["wait"])
        show_again(aws, pushed)
        let_one_pass()
        pushed = push()
    asked = [request.path for request in dhis2.requests if request.method == "GET" and request.status == 200]
    # None of them twice, but for who is logged in: to log in, and for what the user may do.
    assert asked == ["/api/me", "/api/system/info", "/api/dataSets", "/api/me"]
    assert waits == [90, 90, 90]
    assert stored(dhis2) == "12"


def test_growing_wait(aws: Aws, dhis2: StandIn, push: Push) -> None:
    dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", status=500)
    failed = push(body_of(dhis2, "12"))
    waits = []
    for _ in range(3):
        (line,) = failed.said("back to the queue")
        waits.append(line["wait"])
        show_again(aws, failed)
        failed = push()
    for wait, about in zip(waits, (30, 60, 120), strict=True):
        assert 0.9 * about <= wait <= 1.1 * about


def test_wait_not_set(aws: Aws, dhis2: StandIn, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_URL", f"{aws.queue_url}-that-is-not-there")
    dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", status=503)
    failed = push(body_of(dhis2, "12"))
    assert len(failed.again) == 1
    assert failed.said("The wait of a message on the queue could not be set")
    assert failed.said("after the queue's own visibility time-out")


def test_missing_settings(aws: Aws, dhis2: StandIn, push: Push) -> None:
    aws.ssm.delete_parameter(Name="/stack/settings")
    failed = push(body_of(dhis2, "12"))
    assert len(failed.again) == 1
    assert failed.said("make settings")


def test_missing_table(aws: Aws, dhis2: StandIn, push: Push) -> None:
    aws.table.delete()
    assert len(push(body_of(dhis2, "12")).again) == 1
    assert dhis2.requests == []


def test_login_corrected_while_waiting(
    aws: Aws, dhis2: StandIn, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    breakers = BreakerTable(aws.table, lambda _: None)
    tried: list[Login] = []

    def other_function(breaker: Breaker, login: Login, now: datetime) -> Breaker:
        tried.append(login)
        return breaker if len(tried) == 1 else logging_in(breaker, login, now)

    def wait(_: float) -> None:
        login, now = tried[0], datetime.now(UTC)
        breakers.change(lambda breaker: breaker.login_refused(login, "Authentication failed.", now))
        breakers.change(lambda breaker: breaker.login_accepted(replace(login, version="corrected")))

    logging_in = Breaker.logging_in
    monkeypatch.setattr(Breaker, "logging_in", other_function)
    monkeypatch.setattr(push_batch, "log_in", partial(log_in, sleep=wait))
    assert len(push(body_of(dhis2, "12")).again) == 1
    assert breakers.read().state is State.CLOSED


def test_success_noted_once_a_minute(
    aws: Aws, dhis2: StandIn, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = []
    for minutes in (1, 1, 0):
        monkeypatch.setattr(push_batch, "SUCCESS_NOTED_EVERY", timedelta(minutes=minutes))
        push(body_of(dhis2, "12"))
        noted.append(last_success(aws.table, dhis2.url, "pusher"))
    first, second, third = (str(instant) for instant in noted)
    assert first == second < third


def test_success_not_noted(dhis2: StandIn, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    push(body_of(dhis2, "11"))

    def record_elsewhere(_: object, url: str, username: str, instant: datetime) -> None:
        record_success(clients.table("no-such-table"), url, username, instant)

    monkeypatch.setattr(push_batch, "record_success", record_elsewhere)
    monkeypatch.setattr(push_batch, "SUCCESS_NOTED_EVERY", timedelta(0))
    pushed = push(body_of(dhis2, "12"))
    assert pushed.again == []
    assert pushed.counts() == (1, 1, 0, 0, 0)
    assert pushed.said("could not be noted")


# ----------------------------------------------------------------------- batches that take more than one delivery


def in_pieces(aws: Aws, dhis2: StandIn, push: Push) -> Pushed:
    """Push a batch of two values of which the first delivery settles one."""
    aws.put_settings(settings_of(dhis2.url, items_per_payload=1).compact())
    dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", after=1, status=503)
    body = body_of(dhis2, "12", "13")
    aws.sqs.send_message(
        QueueUrl=aws.queue_url,
        MessageBody=body,
        MessageAttributes={"attempt_id": {"DataType": "String", "StringValue": "first"}},
    )
    pushed = push()
    dhis2.faults.clear()
    return pushed


def posted(dhis2: StandIn) -> int:
    return sum(request.values for request in dhis2.requests if request.method == "POST")


def test_settled_is_skipped(aws: Aws, dhis2: StandIn, push: Push) -> None:
    first = in_pieces(aws, dhis2, push)
    assert first.counts() == (1, 1, 0, 0, 0)
    assert len(first.again) == 1
    dhis2.requests.clear()
    show_again(aws, first)
    second = push()
    assert second.counts() == (1, 1, 0, 0, 0)
    assert second.again == []
    assert posted(dhis2) == 1
    assert {stored(dhis2), stored(dhis2, "OU_1")} == {"12", "13"}


def test_ended_batch_not_resent(aws: Aws, dhis2: StandIn, push: Push) -> None:
    first = in_pieces(aws, dhis2, push)
    show_again(aws, first)
    push()
    dhis2.requests.clear()
    (message,) = first.messages
    aws.sqs.send_message(
        QueueUrl=aws.queue_url,
        MessageBody=message["Body"],
        MessageAttributes={"attempt_id": {"DataType": "String", "StringValue": "first"}},
    )
    once_more = push()
    assert once_more.again == []
    assert once_more.said("got its outcome at an earlier delivery")
    assert once_more.metric("BatchesFinishedBefore") == 1
    assert posted(dhis2) == 0


def test_requeued_batch_is_sent(aws: Aws, dhis2: StandIn, push: Push) -> None:
    first = in_pieces(aws, dhis2, push)
    show_again(aws, first)
    push()
    batch = decode(str(first.messages[0]["Body"]))
    dhis2.requests.clear()
    with BatchQueue(aws.sqs, aws.queue_url, lambda _: None) as queue:
        queue.send(batch)
    assert sum(line["sent"] for line in push().said("Batch: ")) == 2
    assert posted(dhis2) == 2


def test_progress_not_noted(aws: Aws, dhis2: StandIn, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    push(body_of(dhis2, "11"))

    def refuse(*_: object, **__: object) -> None:
        raise AwsBusyError("AWS did not answer while noting what became of values.")

    monkeypatch.setattr(Runs, "settle", refuse)
    first = in_pieces(aws, dhis2, push)
    assert first.said("Batch: ") == []
    assert len(first.again) == 1
    monkeypatch.undo()


# ----------------------------------------------------------------------------------------------------------- pace


def test_remembered_pace(aws: Aws, dhis2: StandIn, push: Push) -> None:
    dhis2.faults.next(FaultKind.TOO_LARGE, times=None, method="POST", more_than_values=1)
    assert push(body_of(dhis2, "1", "2", "3")).counts() == (3, 3, 0, 0, 0)
    assert read_call_limit(aws.table, dhis2.url) == 1
    cold_start()
    dhis2.requests.clear()
    dhis2.faults.clear()
    push(body_of(dhis2, *"456789"))
    posts = [request.values for request in dhis2.requests if request.method == "POST"]
    # Calls grow again, but step by step.
    assert posts == [1, 2, 3]


# ------------------------------------------------------------------------------------------- refused credentials


def test_refused_login_once(aws: Aws, dhis2: StandIn, push: Push) -> None:
    aws.put_dhis2_credentials("pusher", WRONG)
    refused = push(*(body_of(dhis2, str(number)) for number in (1, 2, 3)))
    assert len(refused.again) == 3
    assert failed_logins(dhis2) == 1
    assert aws.messages(aws.dead_letter_queue_url) == []
    assert aws.breaker().state is State.LOGIN_REFUSED
    (line,) = [line for line in refused.lines if line.get("level") == "ERROR"]
    assert "Authentication failed" in line["message"]
    assert "make credentials" in line["message"]
    assert "make test-connection" in line["message"]
    assert refused.metric("CredentialsRefused") == 1
    assert refused.metric("BatchesPutBack") == 3
    assert refused.said("back to the queue") == []


def test_in_flight_after_faults(
    aws: Aws, dhis2: StandIn, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_flight() -> list[str]:
        return [name for name in aws.table.get_item(Key={"id": "in-flight"})["Item"] if "message_" in name]

    aws.put_dhis2_credentials("pusher", WRONG)
    refused = push(body_of(dhis2, "12"))
    assert aws.breaker().state is State.LOGIN_REFUSED
    assert in_flight() == []
    aws.put_dhis2_credentials("pusher", PASSWORD)
    BreakerTable(aws.table, lambda _: None).change(lambda _: Breaker())

    def break_off(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(push_batch, "push", break_off)
    show_again(aws, refused)
    assert len(push().again) == 1
    assert len(in_flight()) == 1


def test_cold_start_after_refusal(aws: Aws, dhis2: StandIn, push: Push) -> None:
    aws.put_dhis2_credentials("pusher", WRONG)
    show_again(aws, push(body_of(dhis2, "12")))
    cold_start()
    dhis2.requests.clear()
    again = push()
    assert len(again.again) == 1
    assert dhis2.requests == []
    assert again.metric("CredentialsRefused") == 0
    assert again.metric("BatchesPutBack") == 1


def test_concurrent_refused_login(aws: Aws, dhis2: StandIn, push: Push) -> None:
    # DHIS2 holds the period, so that messages for several org units need not wait for each other.
    push(body_of(dhis2, "1"))
    cold_start()
    aws.put_dhis2_credentials("pusher", WRONG)
    dhis2.faults.next(FaultKind.DELAY, times=None, seconds=0.5)
    for org_unit in ("OU_0", "OU_1"):
        batch = batch_of([value_of("SOH_368c74bf", "2", org_unit=org_unit)], settings_of(dhis2.url))
        aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody=batch.body)
    events = [delivery([message], aws.queue_arn) for message in aws.messages()]
    with ThreadPoolExecutor() as both:
        first = both.submit(handler_of("push"), events[0], Context("stack-push"))
        second = both.submit(handler_of("push"), events[1], Context("stack-push"))
        answers = [first.result(), second.result()]
    assert [len(answer["batchItemFailures"]) for answer in answers] == [1, 1]
    assert failed_logins(dhis2) == 1


def refuse(aws: Aws, login: Login) -> None:
    """Have another function find out that DHIS2 refuses a login."""
    breakers = BreakerTable(aws.table, lambda _: None)
    breakers.change(lambda breaker: breaker.login_refused(login, "Authentication failed.", datetime.now(UTC)))


def test_warm_function_stops(aws: Aws, dhis2: StandIn, push: Push) -> None:
    push(body_of(dhis2, "11"))
    settings = settings_of(dhis2.url)
    credentials = read_dhis2_credentials("stack/dhis2", aws.secretsmanager, settings)
    login = Login.of(str(settings.url), credentials)
    refuse(aws, login)
    dhis2.requests.clear()
    assert len(push(body_of(dhis2, "12")).again) == 1
    assert dhis2.requests == []


def test_changed_password(aws: Aws, dhis2: StandIn, push: Push) -> None:
    push(body_of(dhis2, "11"))
    dhis2.users["pusher"] = User(username="pusher", password="changed")
    dhis2.forget_sessions()
    refused = push(body_of(dhis2, "12"), body_of(dhis2, "13"))
    assert len(refused.again) == 2
    assert failed_logins(dhis2) == 1
    assert aws.breaker().state is State.LOGIN_REFUSED
    assert refused.metric("CredentialsRefused") == 1


def test_other_server(aws: Aws, dhis2: StandIn, push: Push) -> None:
    elsewhere = Login("https://other.example.org", "pusher", "f1", "v1")
    refuse(aws, elsewhere)
    breakers = BreakerTable(aws.table, lambda _: None)
    breakers.change(lambda breaker: breaker.login_accepted(replace(elsewhere, version="v2")))
    assert aws.breaker().refused == (elsewhere,)
    assert push(body_of(dhis2, "12")).counts() == (1, 1, 0, 0, 0)


def test_no_secret_is_written(
    aws: Aws, dhis2: StandIn, push: Push, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [push(body_of(dhis2, "12"))]
    dhis2.faults.next(FaultKind.CUT, times=1)
    said.append(push(body_of(dhis2, "12")))
    aws.put_dhis2_credentials("pusher", WRONG)
    said.append(push(body_of(dhis2, "12")))
    assert said[-1].metric("CredentialsRefused") == 1
    written = json.dumps([pushed.lines for pushed in said]) + str(aws.table.scan()["Items"])
    written += str(aws.messages(aws.dead_letter_queue_url)) + capsys.readouterr().err
    assert "mark3d" not in written
