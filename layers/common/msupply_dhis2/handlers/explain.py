"""What a stack tells of one value when a person asks compute: its explanation, and what became of the value."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import ComputeEnvironment
from msupply_dhis2.compute.event import parse_compute_event, rows_asked_for
from msupply_dhis2.compute.job import OpenDatabase
from msupply_dhis2.errors import AwsError, MsupplyDhis2Error
from msupply_dhis2.explain.explanation import Explanation
from msupply_dhis2.explain.job import Question, explain
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
    question: Question,
    settings: Settings,
    calendar: Calendar,
    open_database: OpenDatabase,
) -> dict[str, object]:
    """Return an ``Explanation`` as JSON, with what became of the value."""
    now = datetime.now(UTC)
    with open_database() as source:
        explanation = explain(question, settings=settings, calendar=calendar, source=source, now=now)
    way = _Way(compute, explanation, settings, now)
    explanation = explanation.model_copy(update={"way": (*way.acknowledged(), *way.runs())})
    compute.log(LogEvent.VALUE_EXPLAINED, INFO, explanation.message)
    return explanation.model_dump(mode="json")


class _Way:
    """What became of a value: what is remembered of it, and the runs about it."""

    def __init__(
        self,
        compute: RunsInvocation[ComputeEnvironment],
        explanation: Explanation,
        settings: Settings,
        now: datetime,
    ) -> None:
        self._compute = compute
        self._explanation = explanation
        self._settings = settings
        self._now = now

    def acknowledged(self) -> Iterator[str]:
        """Yield what DHIS2 acknowledged last, where Only changes is on."""
        value, period, org_unit = (
            self._explanation.data_value,
            self._explanation.period,
            self._explanation.org_unit,
        )
        if not (self._settings.only_changes and value and period and org_unit):
            return
        table = clients.table(self._compute.environment.delta_table_name)
        records = DeltaTable(table, self._compute.runs_table, self._now)
        record = records.read(target_of(self._settings), period, org_unit)
        record.settle(records.receipts([record]), self._now.timestamp())
        combos = value["category_option_combo"], value["attribute_option_combo"]
        entry = record.entries.get((str(value["data_element"]), *combos))
        if entry is None or entry.acknowledged is None:
            yield "DHIS2 has not acknowledged a value of it (Only changes)."
        else:
            yield f"DHIS2 acknowledged {entry.acknowledged} last (Only changes)."

    def runs(self) -> Iterator[str]:
        """Yield the latest runs about the value, and why DHIS2 rejected it in them."""
        told = 0
        for run_id in self._compute.runs.recent(self._now - LOOKED_BACK):
            run = self._compute.runs.run(run_id)
            if run is None or not self._is_about(run):
                continue
            told += 1
            if told > MOST_RUNS:
                yield "Earlier runs are not told."
                return
            ended = run.outcome or "not ended"
            yield f"Run {run_id} ({run.started_by}, {ended}): {run.counts.sentence()}."
            yield from self._rejections(run)
        if not told:
            yield f"No run of the last {LOOKED_BACK.days} days was about {self._explanation.period}."

    def _is_about(self, run: Run) -> bool:
        """Return whether a run computed this metric for this period."""
        if self._explanation.period not in run.computed.periods:
            return False
        try:
            event = parse_compute_event(json.loads(run.event))
        except (MsupplyDhis2Error, ValueError):
            # A run that only push knows of, or of another version.
            return False
        return any(row.metric is self._explanation.metric for row, _ in rows_asked_for(event, self._settings))

    def _rejections(self, run: Run) -> Iterator[str]:
        value = self._explanation.data_value
        if run.rejected_file is None or not value:
            return
        asked = {name: value[name] for name in ("store", "item", "period")}
        asked["metric"] = self._explanation.metric.label
        try:
            for row in self._compute.rejected_rows.read_file(run.run_id):
                if all(row.get(name) == text for name, text in asked.items()):
                    yield f"In it the value {row['value']} ended as {row['outcome']}: {row['reason']} {row['what to do']}"
        except AwsError as error:
            yield f"What was rejected in it cannot be read: {error}"
