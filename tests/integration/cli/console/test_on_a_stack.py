"""The console on a stack: the functions do the work, and the settings are the stack's parameter."""

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import boto3
import pytest
from botocore.exceptions import ClientError

from cli.comparison import Line
from cli.console.stack_state import StackState
from cli.stack import Stack
from msupply_dhis2.dhis2.error_catalogue import explain
from msupply_dhis2.domain.batch import Message
from msupply_dhis2.domain.outcome import Reason, RejectedRow
from msupply_dhis2.preflight.check import Check
from msupply_dhis2.preflight.job import ConnectionReport, Server
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.settings.credentials import parse_database_address
from msupply_dhis2.state.breaker import BreakerTable
from msupply_dhis2.state.connections import record_success
from msupply_dhis2.state.rejected_rows import RejectedRows
from msupply_dhis2.state.run import Counts, Run
from msupply_dhis2.state.runs import Runs
from sandbox.aws_on_moto import BUCKET, Aws
from tests.integration.cli.console.conftest import SCRIPT
from tests.support.batches import value_of
from tests.support.console import Browser, Page
from tests.support.paths import PROJECT

NAME = "malawi"
PARAMETER = f"/{NAME}/settings"
A_ROLE = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
A_TABLE = {
    "AttributeDefinitions": [{"AttributeName": "run_id", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "run_id", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
}
SCHEDULES = {
    "MONTHLY_SCHEDULE": "cron(30 4 5 * ? *)",
    "WEEKLY_SCHEDULE": "cron(0 4 ? * MON *)",
    "DAILY_SCHEDULE": "cron(30 3 * * ? *)",
    "FIRST_DAY_OF_MONTH_SCHEDULE": "cron(0 3 1 * ? *)",
    "LAST_DAY_OF_MONTH_SCHEDULE": "cron(30 22 L * ? *)",
    "SCHEDULES_STATE": "ENABLED",
}
RESOURCES = {
    "RunsTable": {"Type": "AWS::DynamoDB::Table", "Properties": A_TABLE},
    "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": A_ROLE}},
    **{
        name: {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Runtime": "python3.13",
                "Handler": "index.handler",
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Code": {"ZipFile": "handler = None"},
                "Environment": {"Variables": {"TIMEZONE": "Africa/Blantyre", **variables}},
            },
        }
        for name, variables in {
            "ComputeFunction": {},
            "TestConnectionFunction": {},
            "WatchdogFunction": SCHEDULES,
        }.items()
    },
    **{name: {"Type": "AWS::SQS::Queue"} for name in ("BatchQueue", "FailedBatchQueue")},
}
OF_AWS = {"ReportBucket": BUCKET, "Dhis2Secret": "stack/dhis2", "DatabaseSecret": "stack/database"}
"""What the fixture makes, which moto's CloudFormation cannot."""
REPORT = ConnectionReport(
    connected=True,
    message="Connection successful",
    server=Server(version="2.42.5", name="Ministry of Health HMIS"),
    user="pusher",
    last_successful_connection="2026-11-01 03:30 (Africa/Blantyre)",
    checks=(
        Check(name="login", ok=True, message="DHIS2 authenticates pusher."),
        Check(name="stores", ok=False, message="1 store has no org unit.", details=(SCRIPT,)),
    ),
)
LINE = {
    "store": SCRIPT,
    "item": "Amoxicillin 250mg",
    "metric": "issued",
    "data_element": "AMO250",
    "org_unit": "OU_1",
    "period": "202610",
    "category_option_combo": None,
    "attribute_option_combo": "ISSUED",
    "value": "1234.5",
}
MAPPING: list[Line] = [
    {"kind": "store", "name": SCRIPT, "code": "KAM", "org_unit": "OU_1"},
    {"kind": "item", "name": "Amoxicillin 250mg", "code": "AMX", "data_elements": {"issued": "AMO250", "received": "AMO250"}},
]  # fmt: skip
HELD = {
    "data_element": "AMO250",
    "org_unit": "OU_1",
    "period": "202610",
    "category_option_combo": "HllvX50cXC0",
    "attribute_option_combo": "ISSUED",
    "value": "1200",
    "stored_by": "nurse",
    "last_updated": "2026-11-01T00:00:00",
}


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Return settings with an attribute option combo for each metric, as the answers here have them."""
    file = tmp_path / "settings.yaml"
    worked = (PROJECT / "docs" / "examples" / "category_option_combo.yaml").read_text(encoding="utf-8")
    file.write_text(worked.replace("use_dhis2: false", "use_dhis2: true"), encoding="utf-8")
    return file


@pytest.fixture
def asked() -> list[tuple[str, object]]:
    """Return what the functions were asked, which grows."""
    return []


@pytest.fixture
def may_call() -> bool:
    """Return whether the officer may invoke the functions."""
    return True


@pytest.fixture
def officer(
    aws: Aws,
    settings: Path,
    asked: list[tuple[str, object]],
    monkeypatch: pytest.MonkeyPatch,
    *,
    may_call: bool,
) -> Iterator[Browser[StackState]]:
    """Yield a browser at the console of a stack whose functions answer what they are told to."""
    template = json.dumps({"Resources": RESOURCES})
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(StackName=NAME, TemplateBody=template, Capabilities=["CAPABILITY_IAM"])
    compact = parse_settings(settings.read_text()).compact()
    aws.ssm.put_parameter(Name=PARAMETER, Type="String", Value=compact, Overwrite=True)
    files: dict[str, list[Line]] = {"values": [LINE], "mapping": MAPPING}
    for name, lines in files.items():
        body = gzip.compress("\n".join(map(json.dumps, lines)).encode())
        aws.s3.put_object(Bucket=BUCKET, Key=f"{name}.jsonl.gz", Body=body)

    def invoke(_: Stack, function: str, event: dict[str, object]) -> dict[str, object]:
        asked.append((function, event))
        if "held" in event:
            others = [
                {**HELD, "attribute_option_combo": name, "value": "7"} for name in ("RECEIVED", "OTHER")
            ]
            return {"status": "read", "message": "", "values": [HELD, *others], "left_out": {}}
        if function == "TestConnectionFunction":
            return REPORT.model_dump(mode="json")
        if function == "PushFunction":
            return {"message": "The run is stopped."}
        if "manual" in event:
            return {"status": "sent", "message": "5 values.", "values": 5, "run_id": "run-1"}
        return {
            "status": "exported",
            "message": "1 value.",
            "values": 1,
            "stores": 1,
            "periods": ["202610"],
            "file": f"s3://{BUCKET}/{event['export']}.jsonl.gz",
        }

    find = Stack.resource
    monkeypatch.setattr(Stack, "resource", lambda stack, name: OF_AWS.get(name) or find(stack, name))
    monkeypatch.setattr(Stack, "invoke", invoke)
    # Moto would run the function.
    monkeypatch.setattr(Stack, "may_call", lambda *_: may_call)
    yield Browser(StackState(NAME))
    cloudformation.delete_stack(StackName=NAME)
    aws.ssm.delete_parameter(Name=PARAMETER)


type Stacked = Browser[StackState]


def test_stack_and_login_shown(officer: Stacked) -> None:
    page = officer.open("/tab")
    assert "stack malawi in us-east-1, as arn:aws:" in page.text
    assert "Time zone Africa/Blantyre" in page.text
    assert "The settings are complete." in page.text


def test_titles_of_last_test(
    officer: Stacked,  # noqa: ARG001 - the stack
    aws: Aws,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    titles = {"server": "HMIS, 2.42.5", "data_set_id": "STOCK_ATTRIBUTE", "data_set": SCRIPT}
    record_success(aws.table, "https://dhis2.example.org/hmis", "pusher", datetime.now(UTC), titles)
    monkeypatch.setattr(Stack, "table", lambda *_: aws.table)
    page = Browser(StackState(NAME)).open("/tab")
    assert f"HMIS, 2.42.5, dhis2.example.org Data set {SCRIPT} (STOCK_ATTRIBUTE)" in page.text
    assert SCRIPT not in page.source


def test_saving_uploads(officer: Stacked, aws: Aws) -> None:
    page = officer.submit(officer.open("/tab"), "/tab", action="review", items_per_payload="321")
    assert "No. of items per payload (empty) 321 Saved, they are Version " in page.text
    page = officer.submit(page, "/tab/save")
    found = aws.ssm.get_parameter(Name=PARAMETER)["Parameter"]
    assert f"saved in version {found['Version']} of {PARAMETER}" in page.text
    assert parse_settings(found["Value"]).items_per_payload == 321
    assert f"The former ones are in version {found['Version'] - 1} of {PARAMETER}." in page.text


def test_concurrent_upload_is_kept(officer: Stacked, aws: Aws) -> None:
    page = officer.submit(officer.open("/tab"), "/tab", action="review", items_per_payload="321")
    theirs = aws.ssm.get_parameter(Name=PARAMETER)["Parameter"]["Value"].replace("{", '{"round_off":true,', 1)
    aws.ssm.put_parameter(Name=PARAMETER, Type="String", Value=theirs, Overwrite=True)
    refused = officer.submit(page, "/tab/save")
    assert "Somebody saved the settings after you opened this page." in refused.text
    assert re.search(r"It was \S+\.", refused.text)
    assert aws.ssm.get_parameter(Name=PARAMETER)["Parameter"]["Value"] == theirs


def test_typed_settings_are_tried_and_saved(
    officer: Stacked, asked: list[tuple[str, object]], aws: Aws
) -> None:
    officer.submit(officer.open("/tab"), "/tab", action="test", items_per_payload="321")
    page = officer.wait("/connection")
    ((function, event),) = asked
    assert function == "TestConnectionFunction"
    assert isinstance(event, dict)
    assert parse_settings(event["typed"]["settings"]).items_per_payload == 321
    assert "Connection successful" in page.text
    assert f"What you typed is saved in the parameter {PARAMETER}." in page.text
    assert "Ministry of Health HMIS, 2.42.5" in page.text
    assert SCRIPT not in page.source
    assert (
        parse_settings(aws.ssm.get_parameter(Name=PARAMETER)["Parameter"]["Value"]).items_per_payload == 321
    )


def test_saved_settings_are_tested(officer: Stacked, asked: list[tuple[str, object]]) -> None:
    officer.client.post("/connection")
    officer.wait("/connection")
    assert asked == [("TestConnectionFunction", {})]


OLD, NEW = "old-secret-pw", "new-secret-pw"


def in_force(aws: Aws) -> object:
    # By its label: without one moto goes on to return what was in force at first.
    found = aws.secretsmanager.get_secret_value(SecretId="stack/dhis2", VersionStage="AWSCURRENT")
    return json.loads(found["SecretString"])["password"]


def try_login(officer: Stacked, password: str = NEW) -> Page:
    fields = {"login.username": "pusher", "login.password": password}
    officer.submit(officer.open("/tab"), "/tab", action="test", **fields)
    return officer.wait("/connection")


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch, officer: Stacked) -> None:  # noqa: ARG001 - after its own
    """Have DHIS2 refuse what is typed."""
    refused = REPORT.model_copy(update={"connected": False, "message": "Authentication failed"})
    answer = refused.model_dump(mode="json")
    monkeypatch.setattr(Stack, "invoke", lambda *_: answer)


def test_accepted_login_is_promoted(officer: Stacked, asked: list[tuple[str, object]], aws: Aws) -> None:
    aws.put_dhis2_credentials("pusher", OLD)
    page = try_login(officer)
    (_, tried), probe = asked
    assert isinstance(tried, dict)
    assert tried.keys() == {"typed"}
    assert probe == ("TestConnectionFunction", {"probe": True})
    assert in_force(aws) == NEW
    assert "Connection successful" in page.text
    assert re.search(r"The login was set on \S+ \S+ \(Africa/Blantyre\)", officer.open("/tab").text)
    assert NEW not in page.source + officer.open("/tab").source + str(asked)


@pytest.mark.usefixtures("refusing")
def test_refused_login_is_discarded(officer: Stacked, aws: Aws) -> None:
    aws.put_dhis2_credentials("pusher", OLD)
    page = try_login(officer)
    assert in_force(aws) == OLD
    versions = aws.secretsmanager.describe_secret(SecretId="stack/dhis2")["VersionIdsToStages"]
    assert not any("AWSPENDING" in labels for labels in versions.values())
    assert "Authentication failed" in page.text
    assert "Save all the same" in page.text
    officer.submit(page, "/connection/save")
    assert in_force(aws) == NEW


@pytest.mark.usefixtures("refusing")
def test_first_login_refused(officer: Stacked, aws: Aws) -> None:
    try_login(officer)
    assert aws.secretsmanager.get_secret_value(SecretId="stack/dhis2")["SecretString"] == " "
    assert "No login of DHIS2 was entered yet." in officer.open("/tab").text


def test_login_that_is_none(officer: Stacked, asked: list[tuple[str, object]]) -> None:
    page = try_login(officer, password="")
    assert "The login that you typed has no text in its field password. Nothing was written." in page.text
    assert not asked


def test_preview_beside_dhis2(officer: Stacked, asked: list[tuple[str, object]]) -> None:
    officer.submit(officer.open("/preview"), "/preview", basis="current_day", stores="KAM")
    page = officer.wait("/preview")
    held = {"org_units": ["OU_1"], "periods": ["202610"], "skip_unknown": True}
    assert asked == [
        ("ComputeFunction", {"export": "values", "basis": "current_day", "stores": ["KAM"]}),
        ("ComputeFunction", {"export": "mapping"}),
        ("TestConnectionFunction", {"held": held}),
    ]
    assert "2 values found. Page 1 of 1." in page.text
    assert "issued 202610 1,234.5 1,200 (nurse) changed OU_1 AMO250 ISSUED" in page.text
    assert "received 202610 7 (nurse) would vanish OU_1 AMO250 RECEIVED" in page.text
    assert SCRIPT not in page.source


def test_preview_without_dhis2(officer: Stacked, monkeypatch: pytest.MonkeyPatch) -> None:
    asks = Stack.invoke

    def invoke(stack: Stack, function: str, event: dict[str, object]) -> dict[str, object]:
        if "held" in event:
            return {"status": "failed", "message": "Authentication failed: the password is wrong."}
        return asks(stack, function, event)

    monkeypatch.setattr(Stack, "invoke", invoke)
    officer.submit(officer.open("/preview"), "/preview", basis="current_day")
    page = officer.wait("/preview")
    assert "1 value found." in page.text
    assert "the values stand alone. Authentication failed: the password is wrong." in page.text
    assert "1,234.5 not known" in page.text


def test_preview_of_several_files(officer: Stacked, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["exports/run-1/values-2026-08.jsonl.gz", "exports/run-1/values-2026-09.jsonl.gz"]
    lines = [{**LINE, "period": period} for period in ("202608", "202609")]
    missing = list(zip(names, lines, strict=True))

    def another(_: float) -> None:
        if missing:
            name, line = missing.pop(0)
            aws.s3.put_object(Bucket=BUCKET, Key=name, Body=gzip.compress(json.dumps(line).encode()))

    answer = Stack.invoke

    def invoke(stack: Stack, function: str, event: dict[str, object]) -> dict[str, object]:
        files = [f"s3://{BUCKET}/{name}" for name in names]
        of_first = {"file": files[0], "files": files} if event.get("export") == "values" else {}
        return {**answer(stack, function, event), **of_first}

    monkeypatch.setattr(Stack, "invoke", invoke)
    monkeypatch.setattr("cli.stack.time.sleep", another)
    officer.submit(officer.open("/preview"), "/preview", months="2026-08..2026-09")
    page = officer.wait("/preview")
    assert "Export: 2 values of 1 store and 1 item, in 2 files. Nothing was sent." in page.text
    assert "2 values found." in page.text


def queued(**counts: int) -> Run:
    """Return a run that put five values on the queue; it is over where none of them waits."""
    started = datetime(2026, 11, 1, tzinfo=UTC)
    run = Run("run-1", as_of=started, started_at=started, counts=Counts(queued=5, **counts))
    return run if run.counts.waiting else replace(run, outcome=run.outcome_by_counts, ended_at=started)


def test_push_followed_to_its_end(
    officer: Stacked, asked: list[tuple[str, object]], aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = value_of("AMO250", period="202610", org_unit="OU_1", store=SCRIPT, item="Amoxicillin 250mg")
    row = RejectedRow(value, "rejected", (Reason("E7612", "Value is not valid"),))
    kept = RejectedRows(aws.s3, BUCKET)
    kept.keep([row], run_id="run-1", part="part", number=1)
    assert kept.write_file("run-1", {"part": 1}, lambda: 60.0)
    looked = [
        queued(waiting=5),
        None,
        queued(waiting=2, stored=3),
        replace(queued(stored=4, rejected=1), rejected_file="x"),
    ]
    monkeypatch.setattr(Runs, "run", lambda *_: looked.pop(0))
    monkeypatch.setattr("cli.console.stack_state._LOOK_EVERY", 0.01)
    officer.submit(
        officer.open("/push"), "/push/plan", basis="current_day", as_of="2026-10-31", all_stores="true"
    )
    page = officer.wait("/push")
    assert "data set STOCK_ATTRIBUTE: 1 changed. Send 1 value Cancel" in page.text
    officer.submit(page, "/push/send")
    page = officer.wait("/push")
    assert asked[-1] == ("ComputeFunction", {"manual": True, "basis": "current_day", "as_of": "2026-10-31"})
    assert "stored 4" in page.text
    assert "rejected 1" in page.text
    assert "all 5" in page.text
    assert f"1 value rejected (E7612): {explain('E7612', '').cure}" in page.text
    assert page.forms[0].values["stores"] == SCRIPT
    assert SCRIPT not in page.source
    assert not looked


def test_stop(officer: Stacked, asked: list[tuple[str, object]], monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Event()
    monkeypatch.setattr(
        Runs, "run", lambda *_: queued(stored=1, not_sent=4) if stopped.is_set() else queued(waiting=5)
    )
    monkeypatch.setattr("cli.console.stack_state._LOOK_EVERY", 0.01)
    officer.submit(officer.open("/push"), "/push/plan", as_of="2026-10-31", all_stores="true")
    officer.submit(officer.wait("/push"), "/push/send")
    # It is known as soon as compute has answered.
    pages = (officer.open("/push") for _ in range(1_000))
    page = next(page for page in pages if "Stop this run" in page.text)
    officer.submit(page, "/push/stop")
    assert asked[-1] == ("PushFunction", {"stop": "run-1"})
    stopped.set()
    page = officer.wait("/push")
    assert "The push is stopped." in page.text
    assert "not sent: the settings do not want them any more, or the run was stopped 4 " in page.text


def test_failing_stack(officer: Stacked, monkeypatch: pytest.MonkeyPatch) -> None:
    def invoke(stack: Stack, *_: object) -> dict[str, object]:
        return dict(stack.client("s3").get_object(Bucket="there-is-none", Key="x"))

    monkeypatch.setattr(Stack, "invoke", invoke)
    page = officer.open("/explain?store=Kamo&item=Amoxicillin&metric=issued")
    assert page.status == 400
    assert "NoSuchBucket" in page.text


@pytest.mark.parametrize("may_call", [False])
@pytest.mark.parametrize("path", ["/tab", "/connection", "/preview", "/push", "/explain"])
def test_who_may_only_look(officer: Stacked, path: str) -> None:
    page = officer.open(path)
    assert "You may look at everything here, and change nothing" in page.text
    assert "disabled aria-describedby=may-not>" in page.source
    assert re.search(r'<button class="main"(?![^>]*disabled)', page.source) is None


@pytest.mark.parametrize("may_call", [True, False])
def test_who_may_do_everything(officer: Stacked, *, may_call: bool) -> None:
    source = officer.open("/tab").source
    assert ("disabled" in source) is not may_call


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        ("ExpiredTokenException", "Run `aws configure` or `aws sso login`"),
        ("AccessDeniedException", "Ask the account's administrator for the policy"),
    ],
)
def test_what_aws_refuses(officer: Stacked, monkeypatch: pytest.MonkeyPatch, code: str, cure: str) -> None:
    def invoke(*_: object) -> dict[str, object]:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "Invoke")

    monkeypatch.setattr(Stack, "invoke", invoke)
    page = officer.open("/explain?store=Kamo&item=Amoxicillin&metric=issued")
    assert page.status == 400
    assert cure in page.text


@pytest.mark.parametrize(
    ("as_of", "is_tested"),
    [("", True), (f"{datetime.now(UTC):%Y-%m-%dT%H:%M}Z", True), ("2026-10-31", False)],
)
def test_periods_of_today(
    officer: Stacked,
    asked: list[tuple[str, object]],
    monkeypatch: pytest.MonkeyPatch,
    as_of: str,
    *,
    is_tested: bool,
) -> None:
    monkeypatch.setattr(Runs, "run", lambda *_: queued(stored=5))
    officer.submit(officer.open("/push"), "/push/plan", as_of=as_of, all_stores="true")
    officer.submit(officer.wait("/push"), "/push/send")
    page = officer.wait("/push")
    assert (("TestConnectionFunction", {}) in asked) is is_tested
    assert ("A stack looks at the periods of today." in page.text) is not is_tested


def test_today(officer: Stacked, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    started = datetime.now(UTC)
    runs = Runs(aws.runs)
    runs.begin(Run("run-1", "manual", started, '{"manual": true, "stores": ["Kamo"]}'), [], started)
    runs.register([Message("run-1-a", "1", 5)], started)
    tables = {"Table": aws.table, "RunsTable": aws.runs}
    monkeypatch.setattr(Stack, "table", lambda _, name: tables[name])
    BreakerTable(aws.table, lambda _: None).change(lambda breaker: breaker.opened_by_hand(SCRIPT, started))
    page = officer.open("/")
    assert page.status == 200
    assert "What could not be asked" not in page.text
    assert "Sending has been paused since" in page.text
    assert "5 values wait to be sent" in page.text
    assert re.search(r"on the 5th, 04:30 none in the last 40 days 5 \w+, 04:30", page.text)
    assert re.search(r"manual not yet 5 0 0 0 5", page.text)
    assert "/runs/run-1" in page.links
    assert "mSupply database to do Its address is not filled in yet." in page.text
    assert SCRIPT not in page.source


def test_database_secret_is_never_read(officer: Stacked, aws: Aws) -> None:
    secret = Stack(NAME, boto3.Session()).resource("DatabaseSecret")
    aws.secretsmanager.put_secret_value(SecretId=secret, SecretString="postgresql://u:hidden-pw@db/om")
    page = officer.open("/")
    assert "Its address was entered on" in page.text
    assert "hidden-pw" not in page.source


def test_what_could_not_be_asked(officer: Stacked) -> None:
    # The stack of these tests has one table only, and it is no table of runs.
    page = officer.open("/")
    assert page.status == 200
    assert "What could not be asked" in page.text
    assert "The stack malawi has no Table." in page.text


def test_an_earlier_version_is_used_again(officer: Stacked, aws: Aws) -> None:
    page = officer.submit(officer.open("/tab"), "/tab", action="review", items_per_payload="321")
    officer.submit(page, "/tab/save")
    page = officer.open("/tab/history")
    assert re.search(r"Version \d+ \(in force\) Saved on \S+ \S+ \(Africa/Blantyre\) by \S+", page.text)
    assert "No. of items per payload: (empty) → 321" in page.text
    page = officer.submit(page, "/tab/again")
    assert "No. of items per payload 321 (empty)" in page.text
    officer.submit(page, "/tab/save")
    assert (
        parse_settings(aws.ssm.get_parameter(Name=PARAMETER)["Parameter"]["Value"]).items_per_payload == 1000
    )


def test_switch_says_first_schedule(officer: Stacked) -> None:
    officer.submit(officer.open("/switch"), "/switch", action="off")
    officer.client.post("/connection")
    officer.wait("/connection")
    page = officer.open("/switch")
    assert re.search(r"The first schedule runs on \d+ \w+, \d\d:\d\d: (daily|monthly) \(", page.text)
    assert "stores: 1 store has no org unit." in page.text
    page = officer.submit(page, "/switch", action="on")
    assert "Use DHIS2 is on" in page.text


def test_database_is_entered(officer: Stacked, aws: Aws) -> None:
    given = {"host": "db.example.org", "dbname": "om", "username": "reader", "password": "p@ss/word:1"}
    fields = {f"database.{name}": text for name, text in given.items()}
    page = officer.submit(officer.open("/tab"), "/database", **fields)
    assert "The address is saved." in page.text
    assert "Its address was entered on" in page.text
    written = aws.secretsmanager.get_secret_value(SecretId="stack/database")["SecretString"]
    address = parse_database_address(written)
    assert address.described == "the PostgreSQL database om on db.example.org, port 5432"
    assert address.password is not None
    assert address.password.get_secret_value() == "p@ss/word:1"
    assert "p@ss/word:1" not in page.source


def test_database_that_is_none(officer: Stacked) -> None:
    page = officer.submit(
        officer.open("/tab"), "/database", **{"database.host": "db", "database.dbname": "om"}
    )
    assert (
        "The address of mSupply's database has no text in its field username nor in its field password. Nothing was written."
        in page.text
    )


def test_address_for_a_firewall(officer: Stacked, monkeypatch: pytest.MonkeyPatch) -> None:
    login = Check(name="login", ok=False, message="DHIS2 does not answer.")
    silent = REPORT.model_copy(
        update={"connected": False, "message": "DHIS2 does not answer.", "checks": (login,)}
    )
    monkeypatch.setattr(Stack, "invoke", lambda *_: silent.model_dump(mode="json"))
    officer.client.post("/connection")
    page = officer.wait("/connection")
    assert "its address changes, so no firewall can admit it alone" in page.text
    client = boto3.client("lambda")
    network = {"SubnetIds": ["subnet-0a", "subnet-0b"], "VpcId": "vpc-0c"}
    found = {
        **client.get_function_configuration(
            FunctionName=Stack(NAME, boto3.Session()).resource("TestConnectionFunction")
        )
    }
    monkeypatch.setattr(client, "get_function_configuration", lambda **_: {**found, "VpcConfig": network})
    make = Stack.client
    monkeypatch.setattr(
        Stack, "client", lambda stack, name: client if name == "lambda" else make(stack, name)
    )
    assert "the stack's subnets subnet-0a and subnet-0b (network vpc-0c)" in officer.open("/connection").text


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("ExpiredTokenException", 400, "AWS does not accept your login; it may have expired."),
        ("AccessDeniedException", 200, "Your login at AWS may not do this: no right."),
    ],
)
def test_today_refused(
    officer: Stacked, monkeypatch: pytest.MonkeyPatch, code: str, status: int, said: str
) -> None:
    def depth(*_: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no right"}}, "GetQueueAttributes")

    monkeypatch.setattr(Stack, "depth", depth)
    page = officer.open("/")
    assert page.status == status
    assert said in page.text
