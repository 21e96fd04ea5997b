"""What one invocation of a function works with: its environment, log and metrics, the tables, and the breaker."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from logging import DEBUG, ERROR, INFO, WARNING, getLevelName
from zoneinfo import ZoneInfo

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import (
    Environment,
    PushEnvironment,
    RunsEnvironment,
    TestConnectionEnvironment,
    WatchdogEnvironment,
    read_dhis2_credentials,
    read_settings,
)
from msupply_dhis2.aws.queues import QueueRecord, put_back
from msupply_dhis2.domain.log_record import LogEvent, LogRecord
from msupply_dhis2.errors import AwsError
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import Dhis2Credentials
from msupply_dhis2.state.breaker import Breaker, BreakerTable, Changed, Login, State
from msupply_dhis2.state.connections import written_in
from msupply_dhis2.state.dead_letters import DeadLetters
from msupply_dhis2.state.rejected_rows import RejectedRows
from msupply_dhis2.state.run import Outcome, last_line
from msupply_dhis2.state.runs import Runs
from msupply_dhis2.text import count

__all__ = ["DEBUG", "ERROR", "INFO", "WARNING", "Invocation", "LogEvent", "RunsInvocation"]

FOR_NOTES_SECONDS = 10.0
"""Kept of a function's time, to note and tell what became of its work, and to put a message back."""

ENOUGH_FOR_A_SHARE = 100
"""Of fewer values one alone would be a large share."""


_WHY = {
    State.LOGIN_REFUSED: "DHIS2 refused the login",
    State.DHIS2_DOWN: "DHIS2 is down",
    State.HALF_OPEN: "DHIS2 was down",
    State.BY_HAND: "it was paused by hand",
}
WHAT_TO_DO = {
    State.LOGIN_REFUSED: (
        "This login is not tried again, because that could lock the account. Correct the credentials (make "
        "credentials) or fix the account in DHIS2, and test the connection (make test-connection). A new version of the "
        "secret is tried within 15 minutes too."
    ),
    State.DHIS2_DOWN: (
        "When DHIS2 accepts the login, one message is tried. A probe asks every 15 minutes, and each connection test "
        "asks too (make test-connection)."
    ),
    State.HALF_OPEN: "One message is tried now. After DHIS2 answers it, the others follow.",
    State.BY_HAND: "Send again with: make resume",
}


class Invocation[E: Environment]:
    """One invocation. Each line that it logs has the field ``event``; Powertools and boto3 may write one without it."""

    def __init__(self, environment: E, logger: Logger, metrics: Metrics) -> None:
        self.environment = environment
        self.logger = logger
        self.metrics = metrics
        self.table = clients.table(environment.table_name)
        self.breakers = BreakerTable(self.table, self._tell_of_breaker)

    def log(
        self, event: LogEvent, level: int, message: str, *, exc_info: bool = False, **fields: object
    ) -> None:
        """Log a line, with the traceback of the error that is being handled where asked for."""
        self.write(LogRecord(event, level, message, fields), exc_info=exc_info, stacklevel=4)

    def write(self, record: LogRecord, *, exc_info: bool = False, stacklevel: int = 3) -> None:
        """Log a record, its event and its fields beside the message; ``stacklevel`` finds who wrote it."""
        # Powertools' own log method does not add its keys.
        log = getattr(self.logger, getLevelName(record.level).lower())
        extra = {"event": record.event.value, **record.fields}
        log(record.message, extra=extra, exc_info=exc_info, stacklevel=stacklevel)

    def not_noted(self, message: str, **fields: object) -> None:
        """Log that something beside the values could not be noted."""
        self.write(LogRecord(LogEvent.BOOKKEEPING_FAILED, WARNING, message, fields))

    def count(self, name: str, value: float) -> None:
        """Add to a metric of this function."""
        self.metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)

    def _tell_of_breaker(self, changed: Changed) -> None:
        before, after = changed.before.state, changed.after.state
        is_refused = after is State.LOGIN_REFUSED
        is_news = is_refused or (after is State.DHIS2_DOWN and before is not State.HALF_OPEN)
        message = (
            f"Values are sent again. {why_paused(changed.before, is_over=True)}"
            if after is State.CLOSED
            else f"{why_paused(changed.after)} {WHAT_TO_DO[after]}"
        )
        event = LogEvent.LOGIN_REFUSED if is_refused else LogEvent.BREAKER_CHANGED
        self.log(event, ERROR if is_news else WARNING, message, breaker=after.value, before=before.value)
        if is_news:
            count_for("breaker", "CredentialsRefused" if is_refused else "BreakerOpened")

    def count_open_minutes(self, breaker: Breaker, now: datetime) -> None:
        """Count for how long values have not flowed, each time that somebody looks."""
        self.count("BreakerOpenMinutes", breaker.age(now).total_seconds() / 60)

    def put_back(self, queue_url: str, record: QueueRecord, seconds: int) -> bool:
        """Have a message delivered again after so many seconds; ``False`` where that could not be set."""
        try:
            put_back(clients.sqs(), queue_url, record.receipt_handle, seconds)
        except AwsError as error:
            self.not_noted(f"The wait of a message on the queue could not be set: {error}")
            return False
        return True

    def read_settings(self) -> Settings:
        """Read the settings as they are now."""
        return read_settings(self.environment.settings_parameter, clients.ssm())


def count_for(service: str, name: str, value: float = 1, unit: MetricUnit = MetricUnit.Count) -> None:
    """Add to a metric of the whole stack, whichever function says it: an alarm looks at one ``service``."""
    with single_metric(name=name, unit=unit, value=value, default_dimensions={"service": service}):
        pass


def read_login(
    invocation: Invocation[PushEnvironment] | Invocation[TestConnectionEnvironment],
    settings: Settings,
    version: str | None = None,
) -> tuple[Dhis2Credentials, Login]:
    """Read the credentials of DHIS2 as they are now, or a version of them, and return as what the breaker knows them."""
    secret = invocation.environment.dhis2_secret
    credentials = read_dhis2_credentials(secret, clients.secretsmanager(), settings, version)
    return credentials, Login.of(settings.url, credentials)


class RunsInvocation[E: RunsEnvironment](Invocation[E]):
    """One that notes what became of runs; ``kept_seconds`` of the function's time are left for that."""

    kept_seconds = FOR_NOTES_SECONDS

    def __init__(self, environment: E, context: LambdaContext, logger: Logger, metrics: Metrics) -> None:
        super().__init__(environment, logger, metrics)
        self.runs_table = clients.table(environment.runs_table_name)
        self.runs = Runs(self.runs_table)
        self.rejected_rows = RejectedRows(clients.s3(), environment.bucket_name)
        self._milliseconds_left = context.get_remaining_time_in_millis

    def seconds_left(self) -> float:
        """Return the time until only what is kept is left."""
        return self._milliseconds_left() / 1000 - self.kept_seconds

    def end_if_done(self, run_id: str) -> None:
        """End a run that is done: its file of refused rows, its last line in the log, its metrics; leave any other as it is.

        Whoever does the last thing for a run calls it. The file comes first, so that its address is in the line; made twice it
        is the same. What goes wrong is told, and not raised: the values are where they belong, and the run can end later.
        """
        now = datetime.now(UTC)
        try:
            if not self.runs.is_done(run_id, now):
                return
            parts, damaged = self.runs.files(run_id)
            file = self.rejected_rows.write_file(run_id, parts, self.seconds_left)
            run = self.runs.close(run_id, file.address if file else None, now)
        except AwsError as error:
            self.not_noted(f"The end of the run {run_id} could not be noted yet. {error}", run_id=run_id)
            return
        if run is None:
            return
        run = replace(run, damaged=(*run.damaged, *damaged))
        told = last_line(run, about_file=file.sentence(), rows_in_file=file.rows) if file else last_line(run)
        self.write(told)
        count_for("runs", "RunsEnded")
        count_for("runs", "RunsIncomplete", int(run.outcome in {Outcome.INCOMPLETE, Outcome.FAILED}))
        judged = run.counts.stored + run.counts.unchanged + run.counts.rejected
        if judged >= ENOUGH_FOR_A_SHARE:
            count_for("runs", "RejectedShare", 100 * run.counts.rejected / judged, MetricUnit.Percent)


def dead_letters_of(
    invocation: RunsInvocation[PushEnvironment] | RunsInvocation[WatchdogEnvironment],
) -> DeadLetters:
    """Return the dead letters of push."""
    environment = invocation.environment
    return DeadLetters(
        clients.sqs(),
        environment.queue_url,
        environment.dead_letter_queue_url,
        invocation.runs,
        invocation.seconds_left,
    )


def why_paused(
    breaker: Breaker, time_zone: ZoneInfo | None = None, *, is_over: bool = False, in_short: bool = False
) -> str:
    """Return since when sending is paused, or was, and why; in short, without what DHIS2 said of the login."""
    since = breaker.since or datetime.now(UTC)
    when = written_in(since, time_zone) if time_zone else f"{since:%Y-%m-%d %H:%M} UTC"
    is_short = in_short and breaker.state is State.LOGIN_REFUSED
    said = "" if is_short else f": {breaker.message.rstrip('. ')}"
    return f"Sending {'was paused on' if is_over else 'has been paused since'} {when}, because {_WHY[breaker.state]}{said}."


def when_sent(before: Breaker, now: datetime) -> str:
    """Return when what waited until now is delivered again, each message by itself so that they do not come all at once."""
    minutes = math.ceil(before.wait(now).total_seconds() / 60)
    return f"within about {count(minutes, 'minute')}"
