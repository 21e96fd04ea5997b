"""The console on a stack: the functions do the work, and the settings are the stack's parameter."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from cli.console.stack_state import StackState
from cli.stack import Stack
from msupply_dhis2.preflight.check import failed, passed
from msupply_dhis2.preflight.job import ConnectionReport, Server
from msupply_dhis2.settings import parse_settings
from sandbox.aws_on_moto import BUCKET, Aws
from tests.integration.cli.console.conftest import SCRIPT
from tests.support.console import Browser

NAME = "malawi"
PARAMETER = f"/{NAME}/settings"
A_ROLE = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
RESOURCES = {
    "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": A_ROLE}},
    "ComputeFunction": {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "Runtime": "python3.13",
            "Handler": "index.handler",
            "Role": {"Fn::GetAtt": ["Role", "Arn"]},
            "Code": {"ZipFile": "handler = None"},
            "Environment": {"Variables": {"TIMEZONE": "Africa/Blantyre"}},
        },
    },
}
REPORT = ConnectionReport(
    connected=True,
    message="Connection successful",
    server=Server(version="2.42.5", name="Ministry of Health HMIS"),
    user="pusher",
    last_successful_connection="2026-11-01 03:30 (Africa/Blantyre)",
    checks=(
        passed("login", "DHIS2 authenticates pusher."),
        failed("stores", "1 store has no org unit.", [SCRIPT]),
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


@pytest.fixture
def asked() -> list[tuple[str, object]]:
    """Return what the functions were asked, which grows."""
    return []


@pytest.fixture
def officer(
    aws: Aws, settings: Path, asked: list[tuple[str, object]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Browser[StackState]]:
    """Yield a browser at the console of a stack whose functions answer what they are told to."""
    template = json.dumps({"Resources": RESOURCES})
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(StackName=NAME, TemplateBody=template, Capabilities=["CAPABILITY_IAM"])
    compact = parse_settings(settings.read_text()).compact()
    aws.ssm.put_parameter(Name=PARAMETER, Type="String", Value=compact, Overwrite=True)
    aws.s3.put_object(Bucket=BUCKET, Key="values.jsonl.gz", Body=gzip.compress(json.dumps(LINE).encode()))

    def invoke(_: Stack, function: str, event: object) -> dict[str, object]:
        asked.append((function, event))
        if function == "TestConnectionFunction":
            return REPORT.model_dump(mode="json")
        return {
            "status": "exported",
            "message": "1 value.",
            "values": 1,
            "file": f"s3://{BUCKET}/values.jsonl.gz",
        }

    monkeypatch.setattr(Stack, "invoke", invoke)
    yield Browser(StackState(NAME))
    cloudformation.delete_stack(StackName=NAME)
    aws.ssm.delete_parameter(Name=PARAMETER)


type Stacked = Browser[StackState]


def test_each_page_says_which_stack_it_is_and_whose_login_at_aws(officer: Stacked) -> None:
    page = officer.open("/tab")
    assert "stack malawi in us-east-1, as arn:aws:" in page.text
    assert "Time zone Africa/Blantyre" in page.text
    assert "The settings are complete." in page.text
    assert 'name="login.password"' not in page.source


def test_saving_uploads_a_new_version_of_the_parameter(officer: Stacked, aws: Aws) -> None:
    page = officer.submit(officer.open("/tab"), "/tab", action="review", items_per_payload="321")
    assert "No. of items per payload (empty) 321" in page.text
    page = officer.submit(page, "/tab/save")
    assert f"saved in the parameter {PARAMETER}" in page.text
    found = aws.ssm.get_parameter(Name=PARAMETER)["Parameter"]
    assert parse_settings(found["Value"]).items_per_payload == 321
    assert f"The former ones are in version {found['Version'] - 1} of {PARAMETER}." in page.text


def test_what_somebody_else_uploaded_meanwhile_stays(officer: Stacked, aws: Aws) -> None:
    page = officer.submit(officer.open("/tab"), "/tab", action="review", items_per_payload="321")
    theirs = aws.ssm.get_parameter(Name=PARAMETER)["Parameter"]["Value"].replace("{", '{"round_off":true,', 1)
    aws.ssm.put_parameter(Name=PARAMETER, Type="String", Value=theirs, Overwrite=True)
    refused = officer.submit(page, "/tab/save")
    assert "Somebody saved the settings after you opened this page." in refused.text
    assert aws.ssm.get_parameter(Name=PARAMETER)["Parameter"]["Value"] == theirs


def test_the_stack_tests_what_is_saved(officer: Stacked, asked: list[tuple[str, object]]) -> None:
    officer.submit(officer.open("/tab"), "/tab", action="test", items_per_payload="321")
    page = officer.wait("/connection")
    assert asked == [("TestConnectionFunction", {})]
    assert "Connection successful" in page.text
    assert "The stack tested the settings that are saved. What you typed differs" in page.text
    assert "Ministry of Health HMIS, 2.42.5" in page.text
    assert SCRIPT not in page.source


def test_the_preview_is_the_file_that_compute_left(officer: Stacked, asked: list[tuple[str, object]]) -> None:
    officer.submit(officer.open("/preview"), "/preview", basis="current_day", stores="Kamo")
    page = officer.wait("/preview")
    event = {"export": "values", "basis": "current_day", "stores": ["Kamo"]}
    assert asked == [("ComputeFunction", event)]
    assert "1 value found. Page 1 of 1." in page.text
    assert "1,234.5" in page.text
    assert SCRIPT not in page.source


def test_what_is_not_there_for_a_stack_is_not_linked(officer: Stacked) -> None:
    assert not any("/push" in link for link in officer.open("/tab").links)
    assert officer.open("/push").status == 404


def test_a_stack_that_fails_is_told_on_a_page(officer: Stacked, monkeypatch: pytest.MonkeyPatch) -> None:
    def invoke(stack: Stack, *_: object) -> dict[str, object]:
        return dict(stack.client("s3").get_object(Bucket="there-is-none", Key="x"))

    monkeypatch.setattr(Stack, "invoke", invoke)
    page = officer.open("/explain?store=Kamo&item=Amoxicillin&metric=issued")
    assert page.status == 400
    assert "NoSuchBucket" in page.text
