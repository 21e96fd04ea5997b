"""What one batch costs on AWS, and one message that waits: requests, units and dollars.

    uv run python benchmarks/batch.py [--stores 40] [--items 500]

A run of a sample is worked by the functions' handlers as they are deployed, against moto and the stand-in of DHIS2: compute
puts it on the queue, then push sends it. Then sending is paused, and every message of a second run is delivered once: push
puts it back. Each call of AWS is counted with the units that it is charged by; what Lambda does itself is added: it receives
each message, and deletes what is finished. Counts are the same each time. Seconds of the processor are this machine's; an
answer of AWS takes 10 thousandths of a second, and DHIS2 imports 1,500 values a second.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import prices
from benchmarks.aws_calls import message_bytes
from benchmarks.compute import LAST_DAY
from benchmarks.costs import (
    AWS_SECONDS,
    MOVEMENTS_OF_A_PAIR,
    WHOLE_CORE_MEGABYTES,
    Stack,
    Units,
    daily_event,
    megabytes,
    stack,
)
from benchmarks.measure import Table, in_a_process
from sandbox.handlers import delivery
from sandbox.sample import generate

PRICES = (
    prices.SQS_REQUEST,
    prices.DYNAMODB_WRITE,
    prices.DYNAMODB_READ,
    prices.SECRET_CALL,
    prices.S3_WRITE,
    prices.S3_READ,
    prices.LAMBDA_REQUEST,
    prices.LAMBDA_TIME,
    prices.LOGS,
)
COMPUTED, SENT, WAITED = "computed", "sent", "put back once"
DHIS2_RATE = 1_500
NO_ITEM_IS_REFUSED = 1_000_000
PAUSE, RESUME = {"breaker": "open"}, {"breaker": "close"}


def main() -> None:
    """Work the runs, and print what a batch and a message that waits cost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stores", type=int, default=40)
    parser.add_argument("--items", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = f"sqlite:///{folder}/sample.sqlite"
        generate(
            database,
            stores=options.stores,
            items=options.items,
            movements=round(options.stores * options.items * MOVEMENTS_OF_A_PAIR),
            as_of=LAST_DAY,
            edge_cases=False,
        )
        counted = in_a_process(partial(count, database))
    report(counted)


def count(database: str) -> dict[str, Units]:
    """Count what a batch comes to when it is computed, when it is sent, and each time that it is put back."""
    counted: dict[str, Units] = {}
    day = datetime.combine(LAST_DAY, datetime.min.time(), UTC)
    with stack(database, NO_ITEM_IS_REFUSED, DHIS2_RATE, only_changes=False) as it:
        # The first run also reads settings, metadata and the layout of the database.
        it.run(daily_event(day - timedelta(days=2)))
        it.taken()
        batches = it.compute(daily_event(day - timedelta(days=1)))["batches"]
        counted[COMPUTED] = mean(it.taken(), batches)
        it.deliver("push", it.aws.queue_url)
        counted[SENT] = mean(it.taken(), batches)
        it.compute(daily_event(day))
        it.invoke("push", PAUSE)
        it.taken()
        messages = put_back(it)
        counted[WAITED] = mean(it.taken(), messages)
        it.invoke("push", RESUME)
    return counted


def put_back(it: Stack) -> int:
    """Deliver each message once while sending is paused, and return how many there were."""
    number = 0
    while messages := it.aws.sqs.receive_message(
        QueueUrl=it.aws.queue_url,
        MaxNumberOfMessages=10,
        MessageAttributeNames=["All"],
        MessageSystemAttributeNames=["All"],
    ).get("Messages"):
        for message in messages:
            number += 1
            size = message_bytes(message["Body"], message.get("MessageAttributes", {}))
            it.units["SQS requests"] += prices.sqs_requests(size)
            answer = it.invoke("push", delivery([message], it.aws.queue_arn))
            if answer == {"batchItemFailures": []}:
                raise SystemExit("Push kept a message though sending is paused: nothing to count.")
    return number


def mean(units: Units, number: int) -> Units:
    """Return what one of so many came to, by what is charged and by calls."""
    each: Units = defaultdict(float)
    for name, amount in units.items():
        each[name] = amount / number
    for function in [name.partition(":")[0] for name in units if name.endswith(": invocations")]:
        share = min(1.0, megabytes(function) / WHOLE_CORE_MEGABYTES)
        seconds = (
            each[f"{function}: processor seconds"] / share
            + each[f"{function}: calls of AWS"] * AWS_SECONDS
            + each[f"{function}: seconds of DHIS2"]
        )
        each[prices.LAMBDA_TIME.unit] += seconds * megabytes(function) / 1024
        each[prices.LAMBDA_REQUEST.unit] += each[f"{function}: invocations"]
        each[prices.LOGS.unit] += each[f"{function}: bytes of logs"] / prices.GIGABYTE
    return each


def report(counted: dict[str, Units]) -> None:
    """Print the table in Markdown."""
    table = Table("one batch", *(f"{what}:" for what in counted))
    calls = sorted({name for units in counted.values() for name in units if is_call(name)})
    for name in calls:
        table.row(f"`{name}`", *(f"{units[name]:.2f}" for units in counted.values()))
    for price in PRICES:
        table.row(price.unit, *(amount(units[price.unit]) for units in counted.values()))
    dollars = [1e6 * sum(price.dollars * units[price.unit] for price in PRICES) for units in counted.values()]
    table.row("**dollars of a million**", *(f"**{each:.2f}**" for each in dollars))


def is_call(name: str) -> bool:
    """Return whether a count is that of a call, such as ``sqs:SendMessageBatch``."""
    service, _, operation = name.partition(":")
    return operation[:1].isupper() and " " not in service


def amount(number: float) -> str:
    """Return a number that may be small."""
    return f"{number:.2f}" if number >= 0.01 or not number else f"{number:.2g}"  # noqa: PLR2004 - two digits say enough


if __name__ == "__main__":
    main()
