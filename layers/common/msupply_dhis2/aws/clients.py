"""boto3 clients, each made once for a warm function, with short time-outs.

In a private subnet without an endpoint for a service, a call would otherwise hang until the function's own
time-out, without a word about the cause.
"""

from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from msupply_dhis2.aws.dynamodb import wait_where_busy

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

ASK_COMPUTE_SECONDS = 20
"""Enough for a cold start of compute and its time-out for the database."""

_CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})


@cache
def ssm() -> "SSMClient":
    """Return the client that reads the settings."""
    return boto3.client("ssm", config=_CONFIG)


@cache
def secretsmanager() -> "SecretsManagerClient":
    """Return the client that reads the secrets."""
    return boto3.client("secretsmanager", config=_CONFIG)


@cache
def s3() -> "S3Client":
    """Return the client of the bucket."""
    return boto3.client("s3", config=_CONFIG)


@cache
def sns() -> "SNSClient":
    """Return the client that writes to people."""
    return boto3.client("sns", config=_CONFIG)


@cache
def sqs() -> "SQSClient":
    """Return the client that writes to the queues."""
    return boto3.client("sqs", config=_CONFIG)


@cache
def lambda_() -> "LambdaClient":
    """Return the client by which the connection test asks compute about the database.

    One attempt, and shorter than the test's own time-out, so that a compute that hangs is told as one.
    """
    return boto3.client(
        "lambda",
        config=Config(connect_timeout=5, read_timeout=ASK_COMPUTE_SECONDS, retries={"total_max_attempts": 1}),
    )


@cache
def table(name: str) -> "Table":
    """Return the table of all that is remembered from one invocation to the next."""
    table = boto3.resource("dynamodb", config=_CONFIG).Table(name)
    wait_where_busy(table.meta.client)
    return table
