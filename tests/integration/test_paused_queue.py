"""How a paused queue is resumed: by a connection test that somebody makes, and by the probe on schedule."""

import json
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from pydantic import SecretStr

from msupply_dhis2.state.logins import read_refusal
from sandbox.dhis2 import FaultKind, PersonalAccessToken, StandIn, User, new_token, stock_metadata
from tests.conftest import Aws
from tests.support.batches import batch_of, settings_of, value_of
from tests.support.functions import Invocation, deliver, invoke
from tests.support.refusing import busy_lambda

PASSWORD = "mark3d-secret"
WRONG = "wr0ng-mark3d"
PROBE = {"probe": True}
LITTLE_TIME = 5.5
"""Too little for a function to wait for Lambda."""

type Invoke = Callable[[object], Invocation]


@pytest.fixture
def dhis2(aws: Aws) -> Iterator[StandIn]:
    metadata = stock_metadata([("OU_0", "Kamo")], [("368c74bf", "Amoxicillin")], ["stock_on_hand"])
    user = User(username="pusher", password=PASSWORD)
    with StandIn(metadata, version="2.42", users=[user], now=date(2026, 2, 10)) as server:
        aws.put_settings(settings_of(server.url).compact())
        aws.put_dhis2_credentials("pusher", PASSWORD)
        yield server


@pytest.fixture
def paused(aws: Aws, dhis2: StandIn, capsys: pytest.CaptureFixture[str]) -> StandIn:
    """DHIS2 after it refused the login of a waiting message."""
    aws.put_dhis2_credentials("pusher", WRONG)
    batch = batch_of([value_of("SOH_368c74bf")], settings_of(dhis2.url))
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody=batch.encoded())
    deliver(aws, capsys)
    assert aws.is_paused()
    dhis2.requests.clear()
    return dhis2


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Invoke the function of the connection test."""
    return lambda event: invoke("test_connection", event, capsys)


def logins(dhis2: StandIn) -> list[int | None]:
    return [request.status for request in dhis2.requests if request.path == "/api/me"]


def check_of_queue(report: dict[str, Any]) -> dict[str, Any] | None:
    checks = [check for check in report["checks"] if check["name"] == "queue"]
    assert len(checks) <= 1
    return checks[0] if checks else None


# ------------------------------------------------------------------------------------------- the connection test


def test_a_queue_that_is_not_paused_is_no_matter_of_the_report(aws: Aws, dhis2: StandIn, ask: Invoke) -> None:
    report = ask({}).answer
    assert report["connected"] is True, dhis2.url
    assert check_of_queue(report) is None
    assert not aws.is_paused()


def test_a_connection_test_that_succeeds_resumes_the_queue_and_says_so(
    aws: Aws, paused: StandIn, ask: Invoke
) -> None:
    # The account was mended in DHIS2: the login is the one that was refused.
    paused.users["pusher"] = User(username="pusher", password=WRONG)
    check = check_of_queue(ask({}).answer)
    assert check is not None
    assert check["ok"] is True
    assert "was paused since" in check["message"]
    assert "(Pacific/Auckland)" in check["message"]
    assert "It is resumed" in check["message"]
    assert not aws.is_paused()
    assert read_refusal(aws.table) is None


def test_a_connection_test_that_fails_logs_in_all_the_same_and_tells_that_the_queue_is_paused_and_why(
    aws: Aws, paused: StandIn, ask: Invoke
) -> None:
    tested = ask({})
    assert set(logins(paused)) == {401}
    check = check_of_queue(tested.answer)
    assert check is not None
    assert check["ok"] is False
    assert "The queue is paused since" in check["message"]
    assert "refuses the login of pusher: Authentication failed" in check["message"]
    assert aws.is_paused()


def test_a_token_that_may_not_post_pauses_the_queue_instead_of_resuming_it(
    aws: Aws, paused: StandIn, ask: Invoke
) -> None:
    token = new_token("only-get")
    paused.tokens[token] = PersonalAccessToken(username="pusher", token=SecretStr(token), methods=("GET",))
    aws.secretsmanager.put_secret_value(SecretId="stack/dhis2", SecretString=json.dumps({"token": token}))
    report = ask({}).answer
    (trial,) = (check for check in report["checks"] if check["name"] == "trial call")
    assert report["connected"] is True
    assert "Both GET and POST are needed" in trial["message"]
    check = check_of_queue(report)
    assert check is not None
    assert "The queue is paused" in check["message"]
    assert aws.is_paused()


def test_a_refused_connection_test_pauses_the_queue_before_a_message_tries_the_same_login(
    aws: Aws, dhis2: StandIn, ask: Invoke, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.put_dhis2_credentials("pusher", WRONG)
    ask({})
    assert aws.is_paused()
    dhis2.requests.clear()
    batch = batch_of([value_of("SOH_368c74bf")], settings_of(dhis2.url))
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody=batch.encoded())
    assert deliver(aws, capsys).again
    assert dhis2.requests == []


def test_a_dhis2_that_is_away_leaves_the_queue_as_it_is(aws: Aws, paused: StandIn, ask: Invoke) -> None:
    before = read_refusal(aws.table)
    paused.faults.next(FaultKind.STATUS, times=None, status=503)
    check = check_of_queue(ask({}).answer)
    assert check is not None
    assert check["ok"] is False
    assert read_refusal(aws.table) == before
    assert aws.is_paused()


def test_the_password_is_in_no_report_log_or_row(aws: Aws, paused: StandIn, ask: Invoke) -> None:
    said = [ask({}), ask(PROBE)]
    aws.put_dhis2_credentials("pusher", PASSWORD)
    said += [ask(PROBE), ask({})]
    assert logins(paused)
    written = str([(one.answer, one.lines) for one in said]) + str(aws.table.scan()["Items"])
    assert "mark3d" not in written


def test_a_connection_test_just_after_the_pause_leaves_the_queue_to_the_probe_and_says_so(
    aws: Aws, paused: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    # The account was mended in DHIS2: the login is the one that was refused.
    paused.users["pusher"] = User(username="pusher", password=WRONG)
    with busy_lambda("Disabling"):
        report = invoke("test_connection", {}, capsys, seconds_left=LITTLE_TIME).answer
    check = check_of_queue(report)
    assert check is not None
    assert check["ok"] is False
    assert "DHIS2 lets us in now" in check["message"]
    assert "Lambda was still at its last change" in check["message"]
    assert "tried again within 15 minutes" in check["message"]
    assert aws.is_paused()
    paused.requests.clear()
    probed = invoke("test_connection", PROBE, capsys)
    assert (probed.answer["paused"], probed.metric("QueuePaused")) == (False, 0)
    assert probed.said("The queue is resumed")
    assert not aws.is_paused()
    assert paused.requests == [], "DHIS2 has let us in already"


# ------------------------------------------------------------------------------------------------------ the probe


def test_a_queue_that_lambda_has_not_resumed_yet_is_resumed_by_the_next_probe_that_can(
    aws: Aws, paused: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.put_dhis2_credentials("pusher", PASSWORD)
    for _ in range(2):
        with busy_lambda("Disabling"):
            probed = invoke("test_connection", PROBE, capsys, seconds_left=LITTLE_TIME)
        assert (probed.answer["paused"], probed.metric("QueuePaused")) == (True, 1)
        assert probed.said("It could not be resumed")
    assert logins(paused) == [200], "once is enough"
    paused.faults.next(FaultKind.STATUS, times=None, status=503)
    with busy_lambda("Disabling"):
        check = check_of_queue(invoke("test_connection", {}, capsys, seconds_left=LITTLE_TIME).answer)
    assert check is not None
    assert "Lambda was told to resume it" in check["message"]
    assert invoke("test_connection", PROBE, capsys).answer["paused"] is False
    assert not aws.is_paused()


def test_two_pushes_that_pause_the_queue_at_the_same_time_both_do(
    aws: Aws, paused: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.put_dhis2_credentials("pusher", "wr0ng-mark3d-too")
    batch = batch_of([value_of("SOH_368c74bf")], settings_of(paused.url))
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody=batch.encoded())
    with busy_lambda("Disabling") as refused:
        pushed = deliver(aws, capsys)
    assert refused.refusals == 1
    assert pushed.said("when the queue is resumed")
    assert not pushed.said("Pausing the queue went wrong")


def test_where_nothing_is_paused_the_probe_asks_nobody(aws: Aws, dhis2: StandIn, ask: Invoke) -> None:
    aws.ssm.delete_parameter(Name="/stack/settings")
    probed = ask(PROBE)
    assert probed.answer["paused"] is False
    assert probed.metric("QueuePaused") == 0
    assert [line for line in probed.lines if "message" in line] == []
    assert dhis2.requests == []


def test_the_probe_does_not_try_the_same_login_again(aws: Aws, paused: StandIn, ask: Invoke) -> None:
    probed = ask(PROBE)
    assert paused.requests == []
    assert probed.answer["paused"] is True
    assert probed.metric("QueuePaused") == 1
    (line,) = probed.said("The queue is paused since")
    assert line["level"] == "WARNING"
    assert "make credentials" in line["message"]
    assert aws.is_paused()


def test_the_probe_tries_a_new_version_of_the_secret_and_resumes_the_queue(
    aws: Aws, paused: StandIn, ask: Invoke
) -> None:
    aws.put_dhis2_credentials("pusher", PASSWORD)
    probed = ask(PROBE)
    assert logins(paused) == [200]
    assert probed.answer["paused"] is False
    assert probed.metric("QueuePaused") == 0
    assert probed.said("The queue is resumed")
    assert not aws.is_paused()
    assert read_refusal(aws.table) is None


def test_the_probe_tries_a_new_version_that_is_wrong_too_once(aws: Aws, paused: StandIn, ask: Invoke) -> None:
    first = read_refusal(aws.table)
    assert first is not None
    aws.put_dhis2_credentials("pusher", "wr0ng-mark3d-too")
    assert ask(PROBE).answer["paused"] is True
    assert ask(PROBE).answer["paused"] is True
    assert logins(paused) == [401]
    second = read_refusal(aws.table)
    assert second is not None
    assert second.login.version != first.login.version
    assert second.since == first.since


def test_the_probe_tries_the_login_once_when_the_address_was_corrected(
    aws: Aws, paused: StandIn, ask: Invoke
) -> None:
    corrected = settings_of(paused.url.replace("127.0.0.1", "localhost"))
    aws.put_settings(corrected.compact())
    ask(PROBE)
    ask(PROBE)
    assert logins(paused) == [401]


@pytest.mark.parametrize("status", [503, 404])
def test_a_fault_that_is_no_refusal_leaves_the_queue_paused_for_the_next_probe(
    aws: Aws, paused: StandIn, ask: Invoke, status: int
) -> None:
    aws.put_dhis2_credentials("pusher", PASSWORD)
    paused.faults.next(FaultKind.STATUS, times=1, status=status)
    assert ask(PROBE).answer["paused"] is True
    assert aws.is_paused()
    assert ask(PROBE).answer["paused"] is False
    assert not aws.is_paused()


def test_settings_with_a_fault_leave_the_queue_paused_and_are_told(
    aws: Aws, paused: StandIn, ask: Invoke
) -> None:
    aws.put_settings("setup: nonsense")
    probed = ask(PROBE)
    assert probed.answer["paused"] is True
    assert probed.said("It could not be resumed")
    assert paused.requests == []
