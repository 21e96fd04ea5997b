"""The stack as CloudFormation sees it: the SAM template transformed, linted, and held to what linters miss."""

import copy
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import boto3
import pytest
from pydantic import BaseModel
from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]
from samtranslator.translator.translator import Translator  # type: ignore[import-untyped]
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from msupply_dhis2.aws.environment import (
    ComputeEnvironment,
    PushEnvironment,
    TestConnectionEnvironment,
    WatchdogEnvironment,
)
from msupply_dhis2.aws.queues import wait_seconds
from msupply_dhis2.compute.event import MOST_MONTHS, instant_of_run, parse_compute_event
from msupply_dhis2.dhis2.importer import LONGEST_CALL
from msupply_dhis2.domain.batch import MAXIMUM_MESSAGE_BYTES
from msupply_dhis2.handlers.compute import DELIVERIES
from msupply_dhis2.handlers.invocation import FOR_NOTES_SECONDS
from msupply_dhis2.handlers.push import WAITS_FOR
from msupply_dhis2.handlers.test_connection import TIME_LIMIT
from msupply_dhis2.periods import Calendar, Interval, parse_time_zone
from msupply_dhis2.state.breaker import LONGEST_WAIT
from msupply_dhis2.state.dead_letters import KEPT_FOR
from msupply_dhis2.state.idempotency import SHARDS_KEPT_FOR, WORKED_FOR
from msupply_dhis2.state.runs import MESSAGES_KEPT_FOR
from msupply_dhis2.watchdog.runs import QUEUE_KEEPS, parse_schedule
from tests.support.paths import PROJECT
from tests.support.stack_template import log_and_filter

REGIONS = ["us-east-1", "ap-southeast-2", "af-south-1"]

type Resources = dict[str, dict[str, Any]]
type Template = dict[str, Any]

ENVIRONMENTS: dict[str, type[BaseModel]] = {
    "ComputeFunction": ComputeEnvironment,
    "PushFunction": PushEnvironment,
    "TestConnectionFunction": TestConnectionEnvironment,
    "WatchdogFunction": WatchdogEnvironment,
}
SCHEDULES = {
    "MonthlySchedule": Interval.MONTHLY,
    "WeeklySchedule": Interval.WEEKLY,
    "DailySchedule": Interval.DAILY,
    "FirstDayOfMonthSchedule": Interval.FIRST_DAY_OF_MONTH,
    "LastDayOfMonthSchedule": Interval.LAST_DAY_OF_MONTH,
}


@cache
def _parsed() -> Template:
    template: Template = yaml_parse((PROJECT / "template.yaml").read_text())
    return template


def source() -> Template:
    """Return a copy, which a test may change."""
    return copy.deepcopy(_parsed())


def transformed(template: Template) -> Template:
    """Do what AWS does with a SAM template, with the code where ``sam deploy`` would have put it."""
    template = copy.deepcopy(template)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
        if resource["Type"] == "AWS::Serverless::LayerVersion":
            resource["Properties"]["ContentUri"] = "s3://bucket/key"
    session = boto3.Session(region_name=REGIONS[0])
    result: Template = Translator({}, Parser(), boto_session=session).translate(template, parameter_values={})
    return result


@cache
def stack() -> Template:
    return transformed(source())


def resources(kind: str) -> Resources:
    return {name: resource for name, resource in stack()["Resources"].items() if resource["Type"] == kind}


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = stack()["Resources"][name]["Properties"]
    return found


def faults(template: Template, regions: list[str]) -> list[str]:
    # Half a second, which each worker would need to know what tests there are.
    from cfnlint.api import lint  # type: ignore[import-untyped] # noqa: PLC0415

    return [str(match) for match in lint(json.dumps(transformed(template), indent=1), regions=regions)]


def statements(role: str) -> Iterator[dict[str, Any]]:
    """Yield what a role allows at most, by policies of its own and by those that are attached to it."""
    for policy in properties(role)["Policies"]:
        yield from map(where_chosen, policy["PolicyDocument"]["Statement"])
    for policy in resources("AWS::IAM::Policy").values():
        if {"Ref": role} in policy["Properties"]["Roles"]:
            yield from policy["Properties"]["PolicyDocument"]["Statement"]


def where_chosen(value: dict[str, Any]) -> dict[str, Any]:
    """Return what holds where the condition of an ``!If`` holds."""
    chosen: dict[str, Any] = value["Fn::If"][1] if "Fn::If" in value else value
    return chosen


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


# ------------------------------------------------------------------------------------------------- the linter


@pytest.mark.lint
def test_no_fault() -> None:
    assert faults(source(), REGIONS) == []


# -------------------------------------------------------------------------------------------------- functions


@pytest.mark.parametrize("function", ENVIRONMENTS)
def test_environment(function: str) -> None:
    given = set(properties(function)["Environment"]["Variables"])
    read = {name.upper() for name in ENVIRONMENTS[function].model_fields}
    powertools = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_LOG_LEVEL"}
    assert given == read | powertools


def test_handlers() -> None:
    for name, resource in source()["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            code = PROJECT / resource["Properties"]["CodeUri"] / "app.py"
            assert "\ndef handler(event" in code.read_text(), name


def test_no_own_packages() -> None:
    assert not list((PROJECT / "functions").rglob("requirements*.txt"))
    assert not list((PROJECT / "functions").rglob("*/*/*.py")), "modules belong into the layer"


def test_log_groups() -> None:
    groups = [
        function["Properties"]["LoggingConfig"]["LogGroup"]
        for function in resources("AWS::Lambda::Function").values()
    ]
    names = [group["Ref"] for group in groups]
    assert sorted(names) == sorted(resources("AWS::Logs::LogGroup"))
    for name in names:
        assert properties(name)["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_processor_and_python() -> None:
    (layer,) = resources("AWS::Lambda::LayerVersion").values()
    assert layer["Properties"]["CompatibleArchitectures"] == [{"Ref": "Architecture"}]
    assert source()["Resources"]["CommonLayer"]["Metadata"] == {
        "BuildMethod": "python3.13",
        "BuildArchitecture": {"Ref": "Architecture"},
    }
    for function in resources("AWS::Lambda::Function").values():
        assert function["Properties"]["Architectures"] == [{"Ref": "Architecture"}]
        assert (
            function["Properties"]["Runtime"] == layer["Properties"]["CompatibleRuntimes"][0] == "python3.13"
        )
    assert (PROJECT / ".python-version").read_text().strip() == "3.13"


def test_connection_test_within_cli() -> None:
    assert properties("TestConnectionFunction")["Timeout"] < 60


def test_connection_test_time() -> None:
    assert properties("TestConnectionFunction")["Timeout"] >= TIME_LIMIT + 10


def test_push_time() -> None:
    assert properties("PushFunction")["Timeout"] >= LONGEST_CALL + FOR_NOTES_SECONDS + 30


def test_failed_run_retries() -> None:
    config = properties("ComputeFunctionEventInvokeConfig")
    assert config["MaximumRetryAttempts"] == 2
    assert config["DestinationConfig"]["OnFailure"]["Destination"] == {
        "Fn::GetAtt": ["FailedRunQueue", "Arn"]
    }


# ----------------------------------------------------------------------------------------------------- queues


def dead_letter_queues() -> set[str]:
    """Return the queues that something else falls into."""
    queues = set(resources("AWS::SQS::Queue"))
    text = json.dumps(
        [
            *(queue["Properties"].get("RedrivePolicy") for queue in resources("AWS::SQS::Queue").values()),
            *(
                schedule["Properties"]["Target"]
                for schedule in resources("AWS::Scheduler::Schedule").values()
            ),
            *(config["Properties"] for config in resources("AWS::Lambda::EventInvokeConfig").values()),
        ]
    )
    return {queue for queue in queues if f'"{queue}"' in text}


def test_dead_letter_queues() -> None:
    for name in set(resources("AWS::SQS::Queue")) - dead_letter_queues():
        redrive = properties(name)["RedrivePolicy"]
        dead_letters = redrive["deadLetterTargetArn"]["Fn::GetAtt"][0]
        # With the waits in between, each a tenth shorter at most, an outage of an hour passes before the last attempt.
        assert sum(wait_seconds(count) for count in range(1, redrive["maxReceiveCount"])) >= 0.9 * 3_600
        assert properties(dead_letters)["MessageRetentionPeriod"] > properties(name)["MessageRetentionPeriod"]


def test_dead_letters_kept() -> None:
    assert dead_letter_queues() == {"FailedBatchQueue", "FailedShardQueue", "FailedRunQueue"}
    for name in dead_letter_queues():
        assert properties(name)["MessageRetentionPeriod"] == 14 * 24 * 3600


def test_visibility_time_out() -> None:
    for mapping in resources("AWS::Lambda::EventSourceMapping").values():
        function = properties(mapping["Properties"]["FunctionName"]["Ref"])
        queue = properties(mapping["Properties"]["EventSourceArn"]["Fn::GetAtt"][0])
        assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]


@pytest.mark.parametrize(
    ("mapping", "at_once"),
    [
        ("PushFunctionBatch", 2),
        (
            "ComputeFunctionShard",
            {"Fn::FindInMap": ["ShardsAtOnce", {"Ref": "ComputeConcurrency"}, "Number"]},
        ),
    ],
)
def test_one_message_at_a_time(mapping: str, at_once: object) -> None:
    fed = properties(mapping)
    assert fed["BatchSize"] == 1
    assert fed["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert fed["ScalingConfig"]["MaximumConcurrency"] == at_once
    assert "ReservedConcurrentExecutions" not in properties(fed["FunctionName"]["Ref"])


def test_database_connections() -> None:
    parameter = source()["Parameters"]["ComputeConcurrency"]
    numbers = source()["Mappings"]["ShardsAtOnce"]
    assert numbers == {str(number): {"Number": number} for number in parameter["AllowedValues"]}
    assert parameter["Default"] in parameter["AllowedValues"]
    # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
    assert all(2 <= number <= 1_000 for number in parameter["AllowedValues"])


def test_last_shard_attempt() -> None:
    assert properties("ShardQueue")["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": ["FailedShardQueue", "Arn"]},
        "maxReceiveCount": DELIVERIES,
    }


def test_shard_lease() -> None:
    assert properties("ComputeFunction")["Timeout"] < WORKED_FOR.total_seconds()
    assert WORKED_FOR.total_seconds() < properties("ShardQueue")["VisibilityTimeout"]


def test_shard_memory() -> None:
    assert properties("FailedShardQueue")["MessageRetentionPeriod"] < SHARDS_KEPT_FOR.total_seconds()


def test_queues_are_encrypted() -> None:
    (policy,) = resources("AWS::SQS::QueuePolicy").values()
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "sqs:*")
    assert statement["Condition"]["Bool"] == {"aws:SecureTransport": "false"}
    covered = {queue["Ref"] for queue in policy["Properties"]["Queues"]}
    assert covered == set(resources("AWS::SQS::Queue"))
    # Each gets the same document, and SQS refuses one that names several queues, or another one.
    assert statement["Resource"] == "*"
    for queue in resources("AWS::SQS::Queue").values():
        assert queue["Properties"]["SqsManagedSseEnabled"] is True


def test_message_size() -> None:
    for queue in ("BatchQueue", "FailedBatchQueue", "ShardQueue", "FailedShardQueue"):
        assert properties(queue)["MaximumMessageSize"] >= MAXIMUM_MESSAGE_BYTES, queue


def test_run_continues_itself() -> None:
    # By default it ends a function that a message of its own has started sixteen times in a row.
    months_in_a_chain = 16
    assert months_in_a_chain < MOST_MONTHS
    assert properties("ComputeFunction")["RecursiveLoop"] == "Allow"
    for function in ("PushFunction", "TestConnectionFunction", "WatchdogFunction"):
        assert "RecursiveLoop" not in properties(function), function


# -------------------------------------------------------------------------------------------------- schedules


def schedules_of(function: str) -> list[dict[str, Any]]:
    return [
        resource["Properties"]
        for resource in resources("AWS::Scheduler::Schedule").values()
        if resource["Properties"]["Target"]["Arn"] == {"Fn::GetAtt": [function, "Arn"]}
    ]


def test_probe_every_15_minutes() -> None:
    (probe,) = schedules_of("TestConnectionFunction")
    assert probe["Name"] == {"Fn::Sub": "${AWS::StackName}-probe"}
    assert probe["ScheduleExpression"] == "rate(15 minutes)"
    assert probe.get("State", "ENABLED") == "ENABLED"
    assert json.loads(probe["Target"]["Input"]) == {"probe": True}
    # Another attempt at a probe might be another attempt at a login.
    assert properties("TestConnectionFunctionEventInvokeConfig")["MaximumRetryAttempts"] == 0


def test_watchdog_time() -> None:
    (daily,) = schedules_of("WatchdogFunction")
    assert daily["ScheduleExpression"] == "cron(0 10 * * ? *)"
    assert daily["ScheduleExpressionTimezone"] == {"Ref": "Timezone"}
    assert daily.get("State", "ENABLED") == "ENABLED"
    variables = properties("WatchdogFunction")["Environment"]["Variables"]
    for interval in Interval:
        parameter = "".join(word.title() for word in interval.value.split("_")) + "Schedule"
        assert SCHEDULES[parameter] is interval
        assert variables[f"{interval.value.upper()}_SCHEDULE"] == {"Ref": parameter}
    assert variables["SCHEDULES_STATE"] == {"Ref": "SchedulesState"}


@pytest.mark.parametrize("parameter", SCHEDULES)
def test_watchdog_reads_schedules(parameter: str) -> None:
    zone = ZoneInfo("Africa/Lusaka")
    now = datetime(2026, 11, 24, 10, tzinfo=zone)
    due = parse_schedule(source()["Parameters"][parameter]["Default"], zone)(now)
    assert due is not None
    assert now - due <= timedelta(days=31)


def test_silent_watchdog_alarm() -> None:
    alarm = properties("WatchdogSilentAlarm")
    assert (alarm["MetricName"], alarm["TreatMissingData"]) == ("WatchdogLooked", "breaching")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    # A day with 25 hours, and a look that takes its time; CloudWatch looks back for seven days at most.
    assert (
        timedelta(hours=26)
        < timedelta(seconds=alarm["Period"] * alarm["EvaluationPeriods"])
        < timedelta(days=2)
    )


def test_queue_retention() -> None:
    kept = {
        name: timedelta(seconds=properties(name)["MessageRetentionPeriod"])
        for name in ("BatchQueue", "FailedBatchQueue")
    }
    assert kept == {"BatchQueue": QUEUE_KEEPS, "FailedBatchQueue": KEPT_FOR}
    assert QUEUE_KEEPS > WAITS_FOR + LONGEST_WAIT


def test_schedule_dead_letters() -> None:
    (start,) = [s for s in statements("SchedulerRole") if s["Action"] == "lambda:InvokeFunction"]
    allowed = {resource["Fn::Sub"].rpartition(":function:")[2] for resource in start["Resource"]}
    for schedule in resources("AWS::Scheduler::Schedule").values():
        target = schedule["Properties"]["Target"]
        assert target["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": ["FailedRunQueue", "Arn"]}
        assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0
        assert target["RoleArn"] == {"Fn::GetAtt": ["SchedulerRole", "Arn"]}
        function = properties(target["Arn"]["Fn::GetAtt"][0])
        assert function["FunctionName"]["Fn::Sub"] in allowed


def test_schedule_of_each_interval() -> None:
    schedules = schedules_of("ComputeFunction")
    inputs = [json.loads(schedule["Target"]["Input"]) for schedule in schedules]
    assert sorted(document["interval"] for document in inputs) == sorted(Interval)
    for schedule, document in zip(schedules, inputs, strict=True):
        name = document["interval"].replace("_", "-")
        assert schedule["Name"] == {"Fn::Sub": "${AWS::StackName}-" + name}
        assert document["scheduled_time"] == "<aws.scheduler.scheduled-time>"


def test_schedule_time_zone() -> None:
    for schedule in schedules_of("ComputeFunction"):
        assert schedule["ScheduleExpressionTimezone"] == {"Ref": "Timezone"}
        assert schedule["State"] == {"Ref": "SchedulesState"}


def test_schedule_expressions() -> None:
    for schedule in schedules_of("ComputeFunction"):
        interval = json.loads(schedule["Target"]["Input"])["interval"]
        assert SCHEDULES[schedule["ScheduleExpression"]["Ref"]] == interval


@pytest.mark.parametrize("parameter", SCHEDULES)
def test_schedule_question_mark(parameter: str) -> None:
    # Without it every linter is content and AWS refuses the schedule.
    _, _, day_of_month, _, day_of_week, _ = fields_of_cron(parameter)
    assert (day_of_month == "?") != (day_of_week == "?")


@pytest.mark.parametrize("parameter", SCHEDULES)
def test_schedule_avoids_clock_change(parameter: str) -> None:
    assert int(fields_of_cron(parameter)[1]) >= 3


def test_schedule_days() -> None:
    days = {
        parameter: (fields_of_cron(parameter)[2], fields_of_cron(parameter)[4]) for parameter in SCHEDULES
    }
    assert days == {
        "MonthlySchedule": ("5", "?"),
        "WeeklySchedule": ("?", "MON"),
        "DailySchedule": ("*", "?"),
        "FirstDayOfMonthSchedule": ("1", "?"),
        "LastDayOfMonthSchedule": ("L", "?"),
    }


def test_last_day_of_month() -> None:
    minute, hour, *_ = fields_of_cron("LastDayOfMonthSchedule")
    calendar = Calendar(parse_time_zone("Pacific/Auckland"))
    local = datetime(2026, 1, 31, int(hour), int(minute), tzinfo=calendar.time_zone)
    scheduled = local.astimezone(UTC)
    event = parse_compute_event({"interval": "last_day_of_month", "scheduled_time": scheduled.isoformat()})
    assert instant_of_run(event, scheduled, calendar).date() == date(2026, 1, 31)


def fields_of_cron(parameter: str) -> list[str]:
    expression = source()["Parameters"][parameter]["Default"]
    match = re.fullmatch(r"cron\((.+)\)", expression)
    assert match
    fields = match[1].split(" ")
    assert len(fields) == 6
    return fields


# ------------------------------------------------------------------------------------------------------ rights


def test_no_wildcard_right() -> None:
    for name in resources("AWS::IAM::Role"):
        for statement in statements(name):
            assert statement["Effect"] == "Allow"
            for target in as_list(statement["Resource"]):
                assert isinstance(target, dict), (name, statement["Sid"])
                # The objects of a bucket have no names before they are made: those below a folder of it.
                objects = str(target.get("Fn::Sub", "")).startswith("${ReportBucket.Arn}/")
                assert "*" not in json.dumps(target).replace("/*", "" if objects else "/*"), (
                    name,
                    statement["Sid"],
                )
            for action in as_list(statement["Action"]):
                # Each exception names a single action of AWS, and a second one of the emulator.
                single = {"sqs:SendMessage*", "sqs:ChangeMessageVisibility*"}
                assert "*" not in action or action in single, (name, statement["Sid"])


def test_rows_of_each_function() -> None:
    changed: dict[str, set[str]] = {}
    for role in resources("AWS::IAM::Role"):
        for statement in statements(role):
            if statement["Resource"] == {"Fn::GetAtt": ["Table", "Arn"]} and "dynamodb:UpdateItem" in as_list(
                statement["Action"]
            ):
                keys = statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
                changed.setdefault(role, set()).update(keys)
    assert set(changed) == {"ComputeRole", "PushRole", "TestConnectionRole", "WatchdogRole"}
    assert changed["ComputeRole"] == {"invocation#*", "shard#*"}
    assert changed["WatchdogRole"] == {"watchdog"}
    assert changed["TestConnectionRole"] < changed["PushRole"]
    assert changed["PushRole"].isdisjoint(changed["ComputeRole"] | changed["WatchdogRole"])


def test_vpc_policy_only_in_a_vpc() -> None:
    for name, role in resources("AWS::IAM::Role").items():
        managed = role["Properties"].get("ManagedPolicyArns")
        if name in {"SchedulerRole", "WatchdogRole"}:
            assert managed is None
            continue
        condition, (policy,), otherwise = managed["Fn::If"]
        assert condition == name.replace("Role", "InVpc")
        assert policy["Fn::Sub"].endswith("/AWSLambdaENIManagementAccess")
        assert otherwise == {"Ref": "AWS::NoValue"}


def test_queue_rights() -> None:
    takers = {
        (role, json.dumps(statement["Resource"]))
        for role in resources("AWS::IAM::Role")
        for statement in statements(role)
        if "sqs:ReceiveMessage" in as_list(statement["Action"])
    }
    shards = json.dumps({"Fn::GetAtt": ["ShardQueue", "Arn"]})
    batches = json.dumps({"Fn::GetAtt": ["BatchQueue", "Arn"]})
    dead_letters = json.dumps({"Fn::GetAtt": ["FailedBatchQueue", "Arn"]})
    assert takers == {
        ("ComputeRole", shards),
        ("PushRole", batches),
        ("PushRole", dead_letters),
        ("WatchdogRole", dead_letters),
    }
    users = {
        role
        for role in resources("AWS::IAM::Role")
        for statement in statements(role)
        if json.dumps(statement["Resource"]) == shards
    }
    assert users == {"ComputeRole"}


@pytest.mark.parametrize(
    ("role", "other_s_secret"),
    [
        ("ComputeRole", "Dhis2Secret"),
        ("PushRole", "DatabaseSecret"),
        ("TestConnectionRole", "DatabaseSecret"),
        ("WatchdogRole", "DatabaseSecret"),
        ("WatchdogRole", "Dhis2Secret"),
    ],
)
def test_secret_rights(role: str, other_s_secret: str) -> None:
    assert other_s_secret not in json.dumps(properties(role))


def test_nobody_switches_triggers() -> None:
    rights = {
        action
        for role in resources("AWS::IAM::Role")
        for each in statements(role)
        for action in as_list(each["Action"])
    }
    assert {right for right in rights if "EventSourceMapping" in right} == set()
    assert resources("AWS::IAM::Policy") == {}


def test_breaker_rights() -> None:
    may = {
        role
        for role in resources("AWS::IAM::Role")
        for statement in statements(role)
        if "breaker" in json.dumps(statement.get("Condition", {}))
    }
    assert may == {"PushRole", "TestConnectionRole"}


OFFICERS = ("ViewerPolicy", "OperatorPolicy")
CHANGES = {
    "OperatorPolicy": {
        "ssm:PutParameter",
        "secretsmanager:PutSecretValue",
        "secretsmanager:UpdateSecretVersionStage",
        "lambda:InvokeFunction",
    },
    "ViewerPolicy": set(),
}


@pytest.mark.parametrize("policy", OFFICERS)
def test_officer_changes(policy: str) -> None:
    allowed = properties(policy)["PolicyDocument"]["Statement"]
    actions = {action for statement in allowed for action in as_list(statement["Action"])}
    sees = re.compile(r"\w+:(Get|BatchGet|Describe|Query|List|Filter)\w*")
    assert {action for action in actions if not sees.fullmatch(action)} == CHANGES[policy]
    assert "secretsmanager:GetSecretValue" not in actions


@pytest.mark.parametrize("policy", OFFICERS)
def test_officer_targets(policy: str) -> None:
    for statement in properties(policy)["PolicyDocument"]["Statement"]:
        assert statement["Effect"] == "Allow"
        for target in as_list(statement["Resource"]):
            named = json.dumps(target).removesuffix('/*"}')
            assert "*" not in named, statement["Sid"]


def test_officer_outputs() -> None:
    outputs = {name: stack()["Outputs"][name]["Value"] for name in ("Viewer", "Operator")}
    assert outputs == {"Viewer": {"Ref": "ViewerPolicy"}, "Operator": {"Ref": "OperatorPolicy"}}


def test_no_row_is_deleted() -> None:
    actions = {
        action
        for role in resources("AWS::IAM::Role")
        for statement in statements(role)
        for action in as_list(statement["Action"])
    }
    assert not actions & {"dynamodb:*", "dynamodb:DeleteItem", "dynamodb:PutItem"}


def test_log_rights() -> None:
    for function in ("Compute", "Push", "TestConnection", "Watchdog"):
        (log,) = [s for s in statements(f"{function}Role") if s["Sid"] == "Log"]
        assert log["Resource"] == {"Fn::GetAtt": [f"{function}LogGroup", "Arn"]}
        assert log["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]


# -------------------------------------------------------------------------- settings, secrets, table, network


def test_deployment_keeps_settings() -> None:
    assert not resources("AWS::SSM::Parameter")
    secrets = resources("AWS::SecretsManager::Secret")
    assert {secret["Properties"]["Name"]["Fn::Sub"] for secret in secrets.values()} == {
        "${AWS::StackName}/dhis2",
        "${AWS::StackName}/database",
    }
    for secret in secrets.values():
        assert not {"SecretString", "GenerateSecretString"} & set(secret["Properties"])


def test_table_expiry_and_restore() -> None:
    table = properties("Table")
    assert table["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_no_vpc_without_subnets() -> None:
    for name, function in resources("AWS::Lambda::Function").items():
        if name == "WatchdogFunction":
            # It needs neither mSupply nor DHIS2, and must see what a wrong network keeps the others from.
            assert "VpcConfig" not in function["Properties"]
            continue
        condition, _, otherwise = function["Properties"]["VpcConfig"]["Fn::If"]
        assert condition == name.replace("Function", "InVpc")
        assert otherwise == {"Ref": "AWS::NoValue"}
    for network in ("Compute", "Push", "TestConnection"):
        assert source()["Parameters"][f"{network}Subnets"]["Default"] == ""


def test_endpoints() -> None:
    endpoints = resources("AWS::EC2::VPCEndpoint")
    assert all(endpoint["Condition"] == "MakeEndpoints" for endpoint in endpoints.values())
    services = {
        endpoint["Properties"]["ServiceName"]["Fn::Sub"].rpartition(".")[2] for endpoint in endpoints.values()
    }
    called = {
        action.partition(":")[0]
        for role in resources("AWS::IAM::Role")
        if role != "WatchdogRole"  # whose function is in no VPC
        for statement in statements(role)
        for action in as_list(statement["Action"])
    }
    # What a function logs leaves it without its network; it is Secrets Manager that has a secret decrypted.
    assert services == called - {"logs", "kms"}


# ------------------------------------------------------------------------------------------- what people see


def test_parameters_are_described() -> None:
    interface = source()["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(grouped) == sorted(source()["Parameters"])
    assert set(interface["ParameterLabels"]) == set(source()["Parameters"])
    for name, parameter in source()["Parameters"].items():
        assert parameter["Description"].endswith("."), name


def test_only_time_zone_required() -> None:
    assert [name for name, parameter in source()["Parameters"].items() if "Default" not in parameter] == [
        "Timezone"
    ]


def test_every_time_zone() -> None:
    pattern = re.compile(source()["Parameters"]["Timezone"]["AllowedPattern"])
    assert [name for name in available_timezones() if not pattern.fullmatch(name)] == []
    assert not pattern.fullmatch("UTC+12; DROP")


@pytest.mark.parametrize(
    ("output", "command"),
    [
        ("PutSettings", "aws ssm put-parameter"),
        ("PutDhis2Credentials", "aws secretsmanager put-secret-value"),
        ("PutDatabaseAddress", "aws secretsmanager put-secret-value"),
        ("TestConnection", "aws lambda invoke"),
        ("ManualPush", "aws lambda invoke"),
        ("PushLog", "aws logs tail"),
        ("ComputeLog", "aws logs tail"),
    ],
)
def test_next_command(output: str, command: str) -> None:
    value = stack()["Outputs"][output]["Value"]["Fn::Sub"]
    assert value.startswith(f"{command} ")
    assert "--region ${AWS::Region}" in value
    assert "\n" not in value


def test_manual_push_event() -> None:
    command = stack()["Outputs"]["ManualPush"]["Value"]["Fn::Sub"]
    match = re.search(r"--payload '(.+?)'", command)
    assert match
    assert parse_compute_event(json.loads(match[1])).manual


def test_command_time_outs() -> None:
    invoking = {
        name: output["Value"]["Fn::Sub"]
        for name, output in stack()["Outputs"].items()
        if "aws lambda invoke" in str(output["Value"])
    }
    assert len(invoking) >= 4
    for name, command in invoking.items():
        function = re.search(r"--function-name \$\{(\w+)}", command)
        assert function
        # After it the command line invokes the function again.
        waits = re.search(r"--cli-read-timeout (\d+)", command)
        seconds = int(waits[1]) if waits else 60
        is_waited_for = "--invocation-type Event" not in command
        assert not is_waited_for or seconds > properties(function[1])["Timeout"], name


def test_outputs_are_described() -> None:
    for name, output in stack()["Outputs"].items():
        assert output["Description"].endswith("."), name


def test_plain_ascii() -> None:
    # CloudFormation shows question marks for anything else in some descriptions.
    assert (PROJECT / "template.yaml").read_bytes().isascii()


def test_neutral_deploy_settings() -> None:
    text = (PROJECT / "samconfig.toml").read_text()
    default = tomllib.loads(text)["default"]
    assert "region" not in default["global"]["parameters"]
    assert "parameter_overrides" not in default["deploy"]["parameters"]
    assert default["deploy"]["parameters"]["capabilities"] == "CAPABILITY_IAM"


# ------------------------------------------------------------------------------------------------------ alarms


ALARMS = sorted(resources("AWS::CloudWatch::Alarm"))


def metrics_of(alarm: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the metrics that an alarm looks at, each as CloudWatch names it."""
    if "MetricName" in alarm:
        return [alarm]
    return [query["MetricStat"]["Metric"] for query in alarm["Metrics"] if "MetricStat" in query]


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_text(name: str) -> None:
    alarm = properties(name)
    assert alarm["OKActions"] == [{"Ref": "AlertTopic"}]
    assert alarm["AlarmActions"] == [{"Ref": "AlertTopic"}]
    said = alarm["AlarmDescription"]["Fn::Sub"]
    longest_names = said.replace("${AWS::Region}", "ap-southeast-1").replace("${AWS::StackName}", "n" * 40)
    assert len(longest_names) <= 1_024, "CloudWatch takes no longer one"
    links = re.findall(r"https://\S+", said)
    assert links
    logs = {
        group["Properties"]["LogGroupName"]["Fn::Sub"] for group in resources("AWS::Logs::LogGroup").values()
    }
    for link in links:
        if name == "FunctionAlarm":
            # Lambda writes no line where it does not let a function run: these are the graphs of each function.
            function = link.partition("#/functions/")[2].removesuffix("?tab=monitoring")
            watched = {json.dumps(metric["Dimensions"][0]["Value"]) for metric in metrics_of(alarm)}
            assert {
                json.dumps({"Ref": each})
                for each, resource in resources("AWS::Lambda::Function").items()
                if resource["Properties"]["FunctionName"] == {"Fn::Sub": function}
            } <= watched
        else:
            group, pattern = log_and_filter(link)
            assert group in logs
            assert pattern


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_commands_exist(name: str) -> None:
    said = properties(name)["AlarmDescription"]["Fn::Sub"]
    targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    chapters = (PROJECT / "docs/operating.md").read_text(encoding="utf-8").splitlines()
    assert set(re.findall(r"\bmake ([a-z-]+)", said)) <= set(targets)
    assert {f"## {chapter}" for chapter in re.findall(r"docs/operating\.md, ([^)]+)\)", said)} <= set(
        chapters
    )


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_metrics_exist(name: str) -> None:
    emitted = set(
        re.findall(
            r'"([A-Z]\w+)"',
            "".join(
                path.read_text(encoding="utf-8")
                for path in (PROJECT / "layers/common/msupply_dhis2/handlers").glob("*.py")
            ),
        )
    )
    of_aws = {
        "AWS/SQS": {"ApproximateNumberOfMessagesVisible"},
        "AWS/Lambda": {"Errors", "Throttles"},
    }
    metrics = metrics_of(properties(name))
    assert metrics
    for metric in metrics:
        if metric["Namespace"] == {"Ref": "AWS::StackName"}:
            assert metric["MetricName"] in emitted
            (dimension,) = metric["Dimensions"]
            services = {
                function["Properties"]["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
                for function in resources("AWS::Lambda::Function").values()
            }
            # What several functions say of runs and of the breaker is said as a service of its own.
            shared = {"runs", "breaker"}
            assert (dimension["Name"], dimension["Value"] in services | shared) == ("service", True)
        else:
            assert metric["MetricName"] in of_aws[metric["Namespace"]]


def test_alarm_list() -> None:
    assert {name.removesuffix("Alarm") for name in ALARMS} == {
        "Run",
        "Rejections",
        "LoginRefused",
        "BreakerOpen",
        "DeadLetter",
        "WatchdogSilent",
        "Function",
    }


def test_alarm_for_each_function() -> None:
    watched = {
        json.dumps(dimension["Value"])
        for name in ALARMS
        for metric in metrics_of(properties(name))
        for dimension in metric["Dimensions"]
    }
    for queue in ("FailedBatchQueue", "FailedShardQueue", "FailedRunQueue"):
        assert json.dumps({"Fn::GetAtt": [queue, "QueueName"]}) in watched
    for function in resources("AWS::Lambda::Function"):
        assert json.dumps({"Ref": function}) in watched


def test_topic_access() -> None:
    # With the key that AWS manages for SNS, CloudWatch could not publish, and would say nothing.
    assert properties("AlertTopic")["KmsMasterKeyId"] == {"Fn::GetAtt": ["AlertKey", "Arn"]}
    key = properties("AlertKey")
    assert key["EnableKeyRotation"] is True
    own_account = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    (encrypts,) = (each for each in key["KeyPolicy"]["Statement"] if "Service" in each["Principal"])
    assert encrypts["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert set(encrypts["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey*"}
    assert encrypts["Condition"] == own_account
    publishes, refuses = map(where_chosen, properties("AlertTopicPolicy")["PolicyDocument"]["Statement"])
    assert (publishes["Principal"], publishes["Condition"]) == (encrypts["Principal"], own_account)
    assert (refuses["Effect"], refuses["Condition"]["Bool"]) == ("Deny", {"aws:SecureTransport": "false"})


def test_optional_email() -> None:
    subscription = resources("AWS::SNS::Subscription")["AlertSubscription"]
    assert subscription["Condition"] == "HasAlertEmail"
    assert subscription["Properties"]["Endpoint"] == {"Ref": "AlertEmail"}


# ------------------------------------------------------------------------------------------------------- bucket


def test_bucket_protection() -> None:
    bucket = properties("ReportBucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    expiring = {
        rule["Prefix"]: rule["ExpirationInDays"]
        for rule in bucket["LifecycleConfiguration"]["Rules"]
        if "Prefix" in rule
    }
    assert expiring == {"runs/": 400, "exports/": 7}
    (refuses,) = properties("ReportBucketPolicy")["PolicyDocument"]["Statement"]
    assert (refuses["Effect"], refuses["Condition"]["Bool"]) == ("Deny", {"aws:SecureTransport": "false"})
    assert resources("AWS::S3::Bucket")["ReportBucket"]["DeletionPolicy"] == "RetainExceptOnCreate"


def test_bucket_tells_missing_files() -> None:
    # S3 answers "no such key" (404) only to a role that may list the bucket, and "access denied" (403) to any other.
    # When it decides that for a file there is no s3:prefix: a right that is tied to one does not count.
    readers = {
        role
        for role in resources("AWS::IAM::Role")
        for statement in statements(role)
        if "s3:GetObject" in as_list(statement["Action"])
    }
    assert readers == {"ComputeRole", "PushRole", "WatchdogRole"}
    for role in readers:
        (lists,) = (each for each in statements(role) if each["Action"] == "s3:ListBucket")
        assert lists["Resource"] == {"Fn::GetAtt": ["ReportBucket", "Arn"]}
        assert "Condition" not in lists, role


@pytest.mark.parametrize("table", sorted(resources("AWS::DynamoDB::Table")))
def test_tables_refuse_http(table: str) -> None:
    policy = properties(table)["ResourcePolicy"]
    assert policy["Fn::If"][0] == "HasTransportPolicies"
    (refuses,) = where_chosen(policy)["PolicyDocument"]["Statement"]
    assert (refuses["Effect"], refuses["Principal"], refuses["Action"]) == ("Deny", "*", "dynamodb:*")
    assert refuses["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_without_http_policies() -> None:
    # An exemption of the emulator's account would be one in production too.
    assert source()["Parameters"]["TransportPolicies"]["Default"] == "yes"
    assert "000000000000" not in json.dumps(stack())


def test_own_secret() -> None:
    assert resources("AWS::SecretsManager::Secret")["DatabaseSecret"]["Condition"] == "MakeDatabaseSecret"
    own = {
        "Fn::If": [
            "MakeDatabaseSecret",
            {"Fn::GetAtt": ["DatabaseSecret", "Id"]},
            {"Ref": "DatabaseSecretArn"},
        ]
    }
    variables = properties("ComputeFunction")["Environment"]["Variables"]
    assert variables["DATABASE_SECRET"] == own
    by_name = {statement["Sid"]: statement for statement in statements("ComputeRole")}
    assert by_name["ReadDatabaseAddress"]["Resource"] == own
    assert by_name["DecryptDatabaseAddress"]["Action"] == "kms:Decrypt"
    assert by_name["DecryptDatabaseAddress"]["Resource"] == {"Ref": "DatabaseSecretKeyArn"}


def test_history_outlives_stack() -> None:
    for name in ("RunsTable", "ReportBucket"):
        kept = stack()["Resources"][name]
        assert (kept["DeletionPolicy"], kept["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


@pytest.mark.parametrize("secret", sorted(resources("AWS::SecretsManager::Secret")))
def test_secrets_refuse_strangers(secret: str) -> None:
    # Without a key of its own Secrets Manager encrypts a secret with the account's.
    (policy,) = (
        each["Properties"]
        for each in resources("AWS::SecretsManager::ResourcePolicy").values()
        if each["Properties"]["SecretId"] == {"Ref": secret}
    )
    assert policy["BlockPublicPolicy"] is True
    (refuses,) = policy["ResourcePolicy"]["Statement"]
    assert (refuses["Effect"], refuses["Principal"], refuses["Action"]) == ("Deny", "*", "secretsmanager:*")
    assert refuses["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_no_secret_in_environment() -> None:
    assert "{{resolve:" not in json.dumps(stack())


def test_topic_key() -> None:
    publishers = {
        role
        for role in resources("AWS::IAM::Role")
        for statement in statements(role)
        if "sns:Publish" in as_list(statement["Action"])
    }
    assert publishers == {"WatchdogRole"}
    for role in publishers:
        (uses,) = (each for each in statements(role) if "kms:Decrypt" in as_list(each["Action"]))
        assert uses["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
        assert uses["Resource"] == {"Fn::GetAtt": ["AlertKey", "Arn"]}


@pytest.mark.parametrize("table", sorted(resources("AWS::DynamoDB::Table")))
def test_tables_are_encrypted(table: str) -> None:
    assert properties(table)["SSESpecification"] == {"SSEEnabled": True}
    assert properties(table)["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}


def test_message_expires_first() -> None:
    # A dead letter that the watchdog takes up, or that is sent again and fails, lives that long once more.
    assert 4 * (QUEUE_KEEPS + KEPT_FOR) < MESSAGES_KEPT_FOR


def test_receive_count() -> None:
    queue = properties("BatchQueue")
    receives = queue["RedrivePolicy"]["maxReceiveCount"]
    # In test_breaker a message is put back 265 times in ten days; half-open trials are among them.
    assert receives == 400
    days_of_breaking_off = receives * queue["VisibilityTimeout"] / 86_400
    assert days_of_breaking_off < WAITS_FOR.days < queue["MessageRetentionPeriod"] / 86_400


# ---------------------------------------------------------------------------------------------------- dashboard


def dashboard() -> dict[str, Any]:
    body = properties("Dashboard")["DashboardBody"]["Fn::Sub"]
    shown: dict[str, Any] = json.loads(body.replace("${AWS::StackName}", "name"))
    return shown


def widgets() -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = dashboard()["widgets"]
    return shown


def test_dashboard_period() -> None:
    # Where nothing is said CloudWatch shows three hours.
    days = re.fullmatch(r"-P(\d+)D", dashboard().get("start", ""))
    assert days is not None
    assert int(days.group(1)) > 31


def test_dashboard_metrics_exist() -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in (PROJECT / "layers/common/msupply_dhis2/handlers").glob("*.py")
    )
    queues = {queue["Properties"]["QueueName"]["Fn::Sub"] for queue in resources("AWS::SQS::Queue").values()}
    shown = [metric for widget in widgets() for metric in widget["properties"].get("metrics", ())]
    assert len(shown) > 10
    for namespace, name, dimension, value, *_ in (metric for metric in shown if len(metric) > 1):
        if namespace == "name":
            assert f'"{name}"' in code
            assert (dimension, value in {"push", "compute", "test-connection", "runs", "breaker"}) == (
                "service",
                True,
            )
        else:
            assert (namespace, dimension) == ("AWS/SQS", "QueueName")
            assert value.replace("name-", "${AWS::StackName}-") in queues


def test_log_queries() -> None:
    groups = {
        group["Properties"]["LogGroupName"]["Fn::Sub"] for group in resources("AWS::Logs::LogGroup").values()
    }
    asked = [widget["properties"]["query"] for widget in widgets() if widget["type"] == "log"]
    assert len(asked) == 5
    for query in asked:
        sources = re.findall(r"SOURCE '([^']+)'", query)
        assert sources
        assert {source.replace("/name/", "/${AWS::StackName}/") for source in sources} <= groups
    saved = resources("AWS::Logs::QueryDefinition")
    assert len(saved) == 10
    for query in saved.values():
        assert query["Condition"] == "SaveQueries"
        assert all(
            name["Ref"] in resources("AWS::Logs::LogGroup") for name in query["Properties"]["LogGroupNames"]
        )


def test_widget_layout() -> None:
    taken: set[tuple[int, int]] = set()
    for widget in widgets():
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
