"""What AWS charges: prices and the units in which it counts. The only list of prices; all benchmarks take theirs from here.

Prices are those of us-east-1 in US dollars, the first tier, as published on the pages named beside them. They were looked up in
November 2026, in copies of the pages and of guides to them from February to June 2026; those of S3's requests, of networks and of
data transfer could not be found in such a copy: look at their pages before you rely on them.
``free`` is what each account has free every month, for good and not for its first year only; a second stack in the same account
has no more of it.
"""

import math
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MONTH_HOURS = 720
"""Of a month of 30 days."""

GIGABYTE = 1024**3


@dataclass(frozen=True, slots=True)
class Price:
    """What one unit of something costs, and how many units are free each month."""

    unit: str
    dollars: float
    free: float = 0.0


# https://aws.amazon.com/lambda/pricing/ (x86_64). A cold start is charged as any other time, since August 2025.
LAMBDA_TIME = Price("GB-seconds", 0.0000166667, 400_000)
LAMBDA_REQUEST = Price("invocations", 0.20 / 1e6, 1e6)
# https://aws.amazon.com/sqs/pricing/ (standard queues): each 64 KB of a request is a request.
SQS_REQUEST = Price("SQS requests", 0.40 / 1e6, 1e6)
# https://aws.amazon.com/dynamodb/pricing/on-demand/ (since November 2024)
DYNAMODB_WRITE = Price("write units", 0.625 / 1e6)
DYNAMODB_READ = Price("read units", 0.125 / 1e6)
DYNAMODB_STORAGE = Price("GB of tables", 0.25, 25)
DYNAMODB_BACKUP = Price("GB of backups", 0.20)
# https://aws.amazon.com/s3/pricing/ (S3 Standard; what is free is so for the first year only, and so not here)
S3_WRITE = Price("S3 writes and lists", 0.005 / 1e3)
S3_READ = Price("S3 reads", 0.0004 / 1e3)
S3_STORAGE = Price("GB of files", 0.023)
# https://aws.amazon.com/secrets-manager/pricing/
SECRET = Price("secrets", 0.40)
SECRET_CALL = Price("reads of secrets", 0.05 / 1e4)
# https://aws.amazon.com/kms/pricing/: each of the first two yearly rotations adds another dollar a month.
KEY = Price("keys", 1.00)
KEY_CALL = Price("KMS requests", 0.03 / 1e4, 20_000)
# https://aws.amazon.com/cloudwatch/pricing/: a metric is charged for the hours in which something is written to it.
ALARM = Price("alarms", 0.10, 10)
DASHBOARD = Price("dashboards", 3.00, 3)
METRIC_HOUR = Price("hours of metrics", 0.30 / MONTH_HOURS, 10 * MONTH_HOURS)
# What is free of logs is 5 GB for taking in, keeping and searching together; here it is taken off the first.
LOGS = Price("GB of logs", 0.50, 5)
LOGS_STORAGE = Price("GB of logs kept", 0.03)
LOGS_SEARCH = Price("GB of logs searched", 0.005)
# https://aws.amazon.com/eventbridge/pricing/
SCHEDULE = Price("schedules started", 1.00 / 1e6, 14e6)
# https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer
DATA_OUT = Price("GB to the internet", 0.09, 100)
# https://aws.amazon.com/privatelink/pricing/ and https://aws.amazon.com/vpc/pricing/: for each hour, besides 1 and 4.5 cents a GB.
ENDPOINT_HOUR = 0.01
GATEWAY_HOUR = 0.045

SQS_CHUNK = 64 * 1024
_WRITE_BYTES = 1024
_READ_BYTES = 4096


def sqs_requests(size: int) -> int:
    """Return how many requests one of so many bytes is charged as."""
    return max(1, math.ceil(size / SQS_CHUNK))


def write_units(size: int) -> int:
    """Return the units that the writing of an item of so many bytes takes; in a transaction it takes twice as many."""
    return max(1, math.ceil(size / _WRITE_BYTES))


def read_units(size: int, *, consistent: bool = True) -> float:
    """Return the units that the reading of so many bytes takes."""
    return max(1, math.ceil(size / _READ_BYTES)) * (1 if consistent else 0.5)


def item_bytes(item: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the size by which DynamoDB charges an item, given as its interface gives it: names and values.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "S" | "SS":
            # A text, or several.
            return len("".join(content).encode())
        case "N":
            # Two digits a byte, and one byte more; one again for the sign.
            return math.ceil(len(content.strip("-.0")) / 2) + 1 + int(content[0] == "-")
        case "B" | "BS":
            # Bytes as boto3 gives them, or as they are on the wire; or several.
            parts = content if kind == "BS" else [content]
            return sum(len(part if isinstance(part, bytes) else b64decode(part)) for part in parts)
        case "M":
            return 3 + len(content) + item_bytes(content)
        case "L":
            return 3 + len(content) + sum(map(_value_bytes, content))
        case "BOOL" | "NULL":
            return 1
        case _:
            raise ValueError(f"No attribute of this project is of the kind {kind}.")
