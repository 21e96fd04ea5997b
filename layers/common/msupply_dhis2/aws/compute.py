"""Compute on AWS: an invocation in, a result out, everything that was said in the log."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.queue import BatchQueue
from msupply_dhis2.compute import (
    ComputeResult,
    OpenDatabase,
    Status,
    check_database,
    compute,
)
from msupply_dhis2.configuration import ComputeEnvironment, read_database_address, read_settings
from msupply_dhis2.errors import (
    ConfigurationError,
    MsupplyDhis2Error,
    QueueError,
    SettingsError,
    SourceUnreachableError,
)
from msupply_dhis2.events import ComputeEvent, instant_of_run, parse_compute_event
from msupply_dhis2.invocations import first_arrival
from msupply_dhis2.periods import Calendar, parse_time_zone
from msupply_dhis2.settings import Settings
from msupply_dhis2.source import Source, open_source

NAMED_IN_RESULT = 100
"""How many left-out subjects an answer names; the log names them all."""

LINES_IN_ONE_ENTRY = 200
"""A log entry may have 256 KB."""


MAY_PASS = (SourceUnreachableError, QueueError, ConfigurationError)
"""Faults that may be gone at the next attempt."""


def run(event: object, request_id: str, *, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Work one invocation.

    Returns
    -------
    dict
        A ``ComputeResult`` as JSON. A fault that somebody has to mend is the answer to an invocation by hand,
        with the status ``failed``. On schedule, and where trying again may help, it is raised, so that AWS
        tries again, counts and keeps what failed.
    """
    try:
        result = _work(event, request_id)
    except MsupplyDhis2Error as error:
        checking = isinstance(event, Mapping) and "check_database" in event
        metrics.add_metric(name="RunsFailed", unit=MetricUnit.Count, value=int(not checking))
        logger.error(str(error), error=type(error).__name__)  # noqa: TRY400 the message is for people; it needs no traceback
        scheduled = isinstance(event, Mapping) and "interval" in event
        if scheduled or (isinstance(error, MAY_PASS) and not checking):
            raise
        return _as_json(ComputeResult(status=Status.FAILED, message=str(error)))
    metrics.add_metric(name="RunsFailed", unit=MetricUnit.Count, value=0)
    _report(result, logger, metrics)
    return _as_json(result)


def _work(event: object, request_id: str) -> ComputeResult:
    environment = ComputeEnvironment.read()
    asked = parse_compute_event(event)
    calendar = Calendar(parse_time_zone(environment.timezone))
    if asked.check_database:
        return _check_database(environment, calendar)
    settings = read_settings(environment.settings_parameter, clients.ssm())
    result = _compute(asked, request_id, environment, settings, calendar)
    return result.model_copy(update={"see_the_log": _log_command(environment, result)})


def _check_database(environment: ComputeEnvironment, calendar: Calendar) -> ComputeResult:
    try:
        settings = read_settings(environment.settings_parameter, clients.ssm())
    except SettingsError:
        # The connection test reads the settings itself and tells their faults; here they must not hide the
        # database's own.
        settings = None
    return check_database(_open_database(environment, settings, calendar), settings)


def _open_database(
    environment: ComputeEnvironment, settings: Settings | None, calendar: Calendar
) -> OpenDatabase:
    def open_database() -> AbstractContextManager[Source]:
        address = read_database_address(environment.database_secret, clients.secretsmanager())
        ca_certificate = settings.database_ca_certificate if settings else None
        return open_source(address, calendar=calendar, ca_certificate=ca_certificate)

    return open_database


def _compute(
    event: ComputeEvent,
    request_id: str,
    environment: ComputeEnvironment,
    settings: Settings,
    calendar: Calendar,
) -> ComputeResult:
    arrived = first_arrival(clients.table(environment.table_name), request_id, datetime.now(UTC))
    with BatchQueue(clients.sqs(), environment.queue_url) as queue:
        return compute(
            event,
            settings=settings,
            as_of=instant_of_run(event, arrived, calendar),
            calendar=calendar,
            open_database=_open_database(environment, settings, calendar),
            send=queue.send,
        )


def _log_command(environment: ComputeEnvironment, result: ComputeResult) -> str | None:
    if result.status is not Status.SENT:
        return None
    return f"aws logs tail {environment.push_log_group} --since 1h --follow --filter-pattern '\"{result.run_id}\"'"


def _report(result: ComputeResult, logger: Logger, metrics: Metrics) -> None:
    fields = result.model_dump(mode="json", exclude={"message", "left_out", "warnings", "mapped"})
    logger.info(result.message, **fields)
    for what, sentences in (("left out", result.left_out), ("to note", result.warnings)):
        for start in range(0, len(sentences), LINES_IN_ONE_ENTRY):
            part = sentences[start : start + LINES_IN_ONE_ENTRY]
            logger.warning(f"{len(sentences)} {what}: {part[0]}", run_id=result.run_id, all=part)
    if result.status is Status.SENT:
        metrics.add_metric(name="ValuesComputed", unit=MetricUnit.Count, value=result.values)
        metrics.add_metric(name="BatchesComputed", unit=MetricUnit.Count, value=result.batches)


def _as_json(result: ComputeResult) -> dict[str, object]:
    """Give the result, short enough for an answer: the log names all that was left out."""
    shortened = {
        name: (
            *sentences[:NAMED_IN_RESULT],
            f"and {len(sentences) - NAMED_IN_RESULT:,} more, see the log of compute",
        )
        for name, sentences in (("left_out", result.left_out), ("warnings", result.warnings))
        if len(sentences) > NAMED_IN_RESULT
    }
    return result.model_copy(update=shortened).model_dump(mode="json", exclude_none=True)
