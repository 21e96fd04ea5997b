"""How sending goes on after DHIS2 refused the login: by a connection test that somebody makes, and by the probe on schedule."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from moto.backends import get_backend
from pydantic import SecretStr

from msupply_dhis2.state.breaker import Breaker, BreakerTable, State
from sandbox.dhis2 import FaultKind, PersonalAccessToken, StandIn, User, new_token, stock_metadata
from tests.conftest import Aws
from tests.support.batches import batch_of, settings_of, value_of
from tests.support.functions import Invocation, deliver, invoke
from tests.support.stack_template import template_resources

PASSWORD = "mark3d-secret"
WRONG = "wr0ng-mark3d"
PROBE = {"probe": True}

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
def refused(aws: Aws, dhis2: StandIn, capsys: pytest.CaptureFixture[str]) -> StandIn:
    """DHIS2 after it refused the login of a message that waits."""
    aws.put_dhis2_credentials("pusher", WRONG)
    batch = batch_of([value_of("SOH_368c74bf")], settings_of(dhis2.url))
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody=batch.body)
    deliver(aws, capsys)
    assert aws.breaker().state is State.LOGIN_REFUSED
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


def test_closed_breaker(aws: Aws, dhis2: StandIn, ask: Invoke) -> None:
    report = ask({}).answer
    assert report["connected"] is True, dhis2.url
    assert check_of_queue(report) is None
    assert aws.breaker().state is State.CLOSED


def test_success_closes_it(aws: Aws, refused: StandIn, ask: Invoke) -> None:
    # The account was fixed in DHIS2: the login is the one that was refused.
    refused.users["pusher"] = User(username="pusher", password=WRONG)
    check = check_of_queue(ask({}).answer)
    assert check is not None
    assert check["ok"] is True
    assert "was paused on" in check["message"]
    assert "(Pacific/Auckland)" in check["message"]
    assert (
        "Values are sent again: 1 message waits, and each is sent within about 1 minute" in check["message"]
    )
    assert aws.breaker().state is State.CLOSED
    assert aws.breaker().refused == ()


def test_failure_tells_why(aws: Aws, refused: StandIn, ask: Invoke) -> None:
    tested = ask({})
    assert set(logins(refused)) == {401}
    check = check_of_queue(tested.answer)
    assert check is not None
    assert check["ok"] is False
    assert "Sending has been paused since" in check["message"]
    (login,) = (each for each in tested.answer["checks"] if each["name"] == "login")
    assert login["message"].startswith("Authentication failed")
    assert "because DHIS2 refused the login. 1 message waits" in check["message"]
    assert "1 message waits" in check["message"]
    assert aws.breaker().state is State.LOGIN_REFUSED


def test_token_that_may_not_post(aws: Aws, refused: StandIn, ask: Invoke) -> None:
    token = new_token("only-get")
    refused.tokens[token] = PersonalAccessToken(username="pusher", token=SecretStr(token), methods=("GET",))
    aws.secretsmanager.put_secret_value(SecretId="stack/dhis2", SecretString=json.dumps({"token": token}))
    report = ask({}).answer
    (trial,) = (check for check in report["checks"] if check["name"] == "trial call")
    assert report["connected"] is True
    assert "Both GET and POST are needed" in trial["message"]
    check = check_of_queue(report)
    assert check is not None
    assert "Sending has been paused" in check["message"]
    assert aws.breaker().state is State.LOGIN_REFUSED


def test_refusal_opens_it(aws: Aws, dhis2: StandIn, ask: Invoke, capsys: pytest.CaptureFixture[str]) -> None:
    aws.put_dhis2_credentials("pusher", WRONG)
    ask({})
    assert aws.breaker().state is State.LOGIN_REFUSED
    dhis2.requests.clear()
    batch = batch_of([value_of("SOH_368c74bf")], settings_of(dhis2.url))
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody=batch.body)
    assert deliver(aws, capsys).again
    assert dhis2.requests == []


def test_dhis2_down(aws: Aws, refused: StandIn, ask: Invoke) -> None:
    before = aws.breaker()
    refused.faults.next(FaultKind.STATUS, times=None, status=503)
    check = check_of_queue(ask({}).answer)
    assert check is not None
    assert check["ok"] is False
    assert aws.breaker() == before
    assert aws.breaker().state is State.LOGIN_REFUSED


def test_no_secret_is_written(aws: Aws, refused: StandIn, ask: Invoke) -> None:
    said = [ask({}), ask(PROBE)]
    aws.put_dhis2_credentials("pusher", PASSWORD)
    said += [ask(PROBE), ask({})]
    assert logins(refused)
    written = str([(one.answer, one.lines) for one in said]) + str(aws.table.scan()["Items"])
    assert "mark3d" not in written


# ------------------------------------------------------------------------------------------------------ the probe


def test_probe_when_closed(aws: Aws, dhis2: StandIn, ask: Invoke) -> None:
    aws.ssm.delete_parameter(Name="/stack/settings")
    probed = ask(PROBE)
    assert probed.answer["breaker"] == "closed"
    assert probed.metric("BreakerOpenMinutes") == 0
    assert [line for line in probed.lines if "message" in line] == []
    assert dhis2.requests == []


def test_probe_not_the_same_login(aws: Aws, refused: StandIn, ask: Invoke) -> None:
    probed = ask(PROBE)
    assert refused.requests == []
    assert probed.answer["breaker"] == "open (login refused)"
    assert probed.metric("BreakerOpenMinutes") > 0
    # The log has a line for each change of state, and not one for each look.
    assert [line for line in probed.lines if "message" in line] == []
    assert aws.breaker().state is State.LOGIN_REFUSED


@pytest.mark.parametrize("finder", ["push", "connection test", "probe"])
def test_refusal_raises_alarm(
    aws: Aws, dhis2: StandIn, ask: Invoke, capsys: pytest.CaptureFixture[str], finder: str
) -> None:
    batch = batch_of([value_of("SOH_368c74bf")], settings_of(dhis2.url))
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody=batch.body)
    aws.put_dhis2_credentials("pusher", WRONG)
    if finder == "probe":
        down = Breaker(State.DHIS2_DOWN, "DHIS2 is away.", datetime.now(UTC), failures=3, version=1)
        BreakerTable(aws.table, lambda _: None).change(lambda _: down)
    found = deliver(aws, capsys) if finder == "push" else ask(PROBE if finder == "probe" else {})
    assert aws.breaker().state is State.LOGIN_REFUSED
    alarm = template_resources()["LoginRefusedAlarm"]["Properties"]
    (metric,) = [line for line in found.lines if alarm["MetricName"] in line]
    assert [{"Name": "service", "Value": metric["service"]}] == alarm["Dimensions"]
    assert metric[alarm["MetricName"]] == [1]


def test_probe_new_secret(aws: Aws, refused: StandIn, ask: Invoke) -> None:
    aws.put_dhis2_credentials("pusher", PASSWORD)
    probed = ask(PROBE)
    assert logins(refused) == [200]
    assert probed.answer["breaker"] == "closed"
    assert probed.metric("BreakerOpenMinutes") == 0
    assert probed.said("Values are sent again")
    assert aws.breaker().state is State.CLOSED
    assert len(aws.breaker().refused) == 1, "the one before stays refused"


def test_probe_same_password_anew(aws: Aws, refused: StandIn, ask: Invoke) -> None:
    # As after the account was unlocked in DHIS2.
    aws.put_dhis2_credentials("pusher", WRONG)
    ask(PROBE)
    ask(PROBE)
    assert logins(refused) == [401]


def test_probe_wrong_new_secret(aws: Aws, refused: StandIn, ask: Invoke) -> None:
    before = aws.breaker()
    aws.put_dhis2_credentials("pusher", "wr0ng-mark3d-too")
    for _ in range(2):
        assert ask(PROBE).answer["breaker"] == "open (login refused)"
    assert logins(refused) == [401]
    after = aws.breaker()
    assert [login.user for login in after.refused] == ["pusher", "pusher"]
    assert after.refused[0].version != after.refused[1].version
    assert after.since == before.since


def test_probe_new_address(aws: Aws, refused: StandIn, ask: Invoke) -> None:
    corrected = settings_of(refused.url.replace("127.0.0.1", "localhost"))
    aws.put_settings(corrected.compact())
    ask(PROBE)
    ask(PROBE)
    assert logins(refused) == [401]


@pytest.mark.parametrize(("status", "is_told"), [(503, False), (404, True)])
def test_probe_other_fault(aws: Aws, refused: StandIn, ask: Invoke, status: int, *, is_told: bool) -> None:
    aws.put_dhis2_credentials("pusher", PASSWORD)
    refused.faults.next(FaultKind.STATUS, times=1, status=status)
    assert bool(ask(PROBE).said("The login could not be tried")) == is_told
    assert aws.breaker().state is State.LOGIN_REFUSED
    assert ask(PROBE).answer["breaker"] == "closed"
    assert aws.breaker().state is State.CLOSED


def test_probe_faulty_settings(aws: Aws, refused: StandIn, ask: Invoke) -> None:
    aws.put_settings("setup: nonsense")
    probed = ask(PROBE)
    assert probed.answer["breaker"] == "open (login refused)"
    assert probed.said("The login could not be tried")
    assert refused.requests == []


def test_probe_restored_secret(
    aws: Aws, refused: StandIn, ask: Invoke, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = aws.secretsmanager.get_secret_value(SecretId="stack/dhis2")["VersionId"]
    aws.put_dhis2_credentials("pusher", PASSWORD)
    assert ask(PROBE).answer["breaker"] == "closed"
    # Moto moves the label AWSCURRENT without minding it.
    backend = get_backend("secretsmanager")["123456789012"]["us-east-1"]
    backend.secrets["stack/dhis2"].default_version_id = bad  # type: ignore[misc]  # of a replica it is
    assert aws.secretsmanager.get_secret_value(SecretId="stack/dhis2")["VersionId"] == bad
    refused.requests.clear()
    batch = batch_of([value_of("SOH_368c74bf")], settings_of(refused.url))
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody=batch.body)
    pushed = deliver(aws, capsys)
    assert pushed.again
    (line,) = pushed.said("Sending has been paused since")
    assert "DHIS2 was not asked" in line["message"]
    ask(PROBE)
    assert refused.requests == []
    assert aws.breaker().state is State.LOGIN_REFUSED
