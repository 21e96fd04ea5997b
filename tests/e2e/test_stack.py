"""The stack as it is deployed: built with sam, on the emulator of AWS, with the template's roles enforced."""

import contextlib
import importlib.util
import io
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from cli.__main__ import main
from cli.console.stack_today import read_known
from cli.credentials import PendingSecret
from cli.stack import FunctionFailedError, LogRecord
from msupply_dhis2.periods import Interval
from msupply_dhis2.settings import parse_settings
from sandbox.demo import Run, outcomes_of, prove, wait_for_all
from sandbox.dhis2 import FaultKind
from sandbox.sample_world import DHIS2_USER, TIME_ZONE
from sandbox.tools import INTERPRETER
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.e2e.conftest import World
else:
    World = Any

type Command = Callable[..., Any]

FUNCTIONS = ("ComputeFunction", "PushFunction", "TestConnectionFunction", "WatchdogFunction")
# What Lambda has installed for every Python function; their own dependencies are in our layer.
RUNTIME_PACKAGES = ("boto3", "botocore", "s3transfer", "dateutil", "six")


def push_by_hand(world: World, **event: object) -> Run:
    result = world.emulator.stack.invoke("ComputeFunction", {"manual": True, **event})
    assert result["status"] in {"sent", "dry run"}, result["message"]
    return Run(result["run_id"], result["values"], result["batches"])


# ------------------------------------------------------------------------------------------------- what was built


@pytest.mark.parametrize("function", FUNCTIONS)
def test_imports(deployed: World, function: str, tmp_path: Path) -> None:
    # The emulator's own packages would hide one that is missing.
    for package in RUNTIME_PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        origin = origin.parent if origin.name == "__init__.py" else origin
        (tmp_path / origin.name).symlink_to(origin)
    paths = [
        str(deployed.emulator.built_function(function)),
        str(deployed.emulator.built_layer),
        str(tmp_path),
    ]
    finished = subprocess.run(
        [INTERPRETER, "-I", "-S", "-c", f"import sys; sys.path[:0] = {paths!r}; import app"],
        env={"POWERTOOLS_METRICS_NAMESPACE": "test", "AWS_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


def test_schedules(
    deployed: World,
) -> None:
    schedules = deployed.emulator.stack.client("scheduler").list_schedules()["Schedules"]
    assert sorted(schedule["Name"] for schedule in schedules) == [
        "msupply-dhis2-daily",
        "msupply-dhis2-first-day-of-month",
        "msupply-dhis2-last-day-of-month",
        "msupply-dhis2-monthly",
        "msupply-dhis2-probe",
        "msupply-dhis2-watchdog",
        "msupply-dhis2-weekly",
    ]


# ---------------------------------------------------------------------------------------------- test connection


def test_first_page(world: World) -> None:
    run = push_by_hand(world)
    wait_for_all(world.emulator, run)
    stack, url = world.emulator.stack, parse_settings(world.settings).url
    known = read_known(stack, url, datetime.now(UTC), ZoneInfo(TIME_ZONE))
    assert known.faults == []
    assert known.runs[0].said.startswith(f"{run.values:,} values: ")
    assert known.runs[0].of_all
    assert known.last is not None
    assert known.last.user == DHIS2_USER
    assert set(known.schedules) == set(Interval)
    assert (known.waiting, known.not_delivered) == (0, 0)
    assert known.database.startswith("Its address was entered on")


def test_typed_login(world: World) -> None:
    stack = world.emulator.stack
    client, secret = stack.client("secretsmanager"), stack.resource("Dhis2Secret")
    refused = PendingSecret(secret, world.login_with(SecretStr("wrong")), client)
    report = stack.test_connection({"secret_version": refused.version})
    assert report.message == "Authentication failed"
    assert not world.is_paused
    refused.discard()
    # The running stack has never seen it.
    assert stack.test_connection().connected
    accepted = PendingSecret(secret, world.login, client)
    assert stack.test_connection({"secret_version": accepted.version}).connected
    accepted.promote()
    current = client.get_secret_value(SecretId=secret)
    assert (current["VersionId"], current["SecretString"]) == (accepted.version, world.login)


def test_connection_successful(world: World) -> None:
    report = world.emulator.stack.invoke("TestConnectionFunction", {})
    assert report["connected"] is True
    assert report["message"] == "Connection successful"
    assert [check["name"] for check in report["checks"] if not check["ok"]] == []
    assert "database" in {check["name"] for check in report["checks"]}
    assert TIME_ZONE in report["last_successful_connection"]


def test_wrong_password(world: World) -> None:
    before = world.emulator.stack.invoke("TestConnectionFunction", {})["last_successful_connection"]
    world.emulator.put_secret("Dhis2Secret", world.login_with(SecretStr("mistyped")))
    report = world.emulator.stack.invoke("TestConnectionFunction", {})
    assert report["connected"] is False
    assert report["message"] == "Authentication failed"
    assert report["last_successful_connection"] == before


def test_missing_settings(world: World) -> None:
    ssm = world.emulator.stack.client("ssm")
    ssm.delete_parameter(Name=f"/{world.emulator.name}/settings")
    result = world.emulator.stack.invoke("ComputeFunction", {"manual": True})
    assert result["status"] == "failed"
    assert "make settings" in result["message"]
    assert f"/{world.emulator.name}/settings" in result["message"]


def test_no_password_in_logs(world: World) -> None:
    world.emulator.stack.invoke("TestConnectionFunction", {})
    secrets = (world.password.get_secret_value(), world.database.password.get_secret_value())
    for function in FUNCTIONS:
        logged = " ".join(f"{line.message} {line.fields}" for line in world.emulator.stack.logs(function))
        assert not any(secret in logged for secret in secrets), function


# -------------------------------------------------------------------------------------------------- manual push


def test_manual_push(world: World) -> None:
    run = push_by_hand(world)
    outcomes = wait_for_all(world.emulator, run)
    prove(run, outcomes)
    assert outcomes.counts.rejected == 0
    assert outcomes.counts.stored + outcomes.counts.unchanged == run.values == len(world.dhis2.values)


def test_same_run_again(world: World) -> None:
    # Not earlier: values about an earlier instant would not replace those of the pushes before.
    as_of = datetime.now(ZoneInfo(TIME_ZONE)).isoformat()
    first = push_by_hand(world, as_of=as_of)
    wait_for_all(world.emulator, first)
    held = dict(world.dhis2.values)
    second = push_by_hand(world, as_of=as_of)
    assert second.id == first.id
    until(
        lambda: outcomes_of(world.emulator, second).counts.sent == 2 * second.values,
        "the second push did not come to its end",
    )
    assert dict(world.dhis2.values) == held


def test_dry_run(world: World) -> None:
    run = push_by_hand(world, dry_run=True)
    assert run.values > 0
    assert world.emulator.stack.depth("BatchQueue").is_empty
    assert [request for request in world.dhis2.requests if request.method == "POST"] == []


def test_push_by_hand(world: World) -> None:
    with pytest.raises(FunctionFailedError) as failure:
        world.emulator.stack.invoke("PushFunction", {"manual": True})
    assert 'invoke compute with {"manual": true}' in failure.value.message


# --------------------------------------------------------------------------- export, held values, stopping a run


@pytest.fixture
def command(world: World, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return what runs a command on the stack, and returns the JSON that it printed."""
    for name, value in world.emulator.environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Any:  # noqa: ANN401 - as JSON has it
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            assert main([*arguments, "--stack", world.emulator.name, "--format", "json"]) == 0
        return json.loads(printed.getvalue())

    return run


def test_preview_is_what_arrives(world: World, command: Command) -> None:
    as_of = datetime.now(ZoneInfo(TIME_ZONE)).isoformat()
    previewed = command("preview", "--as-of", as_of)
    assert not world.dhis2.values
    run = push_by_hand(world, as_of=as_of)
    wait_for_all(world.emulator, run)
    assert len(previewed) == run.values
    assert sorted(value["value"] for value in previewed) == sorted(world.dhis2.values.values())

    # What DHIS2 holds, and who stored it.
    (period,) = {value["period"] for value in previewed}
    value = previewed[0]
    held = command("held", "--org-unit", value["org_unit"], "--period", period)
    of_org_unit = sorted(each["value"] for each in previewed if each["org_unit"] == value["org_unit"])
    assert sorted(each["value"] for each in held) == of_org_unit
    assert {each["stored_by"] for each in held} == {DHIS2_USER}

    # One value, from its movements to what DHIS2 holds.
    explained = command(
        "explain",
        *("--store", value["org_unit"], "--item", value["item"].partition("; ")[0]),
        *("--metric", value["metric"], "--period", value["period"]),
    )
    assert explained["value"] == value["value"]
    assert explained["formula"]
    *of_runs, told = explained["way"]
    assert any(each.startswith(f"Run {run.id} ") for each in of_runs)
    assert told.startswith(f"DHIS2 holds {value['value']}, the same: stored by {DHIS2_USER}, ")

    # The org units of all stores.
    mapping = world.emulator.stack.invoke("ComputeFunction", {"export": "mapping"})
    lines = list(world.emulator.stack.lines_of_file(mapping["file"]))
    org_units = {line["org_unit"] for line in lines if line["kind"] == "store"}
    assert org_units == {each["org_unit"] for each in previewed}


def test_stopped_run(world: World) -> None:
    world.switch(on=False)
    run = push_by_hand(world)
    answer = world.emulator.stack.invoke("PushFunction", {"stop": run.id})
    assert answer["waiting"] == run.values
    world.switch(on=True)
    until(lambda: world.emulator.stack.depth("BatchQueue").is_empty, "push did not take the messages")
    assert not world.dhis2.values
    again = world.emulator.stack.invoke("PushFunction", {"stop": run.id})
    assert again["waiting"] == 0
    assert "has ended already (incomplete)" in again["message"]


# ------------------------------------------------------------------------------------------------------ schedules


def test_schedule(world: World) -> None:
    now = datetime.now(ZoneInfo(TIME_ZONE))
    last_month = now.replace(day=1) - timedelta(days=1)
    scheduled = now.astimezone(ZoneInfo("UTC")).strftime("%Y-%m-%dT%H:%M:%SZ")
    world.emulator.stack.invoke_asynchronously(
        "ComputeFunction", {"interval": "monthly", "scheduled_time": scheduled}
    )
    runs: list[Run] = []

    def has_run() -> bool:
        runs[:] = [
            Run(line.fields["run_id"], line.fields["values"], line.fields["batches"])
            for line in world.emulator.stack.logs("ComputeFunction")
            if line.fields.get("started_by") == "monthly"
        ]
        return bool(runs)

    until(has_run, "compute did not run")
    prove(runs[0], wait_for_all(world.emulator, runs[0]))
    assert f"{last_month:%Y%m}" in {key.period for key in world.dhis2.values}


def test_interval_without_rows(world: World) -> None:
    result = world.emulator.stack.invoke("ComputeFunction", {"interval": "weekly"})
    assert result["status"] == "nothing to do"
    assert "weekly" in result["message"]


def test_failed_schedule(world: World) -> None:
    world.emulator.put_settings("setup: nonsense")
    before = len(world.emulator.stack.logs("ComputeFunction"))
    world.emulator.stack.invoke_asynchronously("ComputeFunction", {"interval": "daily"})
    until(lambda: world.emulator.stack.depth("FailedRunQueue").waiting == 1, "the failed run was not kept")
    errors = [line for line in world.emulator.stack.logs("ComputeFunction")[before:] if line.level == "ERROR"]
    assert len([line for line in errors if "etup" in line.message]) >= 3


# ----------------------------------------------------------------------------------- when DHIS2 does not take it


def refused(world: World) -> Run:
    """Push with a wrong password and wait until nothing moves any more."""
    settings = parse_settings(world.settings)
    small = settings.model_copy(update={"items_per_payload": settings.items_per_payload // 40})
    world.emulator.put_settings(small.compact())
    world.emulator.put_secret("Dhis2Secret", world.login_with(SecretStr("expired")))
    run = push_by_hand(world)
    assert run.batches > 4, "there must be more messages than functions that work at once"
    until(lambda: world.is_paused, "the breaker did not open")
    until(lambda: world.emulator.stack.depth("BatchQueue").waiting == 0, "not all messages were put back")
    return run


def put_back(world: World, run: Run) -> list[LogRecord]:
    return [
        line
        for line in world.emulator.stack.logs("PushFunction")
        if line.fields.get("run_id") == run.id and "back to the queue" in line.message
    ]


def waiting(world: World) -> int:
    depth = world.emulator.stack.depth("BatchQueue")
    return depth.waiting + depth.in_flight


def test_refused_login(
    world: World,
) -> None:
    run = refused(world)
    assert world.failed_logins == 1
    assert waiting(world) == run.batches
    assert world.emulator.stack.depth("FailedBatchQueue").is_empty
    assert outcomes_of(world.emulator, run).batches == (), "a refused batch must not be called finished"

    # The probe knows the login, and does not try it.
    probed = world.emulator.stack.invoke("TestConnectionFunction", {"probe": True})
    assert probed["breaker"] == "open (login refused)"
    assert world.failed_logins == 1
    assert world.is_paused

    # With the right password it closes the breaker, and every value arrives.
    world.emulator.put_secret("Dhis2Secret", world.login)
    probed = world.emulator.stack.invoke("TestConnectionFunction", {"probe": True})
    assert probed["breaker"] == "closed"
    assert not world.is_paused
    prove(run, wait_for_all(world.emulator, run))
    assert world.failed_logins == 1


def test_connection_test_closes(world: World) -> None:
    run = refused(world)

    # The watchdog leaves alone what waits while sending is paused.
    looked = world.emulator.stack.invoke("WatchdogFunction", {})
    assert looked == {"message": "Nothing to do.", "findings": []}
    assert waiting(world) == run.batches
    assert world.emulator.stack.depth("FailedBatchQueue").is_empty

    # The account is fixed in DHIS2, the secret stays as it is.
    before = world.dhis2.users[DHIS2_USER]
    world.dhis2.users[DHIS2_USER] = before.model_copy(update={"password": SecretStr("expired")})
    try:
        report = world.emulator.stack.invoke("TestConnectionFunction", {})
        (check,) = [check for check in report["checks"] if check["name"] == "queue"]
        assert (report["connected"], check["ok"]) == (True, True)
        assert "Values are sent again" in check["message"]
        assert not world.is_paused
        prove(run, wait_for_all(world.emulator, run))
    finally:
        world.dhis2.users[DHIS2_USER] = before
        world.dhis2.forget_sessions()


def test_unavailable_dhis2(
    world: World,
) -> None:
    # Push waits for the first by itself and calls once more.
    world.dhis2.faults.next(
        FaultKind.TOO_MANY_REQUESTS, path="dataValueSets", method="POST", times=2, seconds=1
    )
    run = push_by_hand(world)
    prove(run, wait_for_all(world.emulator, run))
    (line,) = put_back(world, run)
    assert line.fields["wait"] == 1


def test_settled_not_recounted(world: World) -> None:
    # The first call is too large and sent as halves; the first half is stored, and the second is refused for the moment.
    world.dhis2.faults.next(FaultKind.TOO_LARGE, method="POST", times=1, size=1)
    world.dhis2.faults.next(FaultKind.TOO_MANY_REQUESTS, method="POST", times=2, after=1, seconds=1)
    run = push_by_hand(world)
    outcomes = wait_for_all(world.emulator, run)
    assert len(outcomes.batches) == run.batches + 1
    prove(run, outcomes)
    assert outcomes.counts.stored == run.values == len(world.dhis2.values)


# --------------------------------------------------------------------------------------------------------- rights


@pytest.mark.parametrize("right", ["ReadDatabaseAddress", "SendBatches"])
def test_roles(world: World, right: str) -> None:
    iam = world.emulator.stack.client("iam")
    name, policy = world.emulator.stack.resource("ComputeRole"), "compute"
    document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
    rights = [statement for statement in document["Statement"] if statement["Sid"] != right]
    assert len(rights) == len(document["Statement"]) - 1
    put = {"RoleName": name, "PolicyName": policy}
    iam.put_role_policy(**put, PolicyDocument=json.dumps({**document, "Statement": rights}))
    try:
        answer = ask_for_a_push(world)
    finally:
        iam.put_role_policy(**put, PolicyDocument=json.dumps(document))
    assert "AccessDenied" in answer
    push_by_hand(world, dry_run=True)


def ask_for_a_push(world: World) -> str:
    try:
        result = world.emulator.stack.invoke("ComputeFunction", {"manual": True})
    except FunctionFailedError as error:
        return error.message
    assert result["status"] == "failed", result
    return str(result["message"])


# ------------------------------------------------------------------------------------------------ deploying again


def test_deployment_keeps_settings(world: World) -> None:
    world.emulator.deploy(Timezone=TIME_ZONE, LogRetentionDays="30", LinesPerInvocation="3000000")
    ssm, secrets = world.emulator.stack.client("ssm"), world.emulator.stack.client("secretsmanager")
    settings = ssm.get_parameter(Name=f"/{world.emulator.name}/settings")["Parameter"]["Value"]
    login = secrets.get_secret_value(SecretId=world.emulator.stack.resource("Dhis2Secret"))["SecretString"]
    assert (settings, login) == (world.settings, world.login)
    groups = world.emulator.stack.client("logs").describe_log_groups()["logGroups"]
    assert {group["retentionInDays"] for group in groups} == {30}
    compute = world.emulator.stack.client("lambda").get_function_configuration(
        FunctionName=world.emulator.stack.resource("ComputeFunction")
    )
    assert compute["Environment"]["Variables"]["LINES_PER_INVOCATION"] == "3000000"
    assert world.emulator.stack.invoke("TestConnectionFunction", {})["connected"] is True
