import json
import time
from datetime import UTC, datetime

import boto3
import pytest
from botocore.stub import Stubber

from cli.__main__ import main
from cli.stack import Stack, StackError
from msupply_dhis2.preflight.check import Check
from msupply_dhis2.preflight.job import ConnectionReport
from tests.conftest import Aws

GROUPS = ("Compute", "Push", "TestConnection", "Watchdog")

A_TABLE = {
    "AttributeDefinitions": [{"AttributeName": "run_id", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "run_id", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
}


@pytest.fixture
def logs(aws: Aws) -> None:  # noqa: ARG001 - where boto3 leads to
    """Make a stack of which only the logs are there, with a line that names a secret."""
    resources = {f"{group}LogGroup": {"Type": "AWS::Logs::LogGroup"} for group in GROUPS}
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(StackName="with-logs", TemplateBody=json.dumps({"Resources": resources}))
    found = cloudformation.describe_stack_resources(StackName="with-logs")["StackResources"]
    (group,) = (
        each["PhysicalResourceId"] for each in found if each["LogicalResourceId"] == "ComputeLogGroup"
    )
    client = boto3.client("logs")
    client.create_log_stream(logGroupName=group, logStreamName="stream")
    line = {
        "level": "ERROR",
        "message": "The secret arn:aws:secretsmanager:us-east-1:1:secret:stack/database is empty.",
    }
    client.put_log_events(
        logGroupName=group,
        logStreamName="stream",
        logEvents=[{"timestamp": int(time.time() * 1000), "message": json.dumps(line)}],
    )


@pytest.mark.usefixtures("logs")
def test_logs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "--stack", "with-logs"]) == 0
    (shown,) = capsys.readouterr().out.splitlines()
    instant, said = shown.split("  ", 1)
    assert (
        said
        == "Compute  ERROR  The secret arn:aws:secretsmanager:us-east-1:1:secret:stack/database is empty."
    )
    assert instant.endswith("Z")
    assert datetime.strptime(instant, "%H:%M:%SZ").replace(tzinfo=UTC)


@pytest.mark.usefixtures("logs")
def test_stack_in_next_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["push", "--stack", "with-logs"]) == 1
    said = capsys.readouterr().err
    assert "The stack with-logs has no TestConnectionFunction. Its deployment did not end" in said
    assert said.endswith("This is about the stack with-logs. End each make command with STACK=with-logs.\n")


@pytest.mark.usefixtures("logs")
def test_no_such_stack(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["push", "--stack", "malawi"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("The stack malawi cannot be read")
    assert "end each make command" not in said


def test_delete_says_what_goes(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    queues = ("BatchQueue", "FailedBatchQueue", "ShardQueue", "FailedShardQueue", "FailedRunQueue")
    resources: dict[str, object] = {queue: {"Type": "AWS::SQS::Queue"} for queue in queues}
    resources["ReportBucket"] = {"Type": "AWS::S3::Bucket"}
    resources["RunsTable"] = {"Type": "AWS::DynamoDB::Table", "Properties": A_TABLE}
    boto3.client("cloudformation").create_stack(
        StackName="malawi", TemplateBody=json.dumps({"Resources": resources})
    )
    stack = Stack("malawi", boto3.Session())
    assert main(["before-delete", "--stack", "malawi"]) == 0
    assert "Its queues are empty." in capsys.readouterr().out

    for queue, messages in (("BatchQueue", 2), ("FailedRunQueue", 1)):
        for _ in range(messages):
            aws.sqs.send_message(QueueUrl=stack.resource(queue), MessageBody="{}")
    # One that is being worked on is there, too.
    aws.sqs.receive_message(QueueUrl=stack.resource("BatchQueue"))
    assert main(["before-delete", "--stack", "malawi"]) == 0
    said = capsys.readouterr().out
    assert (
        "Its queues hold 2 batches for DHIS2 and 1 run that did not take place. These are deleted too."
        in said
    )
    assert "aws ssm delete-parameter --region us-east-1 --name /malawi/settings\n" in said
    assert f"aws s3 rb --force s3://{stack.resource('ReportBucket')}\n" in said
    assert (
        f"aws dynamodb delete-table --region us-east-1 --table-name {stack.resource('RunsTable')}\n" in said
    )


@pytest.mark.usefixtures("logs")
def test_delete_unfinished(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["before-delete", "--stack", "with-logs"]) == 0
    assert "Its queues cannot be read: The stack with-logs has no ReportBucket." in capsys.readouterr().out
    assert main(["before-delete", "--stack", "typo"]) == 1
    assert "The stack typo cannot be read" in capsys.readouterr().err


def test_unmade_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    client = boto3.client("cloudformation", region_name="af-south-1")
    failed = {
        "LogicalResourceId": "ReportBucket",
        "ResourceType": "AWS::S3::Bucket",
        "Timestamp": datetime(2026, 2, 1, tzinfo=UTC),
        "ResourceStatus": "CREATE_FAILED",
    }
    stack = Stack("laos", boto3.Session())
    monkeypatch.setattr(stack, "client", lambda _: client)
    with Stubber(client) as stub:
        stub.add_response("describe_stack_resources", {"StackResources": [failed]}, {"StackName": "laos"})
        with pytest.raises(StackError, match="The stack laos has no ReportBucket"):
            stack.resource("ReportBucket")


@pytest.mark.parametrize(
    ("arguments", "event"),
    [
        (["dead-letters"], {"dead_letters": "list"}),
        (
            ["redrive", "--run", "r", "--reason", "words"],
            {"dead_letters": "redrive", "run": "r", "reason": "words"},
        ),
        (["pause", "--reason", "words"], {"breaker": "open", "reason": "words"}),
        (["resume"], {"breaker": "close"}),
        (["stop", "r"], {"stop": "r"}),
    ],
)
def test_push(
    arguments: list[str],
    event: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[str, str, object]] = []

    def invoke(stack: Stack, function: str, event: object) -> dict[str, object]:
        asked.append((stack.name, function, event))
        return {"message": "Done."}

    monkeypatch.setattr(Stack, "invoke", invoke)
    assert main([*arguments, "--stack", "malawi"]) == 0
    assert asked == [("malawi", "PushFunction", event)]
    assert capsys.readouterr().out == "Done.\n"


def test_redrive_until_done(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [{"message": f"{number} sent again.", "is_all": number == 3} for number in (1, 2, 3)]
    monkeypatch.setattr(Stack, "invoke", lambda *_: answers.pop(0))
    monkeypatch.setattr("cli.stack._BETWEEN_REDRIVES", 0.0)
    assert main(["redrive", "--stack", "malawi"]) == 0
    assert capsys.readouterr().out == "1 sent again.\n2 sent again.\n3 sent again.\n"


SAID = "Manual push, current day: period 202611, 1 November 2026 to 29 November 2026 so far."
OPEN = Check(name="a manual push now", ok=True, message=f"{SAID} It is open.")
CLOSED = Check(
    name="a manual push now",
    ok=True,
    note=True,
    message=f"{SAID} DHIS2 would refuse every value. 202611 is not open yet.",
)
PREVIOUS = Check(
    name="open period, previous month",
    ok=True,
    message="Period 202610, 1 October 2026 to 31 October 2026, is open.",
)
NOT_YET = Check(name="open period, current day", ok=False, message="202611 is not open yet.")
WRONG = Check(
    name="period format", ok=False, message="Period format 'YYYY' makes 2026; every value is refused."
)


@pytest.mark.parametrize(
    ("arguments", "checks", "code", "says"),
    [
        ([], [OPEN, PREVIOUS], 0, f"{SAID} It is open.\n"),
        (
            [],
            [CLOSED, PREVIOUS],
            1,
            f"{SAID}\nDHIS2 would refuse every value. 202611 is not open yet. Nothing was sent.\n",
        ),
        (
            [],
            [WRONG],
            1,
            "Manual push, current day.\nDHIS2 would refuse every value. Period format 'YYYY' makes 2026;",
        ),
        (
            [],
            [],
            0,
            "Manual push, current day.\nIt is not known whether DHIS2 would refuse the period. Authentication failed\n",
        ),
        (
            ["--as-scheduled"],
            [PREVIOUS, CLOSED],
            0,
            f"As scheduled, each row on its own basis. {PREVIOUS.message}\n",
        ),
        (
            ["--as-scheduled"],
            [PREVIOUS, NOT_YET],
            0,
            (
                f"As scheduled, each row on its own basis. {PREVIOUS.message}\n"
                "DHIS2 would refuse a part of the values. 202611 is not open yet.\n"
            ),
        ),
        (
            ["--as-scheduled"],
            [NOT_YET],
            1,
            "As scheduled, each row on its own basis.\nDHIS2 would refuse every value.",
        ),
        (["--as-of", "2026-10-31"], None, 0, "Manual push, current day, as of 2026-10-31.\n"),
        (
            ["--as-of", "2026-10-31T22:30:05.123456+13:00"],
            None,
            0,
            "Manual push, current day, as of 2026-10-31T22:30+13:00.\n",
        ),
        (["--months", "2026-01..2026-03"], None, 0, "Months that are over, 2026-01..2026-03.\n"),
        (["--event", '{"shard": {}}'], None, 0, "The rest.\n"),
    ],
)
def test_push_says_basis_first(
    arguments: list[str],
    checks: list[Check] | None,
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []

    def invoke(_: Stack, function: str, __: object) -> dict[str, object]:
        asked.append(function)
        if function == "ComputeFunction":
            return {
                "status": "sent",
                "message": "The rest.",
                "as_of": "2026-11-30T00:10:00+13:00",
                "time_zone": "Pacific/Auckland",
            }
        assert checks is not None
        report = ConnectionReport(
            connected=bool(checks),
            message="Authentication failed",
            server=None,
            user=None,
            last_successful_connection=None,
            checks=tuple(checks),
        )
        return report.model_dump(mode="json")

    monkeypatch.setattr(Stack, "invoke", invoke)
    assert main(["push", *arguments, "--stack", "malawi"]) == code
    said = capsys.readouterr()
    assert f"{said.err}{said.out}".startswith(says)
    assert ("As of: 2026-11-30 00:10 (Pacific/Auckland)\n" in said.out) is (code == 0)
    assert ("ComputeFunction" in asked) is (code == 0)
    assert ("TestConnectionFunction" in asked) is (checks is not None)
