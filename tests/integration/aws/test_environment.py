import json
import socket
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import SecretStr

from msupply_dhis2.aws.environment import (
    ComputeEnvironment,
    PushEnvironment,
    TestConnectionEnvironment,
    read_database_address,
    read_dhis2_credentials,
    read_settings,
)
from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.errors import (
    AwsBusyError,
    AwsError,
    AwsRefusedError,
    ConfigurationError,
    CredentialsError,
    SettingsError,
)
from msupply_dhis2.settings import Settings
from tests.conftest import Aws
from tests.support.paths import PROJECT

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_ssm import SSMClient

DOCUMENT = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
PARAMETER = "/msupply-dhis2/settings"
OFF = Settings(use_dhis2=False)
VARIABLES = {
    "SETTINGS_PARAMETER": PARAMETER,
    "DATABASE_SECRET": "arn:database",
    "DHIS2_SECRET": "arn:dhis2",
    "QUEUE_URL": "https://sqs/queue",
    "DEAD_LETTER_QUEUE_URL": "https://sqs/dead",
    "TABLE_NAME": "table",
    "TIMEZONE": "Pacific/Auckland",
    "PUSH_LOG_GROUP": "/push",
    "COMPUTE_FUNCTION": "compute",
    "SHARD_QUEUE_URL": "https://sqs/shards",
    "FAILED_SHARD_QUEUE_URL": "https://sqs/failed-shards",
    "LINES_PER_INVOCATION": "2000000",
    "DELTA_TABLE_NAME": "acknowledged",
    "RUNS_TABLE_NAME": "runs",
    "ORDERING_TABLE_NAME": "order",
    "BUCKET_NAME": "reports",
}


@pytest.fixture
def ssm(aws: Aws) -> "SSMClient":
    return aws.ssm


@pytest.fixture
def secretsmanager(aws: Aws) -> "SecretsManagerClient":
    return aws.secretsmanager


def test_settings_read_anew(ssm: "SSMClient") -> None:
    for days in (30, 60):
        document = f"use_dhis2: off\nexpiring_within_days: {days}"
        ssm.put_parameter(Name=PARAMETER, Type="String", Value=document, Overwrite=True)
        assert read_settings(PARAMETER, ssm).expiring_within_days == days


def test_missing_settings(ssm: "SSMClient") -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(PARAMETER, ssm)
    (fault,) = caught.value.faults
    assert fault.startswith("There are no settings yet")
    assert "make settings" in fault
    assert (
        f"aws ssm put-parameter --name {PARAMETER} --type String --tier Intelligent-Tiering --overwrite"
        in fault
    )
    assert f"{fault}\n" in DOCUMENT


def test_faulty_settings(ssm: "SSMClient") -> None:
    ssm.put_parameter(Name=PARAMETER, Type="String", Value="use_dhis2: true")
    with pytest.raises(SettingsError) as caught:
        read_settings(PARAMETER, ssm)
    assert len(caught.value.faults) == 7


def test_credentials_read_anew(secretsmanager: "SecretsManagerClient") -> None:
    secretsmanager.create_secret(Name="s/dhis2")
    versions = set()
    for password in ("one", "two", "two"):
        secret = json.dumps({"username": "admin", "password": password})
        put = secretsmanager.put_secret_value(SecretId="s/dhis2", SecretString=secret)
        credentials = read_dhis2_credentials("s/dhis2", secretsmanager, OFF)
        assert credentials.password == SecretStr(password)
        assert credentials.version == put["VersionId"]
        versions.add(credentials.version)
    assert len(versions) == 3


def test_secret_by_arn(secretsmanager: "SecretsManagerClient") -> None:
    arn = secretsmanager.create_secret(Name="s/database", SecretString="postgresql://reader@db/omsupply")[
        "ARN"
    ]
    assert read_database_address(arn, secretsmanager).host == "db"


@pytest.mark.parametrize("empty", [{}, {"SecretString": " "}, {"SecretBinary": b"x"}])
def test_empty_secret(secretsmanager: "SecretsManagerClient", empty: dict[str, str]) -> None:
    secretsmanager.create_secret(Name="s/any", **empty)  # type: ignore[arg-type]
    for read in (
        lambda: read_dhis2_credentials("s/any", secretsmanager, OFF),
        lambda: read_database_address("s/any", secretsmanager),
    ):
        with pytest.raises(CredentialsError) as caught:
            read()
        assert "is not filled in yet" in str(caught.value)
        assert "make credentials" in str(caught.value)
        assert "aws secretsmanager put-secret-value --secret-id s/any" in str(caught.value)


def test_documented_empty_secret(
    secretsmanager: "SecretsManagerClient",
) -> None:
    for name in ("dhis2", "database"):
        secretsmanager.create_secret(Name=f"msupply-dhis2/{name}")
    with pytest.raises(CredentialsError) as dhis2:
        read_dhis2_credentials("msupply-dhis2/dhis2", secretsmanager, OFF)
    with pytest.raises(CredentialsError) as database:
        read_database_address("msupply-dhis2/database", secretsmanager)
    assert f"{dhis2.value}\n{database.value}\n" in DOCUMENT


def test_no_such_secret(secretsmanager: "SecretsManagerClient") -> None:
    with pytest.raises(CredentialsError, match=r"s/dhis2 with DHIS2's credentials does not exist\. Deploy"):
        read_dhis2_credentials("s/dhis2", secretsmanager, OFF)


def test_secret_being_deleted(
    secretsmanager: "SecretsManagerClient",
) -> None:
    secretsmanager.create_secret(Name="s/database", SecretString="x")
    secretsmanager.delete_secret(SecretId="s/database")
    with pytest.raises(AwsRefusedError, match=r"reading the secret s/database: .*deleted"):
        read_database_address("s/database", secretsmanager)


ANSWERED = "AWS answered with an error while reading it"


@pytest.mark.parametrize(
    ("code", "status", "part", "kind"),
    [
        ("AccessDeniedException", 400, "AWS refused reading it (AccessDeniedException)", AwsRefusedError),
        (
            "ExpiredTokenException",
            400,
            "AWS does not accept the login while reading it. Run",
            AwsRefusedError,
        ),
        ("ValidationException", 400, f"{ANSWERED}: said by AWS", AwsRefusedError),
        ("ThrottlingException", 400, f"{ANSWERED}: said by AWS", AwsBusyError),
        ("InternalServerError", 500, f"{ANSWERED}: said by AWS", AwsBusyError),
    ],
)
def test_aws_refusals(ssm: "SSMClient", code: str, status: int, part: str, kind: type[AwsError]) -> None:
    answer = ClientError(
        {"Error": {"Code": code, "Message": "said by AWS"}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]  # the rest is not looked at
        "GetParameter",
    )
    with pytest.raises(kind) as caught, aws_faults("reading it", ssm):
        raise answer
    assert part in str(caught.value)


@pytest.mark.usefixtures("aws")
def test_unreachable_service() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        once = Config(connect_timeout=1, retries={"total_max_attempts": 1})
        client = boto3.client("secretsmanager", endpoint_url=address, config=once)
        with pytest.raises(AwsBusyError) as caught:
            read_database_address("s/database", client)
    assert "AWS did not answer while reading the secret s/database" in str(caught.value)
    assert "com.amazonaws.us-east-1.secretsmanager" in str(caught.value)


@pytest.mark.usefixtures("aws")
def test_not_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    client = boto3.session.Session().client("ssm")
    with pytest.raises(AwsRefusedError, match="AWS was not logged in to while reading the settings"):
        read_settings(PARAMETER, client)


def test_environment_per_function(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, f" {value} ")
    compute, push, test = ComputeEnvironment.read(), PushEnvironment.read(), TestConnectionEnvironment.read()
    assert (compute.settings_parameter, compute.database_secret) == (PARAMETER, "arn:database")
    assert (compute.queue_url, compute.table_name, compute.timezone) == (
        "https://sqs/queue",
        "table",
        "Pacific/Auckland",
    )
    assert compute.push_log_group == "/push"
    assert (push.dhis2_secret, push.queue_url, push.dead_letter_queue_url) == (
        "arn:dhis2",
        "https://sqs/queue",
        "https://sqs/dead",
    )
    assert (test.dhis2_secret, test.compute_function, test.queue_url) == (
        "arn:dhis2",
        "compute",
        "https://sqs/queue",
    )


def test_missing_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TIMEZONE")
    monkeypatch.setenv("DHIS2_SECRET", " ")
    with pytest.raises(ConfigurationError, match="TIMEZONE: Field required, DHIS2_SECRET: Field required"):
        PushEnvironment.read()
