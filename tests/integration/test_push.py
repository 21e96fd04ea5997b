"""Push against the stand-in for DHIS2, as the function does it: messages in, fates out."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest

from local.dhis2 import FaultKind, StandIn, User, stock_metadata
from msupply_dhis2.aws import clients
from msupply_dhis2.aws import push as push_on_aws
from msupply_dhis2.batches import Batch, encode
from msupply_dhis2.connections import record_success
from msupply_dhis2.errors import EventError
from msupply_dhis2.mapping import DataValue
from msupply_dhis2.metrics.metric import Metric
from msupply_dhis2.settings import Scheme, parse_settings
from tests.conftest import Aws
from tests.support.functions import Context, Invocation, delivery, handler_of
from tests.support.functions import invoke as invoke_function

VERSIONS = ("2.37", "2.40", "2.41", "2.42", "2.43")
ORG_UNITS = [("OU_KAMO", "Kamo"), ("OU_OPUA", "Opua")]
REFERENCES = [("368c74bf", "Amoxicillin 250mg tabs"), ("45bfa4bf", "Ibuprofen 200mg tabs")]
NOW = date(2026, 2, 10)
PASSWORD = "mark3d-secret"


@pytest.fixture(params=VERSIONS)
def any_dhis2(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    yield from stand_in(request.param)


@pytest.fixture
def dhis2() -> Iterator[StandIn]:
    yield from stand_in("2.42")


def stand_in(version: str, **of_metadata: Any) -> Iterator[StandIn]:  # noqa: ANN401 handed on
    metadata = stock_metadata(ORG_UNITS, REFERENCES, [metric.value for metric in Metric], **of_metadata)
    user = User(username="pusher", password=PASSWORD)
    with StandIn(metadata, version=version, users=[user], now=NOW) as server:
        yield server


def document(dhis2: StandIn, *, use_dhis2: bool = True) -> str:
    return json.dumps(
        {
            "use_dhis2": use_dhis2,
            "basic_authentication": True,
            "url": dhis2.url,
            "setup": "data_element_per_item",
            "data_elements": [
                {
                    "metric": "stock_on_hand",
                    "active": True,
                    "custom_field_name": "user_field_1",
                    "interval": "monthly",
                    "basis": "previous_month",
                }
            ],
            "data_set_id": "STOCK_PER_ITEM",
            "data_set_id_scheme": "code",
            "period_format": "YYYYMM",
            "data_element_id_scheme": "code",
            "org_unit_scheme": "code",
        }
    )


def value(
    data_element: str, number: str = "12", org_unit: str = "OU_KAMO", period: str = "202601"
) -> DataValue:
    names = dict(REFERENCES)
    return DataValue(
        data_element=data_element,
        period=period,
        org_unit=org_unit,
        category_option_combo=None,
        attribute_option_combo=None,
        option_combo_scheme=Scheme.UID,
        value=number,
        store=dict(ORG_UNITS).get(org_unit, "Nowhere"),
        item=names.get(data_element.partition("_")[2], "Bandage"),
        metric=Metric.STOCK_ON_HAND,
    )


def batch_of(values: Sequence[DataValue], dhis2: StandIn) -> Batch:
    settings = parse_settings(document(dhis2))
    return encode(values, run_id="run-1", as_of=datetime(2026, 2, 10, tzinfo=UTC), settings=settings)


class Pushed(Invocation):
    """An invocation of push, and the fates it tells."""

    @property
    def again(self) -> list[str]:
        return [failure["itemIdentifier"] for failure in self.answer["batchItemFailures"]]

    def counts(self) -> tuple[int, int, int, int, int]:
        (line,) = self.said("Batch: ")
        return line["sent"], line["stored"], line["unchanged"], line["rejected"], line["unaccounted"]

    def rejected(self) -> list[dict[str, Any]]:
        return self.said(": rejected. ")


@pytest.fixture
def push(aws: Aws, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Pushed]]:
    push_on_aws.forget_logins()

    def invoke(dhis2: StandIn, *bodies: str, use_dhis2: bool = True, password: str = PASSWORD) -> Pushed:
        aws.put_settings(document(dhis2, use_dhis2=use_dhis2))
        aws.put_dhis2_credentials("pusher", password)
        pushed = invoke_function("push", delivery(*bodies), capsys)
        return Pushed(pushed.answer, pushed.lines)

    yield invoke
    push_on_aws.forget_logins()


def test_a_batch_is_stored_and_sent_again_it_is_not_counted_as_lost(
    any_dhis2: StandIn, push: Callable[..., Pushed]
) -> None:
    body = batch_of([value("SOH_368c74bf"), value("SOH_45bfa4bf", "0.5")], any_dhis2).encoded()
    first = push(any_dhis2, body)
    second = push(any_dhis2, body)
    assert first.counts() == (2, 2, 0, 0, 0)
    assert first.again == []
    sent, stored, unchanged, rejected, unaccounted = second.counts()
    assert (sent, stored + unchanged, rejected, unaccounted) == (2, 2, 0, 0)
    assert any_dhis2.value("SOH_368c74bf", "OU_KAMO", "202601") == "12"
    assert any_dhis2.value("SOH_45bfa4bf", "OU_KAMO", "202601") == "0.5"
    assert first.metric("ValuesStored") == 2


def test_one_call_is_made_for_one_message(dhis2: StandIn, push: Callable[..., Pushed]) -> None:
    bodies = [batch_of([value("SOH_368c74bf", str(number))], dhis2).encoded() for number in range(1, 4)]
    push(dhis2, *bodies)
    posts = [request for request in dhis2.requests if request.method == "POST"]
    assert [(request.path, request.values) for request in posts] == [("/api/dataValueSets", 1)] * 3


@pytest.mark.parametrize("version", ["2.37", "2.40", "2.41", "2.42"])
def test_a_refused_value_is_named_with_its_reason_and_cure_and_the_others_are_stored(
    version: str, push: Callable[..., Pushed]
) -> None:
    for dhis2 in stand_in(version):
        values = [value("SOH_368c74bf"), value("SOH_unknown"), value("SOH_45bfa4bf")]
        pushed = push(dhis2, batch_of(values, dhis2).encoded())
        assert pushed.counts() == (3, 2, 0, 1, 0)
        assert pushed.again == []
        (line,) = pushed.rejected()
        assert line["message"].startswith("Bandage, Kamo, stock on hand: rejected. ")
        assert (line["code"], line["data_element"], line["org_unit"]) == ("E7610", "SOH_unknown", "OU_KAMO")
        assert line["run_id"] == "run-1"


def test_from_2_43_an_unknown_identifier_is_told_apart_from_the_values_it_holds_back(
    push: Callable[..., Pushed],
) -> None:
    for dhis2 in stand_in("2.43"):
        values = [value("SOH_368c74bf"), value("SOH_unknown"), value("SOH_45bfa4bf")]
        pushed = push(dhis2, batch_of(values, dhis2).encoded())
        assert pushed.counts() == (3, 0, 0, 3, 0)
        by_item = {line["data_element"]: line["code"] for line in pushed.rejected()}
        assert by_item["SOH_unknown"].startswith("E8")
        assert by_item["SOH_368c74bf"] == by_item["SOH_45bfa4bf"] == "held_back"


def test_from_2_43_a_refusal_of_all_does_not_blame_each_value(push: Callable[..., Pushed]) -> None:
    for dhis2 in stand_in("2.43"):
        dhis2.metadata = dhis2.metadata.model_copy(
            update={
                "data_sets": tuple(
                    data_set.model_copy(update={"org_unit_ids": data_set.org_unit_ids[:1]})
                    for data_set in dhis2.metadata.data_sets
                )
            }
        )
        values = [value("SOH_368c74bf"), value("SOH_368c74bf", org_unit="OU_OPUA")]
        pushed = push(dhis2, batch_of(values, dhis2).encoded())
        assert pushed.counts() == (2, 0, 0, 2, 0)
        assert {line["code"] for line in pushed.rejected()} == {"E8022"}
        assert all(
            "may be about another value than this one" in line["message"] for line in pushed.rejected()
        )


def test_a_zero_that_dhis2_drops_is_unaccounted_and_named(push: Callable[..., Pushed]) -> None:
    for dhis2 in stand_in("2.42", zero_is_significant=False):
        pushed = push(dhis2, batch_of([value("SOH_368c74bf", "0"), value("SOH_45bfa4bf")], dhis2).encoded())
        assert pushed.counts() == (2, 1, 0, 0, 1)
        (line,) = pushed.said("Store zero data values")
        assert "Amoxicillin 250mg tabs, Kamo, stock on hand" in line["message"]


@pytest.mark.parametrize(
    ("kind", "of_fault"),
    [
        (FaultKind.STATUS, {"status": 502}),
        (FaultKind.STATUS, {"status": 503}),
        (FaultKind.STATUS, {"status": 500}),
        (FaultKind.CUT, {}),
        (FaultKind.CUT, {"after_import": True}),
        (FaultKind.TOO_MANY_REQUESTS, {"seconds": 1}),
        (FaultKind.TRANSIENT_CONFLICT, {}),
    ],
)
def test_what_may_pass_goes_back_to_the_queue_and_succeeds_later(
    dhis2: StandIn, push: Callable[..., Pushed], kind: FaultKind, of_fault: dict[str, Any]
) -> None:
    body = batch_of([value("SOH_368c74bf")], dhis2).encoded()
    dhis2.faults.next(kind, times=1, method="POST", **of_fault)
    failed = push(dhis2, body)
    assert failed.again == ["message-0"]
    assert failed.said("go back to the queue")
    assert failed.metric("BatchesToTryAgain") == 1
    again = push(dhis2, body)
    assert again.again == []
    assert dhis2.value("SOH_368c74bf", "OU_KAMO", "202601") == "12"


def test_one_failing_message_leaves_the_others_of_its_delivery_alone(
    dhis2: StandIn, push: Callable[..., Pushed]
) -> None:
    bodies = [batch_of([value("SOH_368c74bf", str(number))], dhis2).encoded() for number in (1, 2)]
    dhis2.faults.next(FaultKind.STATUS, times=1, method="POST", status=503)
    pushed = push(dhis2, *bodies)
    assert pushed.again == ["message-0"]
    assert dhis2.value("SOH_368c74bf", "OU_KAMO", "202601") == "2"


@pytest.mark.parametrize(
    ("kind", "of_fault", "says"),
    [
        (FaultKind.STATUS, {"status": 404}, "URL"),
        (FaultKind.STATUS, {"status": 403}, "F_DATAVALUE_ADD"),
        (FaultKind.STATUS, {"status": 413}, "No. of items per payload"),
        (FaultKind.LOGIN_PAGE, {}, "URL"),
        (FaultKind.REDIRECT, {}, "https"),
    ],
)
def test_a_permanent_failure_is_finished_and_every_value_is_named(
    dhis2: StandIn, push: Callable[..., Pushed], kind: FaultKind, of_fault: dict[str, Any], says: str
) -> None:
    dhis2.faults.next(kind, times=None, method="POST", **of_fault)
    pushed = push(dhis2, batch_of([value("SOH_368c74bf"), value("SOH_45bfa4bf")], dhis2).encoded())
    assert pushed.again == []
    assert pushed.counts() == (2, 0, 0, 2, 0)
    assert [line["item"] for line in pushed.rejected()] == [name for _, name in REFERENCES]
    assert all(says in line["message"] for line in pushed.rejected())


def test_refused_credentials_are_never_tried_again_and_the_message_waits_with_its_reason(
    aws: Aws, dhis2: StandIn, push: Callable[..., Pushed]
) -> None:
    bodies = [batch_of([value("SOH_368c74bf", str(number))], dhis2).encoded() for number in (1, 2, 3)]
    pushed = push(dhis2, *bodies, password="wr0ng-mark3d")
    assert pushed.again == []
    assert pushed.metric("BatchesDead") == 3
    dead = aws.messages(aws.dead_letter_queue_url)
    assert sorted(str(message["Body"]) for message in dead) == sorted(bodies)
    assert all("Authentication failed" in str(m["MessageAttributes"]["reason"]) for m in dead)
    assert len([request for request in dhis2.requests if request.status == 401]) == 1
    assert not dhis2.values


def test_a_corrected_password_is_used_at_once(aws: Aws, dhis2: StandIn, push: Callable[..., Pushed]) -> None:
    body = batch_of([value("SOH_368c74bf")], dhis2).encoded()
    push(dhis2, body, password="wr0ng-mark3d")
    (dead,) = aws.messages(aws.dead_letter_queue_url)
    assert push(dhis2, str(dead["Body"])).counts() == (1, 1, 0, 0, 0)


def test_a_refused_login_is_asked_again_once_a_connection_test_has_succeeded(
    aws: Aws, dhis2: StandIn, push: Callable[..., Pushed]
) -> None:
    body = batch_of([value("SOH_368c74bf")], dhis2).encoded()
    dhis2.faults.next(FaultKind.UNAUTHORIZED, times=1)
    assert push(dhis2, body).metric("BatchesDead") == 1
    (line,) = push(dhis2, body).said("DHIS2 is not asked again before")
    assert "unless a connection test succeeds" in line["message"]
    record_success(aws.table, dhis2.url, "pusher", datetime.now(UTC))
    assert push(dhis2, body).counts() == (1, 1, 0, 0, 0)


def test_a_table_out_of_reach_does_not_send_stored_values_again(
    dhis2: StandIn, push: Callable[..., Pushed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")
    clients.table.cache_clear()
    pushed = push(dhis2, batch_of([value("SOH_368c74bf")], dhis2).encoded())
    assert pushed.again == []
    assert pushed.counts() == (1, 1, 0, 0, 0)
    assert pushed.said("could not be noted")


def test_while_the_switch_is_off_waiting_batches_are_finished_as_not_sent(
    dhis2: StandIn, push: Callable[..., Pushed]
) -> None:
    pushed = push(dhis2, batch_of([value("SOH_368c74bf")], dhis2).encoded(), use_dhis2=False)
    assert pushed.again == []
    assert pushed.metric("ValuesNotSent") == 1
    assert pushed.said("Use DHIS2 is off")
    assert dhis2.requests == []


def test_settings_that_are_missing_put_the_batch_back(
    aws: Aws, dhis2: StandIn, push: Callable[..., Pushed]
) -> None:
    body = batch_of([value("SOH_368c74bf")], dhis2).encoded()
    assert push(dhis2, body).again == []
    aws.ssm.delete_parameter(Name="/stack/settings")
    response = handler_of("push")(delivery(body), Context())
    assert response["batchItemFailures"] == [{"itemIdentifier": "message-0"}]


def test_a_message_that_is_no_batch_goes_to_the_dead_letters_with_its_reason(
    aws: Aws, dhis2: StandIn, push: Callable[..., Pushed]
) -> None:
    assert push(dhis2, "hello").again == []
    (dead,) = aws.messages(aws.dead_letter_queue_url)
    assert dead["Body"] == "hello"
    assert "invoke compute" in str(dead["MessageAttributes"]["reason"])


@pytest.mark.parametrize(
    "event", [{}, {"manual": True}, {"Records": []}, {"Records": [{"eventSource": "aws:s3"}]}]
)
def test_invoked_by_hand_it_says_what_to_invoke_instead(aws: Aws, event: object) -> None:  # noqa: ARG001 sets the environment
    with pytest.raises(EventError, match="invoke compute with"):
        handler_of("push")(event, Context())


def test_an_answered_push_is_a_successful_connection(
    aws: Aws, dhis2: StandIn, push: Callable[..., Pushed]
) -> None:
    push(dhis2, batch_of([value("SOH_368c74bf")], dhis2).encoded())
    rows = aws.table.scan()["Items"]
    assert [row["id"] for row in rows] == [f"connection#{dhis2.url}#pusher"]


def test_the_session_is_kept_from_one_message_to_the_next(
    dhis2: StandIn, push: Callable[..., Pushed]
) -> None:
    body = batch_of([value("SOH_368c74bf")], dhis2).encoded()
    push(dhis2, body)
    # DHIS2 looks at the password at login only: who still gets in has kept the session.
    dhis2.users["pusher"] = User(username="pusher", password="changed")
    kept = push(dhis2, body)
    dhis2.forget_sessions()
    lost = push(dhis2, body)
    assert kept.counts()[0] == 1
    assert lost.metric("BatchesDead") == 1


def test_no_secret_reaches_log_queue_or_table(
    aws: Aws, dhis2: StandIn, push: Callable[..., Pushed], capsys: pytest.CaptureFixture[str]
) -> None:
    body = batch_of([value("SOH_368c74bf")], dhis2).encoded()
    said = [push(dhis2, body), push(dhis2, body, password="wr0ng-mark3d")]
    dhis2.faults.next(FaultKind.CUT, times=1)
    said.append(push(dhis2, body))
    written = json.dumps([pushed.lines for pushed in said]) + str(aws.table.scan()["Items"])
    written += str(aws.messages(aws.dead_letter_queue_url)) + capsys.readouterr().err
    assert "mark3d" not in written
