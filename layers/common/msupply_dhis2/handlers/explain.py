"""What a stack tells of one value when a person asks compute: its explanation, and what became of the value."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import ComputeEnvironment
from msupply_dhis2.compute.event import parse_noted_event, rows_asked_for
from msupply_dhis2.compute.job import OpenDatabase
from msupply_dhis2.domain.choices import DatabaseTrust
from msupply_dhis2.errors import AwsError
from msupply_dhis2.explain.explanation import Explanation
from msupply_dhis2.explain.job import explain, parse_question
from msupply_dhis2.handlers.invocation import INFO, LogEvent, RunsInvocation
from msupply_dhis2.periods import Calendar
from msupply_dhis2.settings import Settings
from msupply_dhis2.state.delta.table import DeltaTable, target_of
from msupply_dhis2.state.run import Run

LOOKED_BACK = timedelta(days=120)
"""As long as the watchdog looks back."""

MOST_RUNS = 5
"""How many runs about the value are told, the latest."""


def explain_value(
    compute: RunsInvocation[ComputeEnvironment],
    event: Mapping[str, object],
    calendar: Calendar,
    open_database: Callable[[DatabaseTrust], OpenDatabase],
) -> dict[str, object]:
    """Return an ``Explanation`` as JSON, with what became of the value."""
    question, settings, now = parse_question(event), compute.read_settings(), datetime.now(UTC)
    settings.require_complete()
    with open_database(settings.database_trust)() as source:
        explanation = explain(question, settings=settings, calendar=calendar, source=source, now=now)
    way = (*_acknowledged(compute, explanation, settings, now), *_runs(compute, explanation, settings, now))
    explanation = explanation.model_copy(update={"way": way})
    compute.log(LogEvent.VALUE_EXPLAINED, INFO, explanation.message)
    return explanation.model_dump(mode="json")


def _acknowledged(
    compute: RunsInvocation[ComputeEnvironment], explanation: Explanation, settings: Settings, now: datetime
) -> Iterator[str]:
    """Yield what DHIS2 acknowledged last, where Only changes is on."""
    value, period, org_unit = explanation.data_value, explanation.period, explanation.org_unit
    if not (settings.only_changes and value and period and org_unit):
        return
    table = clients.table(compute.environment.delta_table_name)
    records = DeltaTable(table, compute.runs_table, now, target_of(settings))
    record = records.read(period, org_unit)
    record.settle(records.receipts(record), now.timestamp())
    combos = value["category_option_combo"], value["attribute_option_combo"]
    entry = record.entries.get((str(value["data_element"]), *combos))
    if entry is None or entry.acknowledged is None:
        yield "DHIS2 has not acknowledged a value of it (Only changes)."
    else:
        yield f"DHIS2 acknowledged {entry.acknowledged} last (Only changes)."


def _runs(
    compute: RunsInvocation[ComputeEnvironment], explanation: Explanation, settings: Settings, now: datetime
) -> Iterator[str]:
    """Yield the latest runs about the value, and why DHIS2 rejected it in them."""
    told = 0
    for run_id in compute.runs.recent(now - LOOKED_BACK):
        run = compute.runs.run(run_id)
        if run is None or not _is_about(run, explanation, settings):
            continue
        told += 1
        if told > MOST_RUNS:
            yield "Earlier runs are not told."
            return
        yield f"Run {run_id} ({run.started_by}, {run.outcome or 'not ended'}): {run.counts.sentence()}."
        if run.rejected_file is not None:
            yield from _rejections(compute, run_id, explanation)
    if not told:
        yield f"No run of the last {LOOKED_BACK.days} days was about {explanation.period}."


def _is_about(run: Run, explanation: Explanation, settings: Settings) -> bool:
    """Return whether a run computed this metric for this period."""
    event = parse_noted_event(run.event)
    if event is None or explanation.period not in run.computed.periods:
        return False
    return any(row.metric is explanation.metric for row, _ in rows_asked_for(event, settings))


def _rejections(
    compute: RunsInvocation[ComputeEnvironment], run_id: str, explanation: Explanation
) -> Iterator[str]:
    value = explanation.data_value or {}
    asked = {
        **{name: value.get(name) for name in ("store", "item", "period")},
        "metric": explanation.metric.label,
    }
    try:
        for row in compute.rejected_rows.read_file(run_id):
            if asked.items() <= row.items():
                yield f"In it the value {row['value']} ended as {row['outcome']}: {row['reason']} {row['what to do']}"
    except AwsError as error:
        yield f"What was rejected in it cannot be read: {error}"
