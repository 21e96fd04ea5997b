"""What a stack tells of its runs: its table, the files in its bucket, and the log of push."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from cli.console.runs import CALLS_SHOWN, Call, Refused, RunShown, run_shown
from cli.console.words import plain
from cli.stack import Stack
from msupply_dhis2.domain.log_record import LogEvent
from msupply_dhis2.handlers.orders import EXPIRED_LISTED_FOR, DeadLetterGroup, grouped
from msupply_dhis2.state.dead_letters import KEPT_FOR, DeadLetters
from msupply_dhis2.state.rejected_rows import RejectedRows
from msupply_dhis2.state.runs import Runs

LOOKED_BACK = timedelta(days=120)
MOST_RUNS = 50
_AT_ONCE = 10
_LATE = timedelta(minutes=10)
"""So much later than a run has ended its last line may be in the log."""


def read_run(stack: Stack, run_id: str) -> RunShown | None:
    """Return a run with what its parts came to."""
    run = Runs(stack.table("RunsTable")).run(run_id)
    return None if run is None else run_shown(run)


def read_refused(stack: Stack, run_id: str) -> list[Refused]:
    """Return the values of a run that are not in DHIS2, as the file of its bucket has them; none where there is no file."""
    client = stack.client("s3")
    file = RejectedRows(client, stack.resource("ReportBucket"))
    return [_refused(row) for row in file.read_file(run_id)]


def _refused(row: Mapping[str, str]) -> Refused:
    value = {name.replace(" ", "_"): text for name, text in row.items()}
    # As the log does: a value's cause is its first reason.
    code = value["code"].partition("; ")[0]
    return Refused(value["outcome"], code, plain(value["reason"]), plain(value["what_to_do"]), value)


def read_calls(stack: Stack, run_id: str, since: datetime, until: datetime | None) -> Sequence[Call]:
    """Return the last calls of a run, the oldest first: lines of the log of push."""
    pattern = f'{{ $.event = "{LogEvent.DHIS2_CALL}" && $.run_id = "{run_id}" }}'
    lines = stack.logs("PushFunction", since, until=until and until + _LATE, pattern=pattern)
    calls = (
        Call(line.instant, line.fields)
        for line in lines
        if line.fields.get("event") == LogEvent.DHIS2_CALL and line.fields.get("run_id") == run_id
    )
    return deque(calls, CALLS_SHOWN)


def read_each[Thing](ids: Iterable[str], read: Callable[[str], Thing]) -> Iterator[Thing]:
    """Read something of several runs, side by side."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        yield from threads.map(read, ids)


def read_not_delivered(stack: Stack) -> tuple[Sequence[DeadLetterGroup], list[str]]:
    """Return what was not delivered, by run and reason, and why some of it cannot be told."""
    runs = Runs(stack.table("RunsTable"))
    queue, dead_letter_queue = stack.resource("BatchQueue"), stack.resource("FailedBatchQueue")
    letters = DeadLetters(stack.client("sqs"), queue, dead_letter_queue, runs, lambda: math.inf)
    found, faults = letters.listed(datetime.now(UTC) - KEPT_FOR - EXPIRED_LISTED_FOR)
    return grouped(found, runs), faults
