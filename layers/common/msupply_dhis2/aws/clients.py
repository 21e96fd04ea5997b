"""boto3 clients, each made once for a warm function, with short time-outs.

In a private subnet without an endpoint for a service, a call would otherwise hang until the function's own
time-out, without a word about the cause.
"""

from functools import cache

import boto3
from botocore.config import Config

from msupply_dhis2.aws.dynamodb import Table, wait_where_busy

ASK_COMPUTE_SECONDS = 20
"""Enough for a cold start of compute and its time-out for the database."""

_CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
_CONFIG_OF_COMPUTE = Config(
    connect_timeout=5, read_timeout=ASK_COMPUTE_SECONDS, retries={"total_max_attempts": 1}
)
"""One attempt, and shorter than the test's own time-out, so that a compute that hangs is told as one."""


ssm = cache(lambda: boto3.client("ssm", config=_CONFIG))
secretsmanager = cache(lambda: boto3.client("secretsmanager", config=_CONFIG))
s3 = cache(lambda: boto3.client("s3", config=_CONFIG))
sns = cache(lambda: boto3.client("sns", config=_CONFIG))
sqs = cache(lambda: boto3.client("sqs", config=_CONFIG))
lambda_ = cache(lambda: boto3.client("lambda", config=_CONFIG_OF_COMPUTE))
"""By which the connection test asks compute about the database."""


@cache
def table(name: str) -> Table:
    """Return the table of all that is remembered from one invocation to the next."""
    table = boto3.resource("dynamodb", config=_CONFIG).Table(name)
    wait_where_busy(table.meta.client)
    return table
