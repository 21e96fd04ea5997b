"""Test connection as the function does it: settings and secrets from AWS, the database asked of compute."""

import json
from collections.abc import Callable, Iterator

import pytest

from msupply_dhis2.aws import clients
from msupply_dhis2.state.breaker import Breaker
from sandbox.dhis2 import StandIn, User, stock_metadata
from tests.conftest import Aws
from tests.support.functions import ComputeAnswers, Invocation, invoke

PASSWORD = "mark3d-secret"


@pytest.fixture
def dhis2() -> Iterator[StandIn]:
    metadata = stock_metadata([("OU_KAMO", "Kamo")], [("368c74bf", "Amoxicillin")], ["stock_on_hand"])
    user = User(username="pusher", password=PASSWORD)
    with StandIn(metadata, version="2.42", users=[user]) as server:
        yield server


@pytest.fixture
def run(
    aws: Aws, dhis2: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Invocation]:
    aws.put_settings(document(dhis2.url))
    aws.put_dhis2_credentials("pusher", PASSWORD)
    mapped = {"stores": [["Kamo", "KAM", "OU_KAMO"]], "items": [["Amoxicillin", "AMX", ["368c74bf"]]]}
    reached = {"status": "database reached", "message": "mSupply's database answers.", "mapped": mapped}

    def test(compute: ComputeAnswers | None = None, event: object = None) -> Invocation:
        answers = compute or ComputeAnswers(reached)
        monkeypatch.setattr(clients, "lambda_", lambda: answers)
        return invoke("test_connection", event or {}, capsys)

    return test


def document(url: str, *, use_dhis2: bool = True) -> str:
    return json.dumps(
        {
            "use_dhis2": use_dhis2,
            "basic_authentication": True,
            "url": url,
            "setup": "single_data_element",
            "data_elements": [
                {"metric": "stock_on_hand", "active": True, "interval": "daily", "basis": "current_day"}
            ],
            "data_set_id": "STOCK_SINGLE",
            "data_set_id_scheme": "code",
            "period_format": "YYYYMM",
            "item_field_reference": "universal_code",
            "data_element_id_scheme": "code",
            "org_unit_scheme": "code",
        }
    )


def test_all_well(run: Callable[..., Invocation], dhis2: StandIn) -> None:
    tested = run()
    assert tested.answer["connected"] is True
    assert tested.answer["message"] == "Connection successful"
    assert tested.answer["server"]["version"].startswith("2.42")
    assert tested.answer["user"] == "pusher"
    assert all(check["ok"] for check in tested.answer["checks"])
    assert tested.said("Connection successful")
    assert tested.metric("ConnectionTestsSucceeded") == 1
    # It posts once, as push does, but no value.
    (trial,) = (request for request in dhis2.requests if request.method != "GET")
    assert (trial.method, trial.path, trial.values) == ("POST", "/api/dataValueSets", 0)
    assert dhis2.values == {}


def test_last_success_is_shown(aws: Aws, run: Callable[..., Invocation]) -> None:
    first = run().answer["last_successful_connection"]
    aws.put_dhis2_credentials("pusher", "wrong")
    failed = run()
    assert failed.answer["connected"] is False
    assert failed.answer["message"] == "Authentication failed"
    assert failed.answer["last_successful_connection"] == first
    assert first.endswith("(Pacific/Auckland)")
    assert failed.metric("ConnectionTestsSucceeded") == 0


def pending(aws: Aws, password: str) -> str:
    """Put a login into the secret that is not in force, and return its version."""
    content = json.dumps({"username": "pusher", "password": password})
    put = aws.secretsmanager.put_secret_value
    return put(SecretId="stack/dhis2", SecretString=content, VersionStages=["AWSPENDING"])["VersionId"]


def test_refused_typed_login(aws: Aws, run: Callable[..., Invocation]) -> None:
    tested = run(event={"typed": {"secret_version": pending(aws, "wrong")}})
    assert tested.answer["message"] == "Authentication failed"
    assert aws.breaker() == Breaker()
    assert run().answer["connected"] is True


def test_typed_login_beside_refused(aws: Aws, run: Callable[..., Invocation]) -> None:
    aws.put_dhis2_credentials("pusher", "wrong")
    assert run().answer["connected"] is False
    before = aws.breaker()
    typed = run(event={"typed": {"secret_version": pending(aws, PASSWORD)}})
    assert typed.answer["connected"] is True
    # It is not in force yet.
    assert aws.breaker() == before


def test_typed_settings_are_tried(aws: Aws, dhis2: StandIn, run: Callable[..., Invocation]) -> None:
    aws.put_settings(document("http://127.0.0.1:1"))
    typed = document(dhis2.url)
    compute = ComputeAnswers({"status": "failed", "message": "mSupply's database refused the login."})
    answer = run(compute, {"typed": {"settings": typed}}).answer
    assert answer["connected"] is True
    assert compute.invoked == [("stack-compute", {"check_database": True, "settings": typed})]
    assert run().answer["connected"] is False


def test_typed_login_that_is_gone(run: Callable[..., Invocation]) -> None:
    answer = run(event={"typed": {"secret_version": "0" * 32}}).answer
    assert "no longer has the version" in answer["message"]


def test_switch_off(aws: Aws, run: Callable[..., Invocation], dhis2: StandIn) -> None:
    aws.put_settings(document(dhis2.url, use_dhis2=False))
    answer = run().answer
    assert answer["connected"] is True
    assert any("Use DHIS2 is off" in check["message"] for check in answer["checks"])


def test_database_fault(
    run: Callable[..., Invocation],
) -> None:
    compute = ComputeAnswers({"status": "failed", "message": "mSupply's database refused the login."})
    answer = run(compute).answer
    assert compute.invoked == [("stack-compute", {"check_database": True})]
    assert answer["connected"] is True
    assert [check["message"] for check in answer["checks"] if not check["ok"]] == [
        "mSupply's database refused the login."
    ]


def test_compute_fault(run: Callable[..., Invocation]) -> None:
    compute = ComputeAnswers({"errorMessage": "Task timed out after 900.00 seconds"}, function_error=True)
    faults = [check["message"] for check in run(compute).answer["checks"] if not check["ok"]]
    assert faults == [
        "Compute failed when asked about mSupply's database: Task timed out after 900.00 seconds"
    ]


def test_two_faults(aws: Aws, run: Callable[..., Invocation]) -> None:
    aws.ssm.delete_parameter(Name="/stack/settings")
    compute = ComputeAnswers({"status": "failed", "message": "mSupply's database did not answer."})
    faults = [check["message"] for check in run(compute).answer["checks"] if not check["ok"]]
    assert any("make settings" in fault for fault in faults)
    assert "mSupply's database did not answer." in faults


def test_empty_credentials(aws: Aws, run: Callable[..., Invocation]) -> None:
    aws.secretsmanager.delete_secret(SecretId="stack/dhis2", ForceDeleteWithoutRecovery=True)
    aws.secretsmanager.create_secret(Name="stack/dhis2")
    answer = run().answer
    assert answer["connected"] is False
    assert "make credentials" in answer["message"]


def test_no_secret_is_written(aws: Aws, run: Callable[..., Invocation]) -> None:
    runs = [run()]
    aws.put_dhis2_credentials("pusher", "wr0ng-mark3d")
    runs.append(run())
    written = json.dumps([[tested.answer, tested.lines] for tested in runs]) + str(aws.table.scan()["Items"])
    assert "mark3d" not in written
