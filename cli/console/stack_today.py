"""What a stack tells of itself for the first page: one round of calls of AWS, side by side."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from cli.console.today import Known, Remembered, run_of_stack
from cli.console.words import say
from cli.credentials import BLANK
from cli.stack import LoginError, Stack, in_words
from msupply_dhis2.aws.dynamodb import Table, read_items
from msupply_dhis2.errors import DamagedRowError, MsupplyDhis2Error
from msupply_dhis2.periods import Interval
from msupply_dhis2.state.breaker import Breaker, BreakerTable
from msupply_dhis2.state.connections import read_connection, written_in
from msupply_dhis2.state.run import Run, run_key, run_of
from msupply_dhis2.state.runs import Runs

LOOKED_BACK = timedelta(days=40)
"""A monthly run of the month before is among these."""

MOST_RUNS = 100


def read_known(stack: Stack, url: str | None, settings_saved: datetime | None, zone: ZoneInfo) -> Known:
    """Ask a stack for all that it knows; what it may not be asked is told among the faults.

    Raises
    ------
    LoginError
        AWS does not know who asks, or no longer.
    """
    now = datetime.now(UTC)
    questions: dict[str, Callable[[], Any]] = {
        "runs": lambda: recent_runs(stack, now - LOOKED_BACK),
        "breaker": lambda: read_breaker(stack),
        "last": lambda: last_of_any(stack.table("Table"), url) if url else None,
        "waiting": lambda: stack.depth("BatchQueue").held,
        "not_delivered": lambda: stack.depth("FailedBatchQueue").held,
        "schedules": lambda: _schedules(stack),
        "database": lambda: about_database(stack, zone),
    }
    # Known before several threads ask for it.
    stack.resource("BatchQueue")
    told, faults = side_by_side(questions)
    runs, damaged = told.get("runs") or ([], [])
    schedules, is_scheduled, deployed = told.get("schedules") or ({}, False, None)
    # Where there are more runs than were read, nothing is judged from before the oldest of them.
    known_since = now - LOOKED_BACK if len(runs) < MOST_RUNS else runs[-1].started_at
    settled = [each for each in (settings_saved, deployed, known_since) if each is not None]
    return Known(
        runs=[run_of_stack(run) for run in runs],
        stack_runs=runs,
        last=told.get("last"),
        waiting=told.get("waiting"),
        not_delivered=told.get("not_delivered"),
        breaker=told.get("breaker"),
        schedules=schedules,
        is_scheduled=is_scheduled,
        # What could not be read cannot be judged.
        settled_since=max(settled) if "runs" in told and deployed else None,
        database=told.get("database") or "",
        faults=[*faults, *damaged],
    )


def side_by_side(questions: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, Any], list[str]]:
    """Ask all questions at the same time; return the answers by name, and why there is none of the others."""

    def ask(question: Callable[[], Any]) -> Any:  # noqa: ANN401 - of each question another
        with in_words():
            return question()

    answers: dict[str, Any] = {}
    faults: dict[str, None] = {}
    with ThreadPoolExecutor(len(questions)) as threads:
        asked = {name: threads.submit(ask, question) for name, question in questions.items()}
    for name, answer in asked.items():
        try:
            answers[name] = answer.result()
        except LoginError:
            raise
        except MsupplyDhis2Error as error:
            faults[str(error)] = None
    return answers, list(faults)


def recent_runs(stack: Stack, since: datetime) -> tuple[list[Run], list[str]]:
    """Return the last runs, the newest first, and what is said of those whose rows cannot be read."""
    table = stack.table("RunsTable")
    keys = [run_key(run_id) for run_id in islice(Runs(table).recent(since), MOST_RUNS)]
    runs, damaged = [], []
    for item in read_items(table, keys):
        try:
            runs.append(run_of(item))
        except DamagedRowError as error:
            damaged.append(str(error))
    return sorted(runs, key=lambda run: run.started_at or since, reverse=True), damaged


def read_breaker(stack: Stack) -> Breaker:
    """Return whether values are sent."""
    return BreakerTable(stack.table("Table"), lambda _: None).read()


def _schedules(stack: Stack) -> tuple[dict[Interval, str], bool, datetime]:
    """Return the schedules' expressions, whether they are on, and since when at the latest they are as they are."""
    found = stack.client("lambda").get_function_configuration(FunctionName=stack.resource("WatchdogFunction"))
    variables = found["Environment"]["Variables"]
    schedules = {interval: variables[f"{interval.name}_SCHEDULE"] for interval in Interval}
    return schedules, variables["SCHEDULES_STATE"] == "ENABLED", datetime.fromisoformat(found["LastModified"])


def about_database(stack: Stack, zone: ZoneInfo) -> str:
    """Say when the address of mSupply's database was entered; empty where it was not."""
    if not stack.has("DatabaseSecret"):
        return say("database.own_secret")
    set_on = entered_on(stack, "DatabaseSecret")
    return say("database.set_on", time=written_in(set_on, zone)) if set_on else ""


def entered_on(stack: Stack, secret: str) -> datetime | None:
    """Return when a secret of the stack got what is in it; ``None``: nothing is."""
    found = stack.client("secretsmanager").describe_secret(SecretId=stack.resource(secret))
    versions = found.get("VersionIdsToStages", {})
    in_force = {version for version, labels in versions.items() if "AWSCURRENT" in labels}
    changed: datetime | None = found.get("LastChangedDate")
    return changed if in_force - {BLANK} else None


def last_of_any(table: Table, url: str) -> Remembered | None:
    """Return the last successful connection of whichever user, or ``None``."""
    item = read_connection(table, url)
    if "last_success" not in item:
        return None
    titles = {name: item.get(name) for name in ("server", "data_set_id", "data_set")}
    return Remembered(datetime.fromisoformat(str(item["last_success"])), str(item["user"]), **titles)
