"""What became of the values of a batch: the log lines that say it, and the rows that are not in DHIS2.

One line is for the batch with its counts, one for each value that is not in DHIS2 now.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from msupply_dhis2.dhis2.error_catalogue import CALL_REFUSED, UNACCOUNTED, explain
from msupply_dhis2.dhis2.import_summary import ImportSummary
from msupply_dhis2.dhis2.importer import Imported
from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.log_record import LogEvent, LogRecord
from msupply_dhis2.domain.outcome import Counts, Extent, OutcomeKind, Reason, RejectedRow, ValueOutcome
from msupply_dhis2.text import count, listed

_UNCLEAR = Reason(
    UNACCOUNTED,
    "DHIS2 did not account for all values of this call, and the missing ones could not be read back.",
)


@dataclass(slots=True)
class BatchResult(Imported):
    """What became of a batch, or has so far.

    ``outcomes`` are of the values that got their outcome just now; ``done`` are the places of those that got it earlier. The
    message must come back for the others. ``held_periods`` are those in which DHIS2 holds one of the values.
    """

    batch: Batch
    done: frozenset[int] = frozenset()
    remarks: list[LogRecord] = field(default_factory=list)
    held_periods: frozenset[str] = frozenset()

    @property
    def settled(self) -> frozenset[int]:
        """The places whose outcome is known, those from earlier deliveries included."""
        return self.done | self.outcomes.keys()

    @property
    def waiting(self) -> int:
        """How many values wait."""
        return len(self.batch.values) - len(self.settled)

    @property
    def applied(self) -> frozenset[int]:
        """The places of the values that just now got in as they were sent, or are gone from it: as far as that is certain."""
        return frozenset(place for place, outcome in self.outcomes.items() if outcome.is_applied)

    @property
    def counts(self) -> Counts:
        """Of the values that got their outcome just now."""
        return Counts.of(self.outcomes.values())

    def counts_of(self, places: Iterable[int]) -> Counts:
        """Of these values, as far as they got their outcome just now."""
        return Counts.of(self.outcomes[place] for place in places if place in self.outcomes)

    @property
    def lines(self) -> tuple[LogRecord, ...]:
        """For the log: the batch with its counts, remarks, and what is not in DHIS2, value by value."""
        if not self.outcomes:
            return tuple(self.remarks)
        certain = (each for each in self._not_applied() if each[1].is_certain)
        return (
            _batch_line(self),
            *self.remarks,
            *(_value_line(value, outcome, deletes=self.batch.deletes) for value, outcome in certain),
        )

    @property
    def rejected_rows(self) -> tuple[RejectedRow, ...]:
        """The values that got their outcome just now and are, perhaps, not in DHIS2, in the order of the batch."""
        return tuple(
            RejectedRow(value, _name(outcome, deletes=self.batch.deletes), outcome.reasons or (_UNCLEAR,))
            for value, outcome in self._not_applied()
        )

    def _not_applied(self) -> Iterator[tuple[DataValue, ValueOutcome]]:
        values = self.batch.values
        for place in sorted(self.outcomes):
            if not self.outcomes[place].is_applied:
                yield values[place], self.outcomes[place]


NOT_DELETED = (
    "no longer computed and not deleted in DHIS2, because Delete vanished values is off in the settings now. To delete "
    'them, switch it on again and invoke compute with {"manual": true}.'
)
STOPPED = "not sent, because their run was stopped. The last line of the run says how to send them."
SWITCHED_OFF = (
    "not sent, because Use DHIS2 is off in the settings. To send them, switch it on and invoke compute with "
    '{"manual": true}.'
)
"""Why values are not sent."""


def not_sent(values: int, why: str, **fields: object) -> LogRecord:
    """Return the line of a batch of which so many values are not sent."""
    fields = {"not_sent": values, **fields}
    return LogRecord(LogEvent.VALUES_NOT_SENT, logging.WARNING, f"{count(values, 'value')} {why}", fields)


def unclear_lines(batch: Batch, call: ImportSummary) -> Iterator[LogRecord]:
    """Yield the lines of a call of which DHIS2 does not account for all values, and which ones could not be read."""
    unaccounted = Counts.of(call.outcomes.values()).unaccounted
    fields: dict[str, object] = {"unaccounted": unaccounted}
    message = (
        f"DHIS2 neither {'deleted' if batch.deletes else 'stored'} nor rejected {count(unaccounted, 'value')}, and it could "
        "not be read back which ones. Let the user view the data of the data set."
    )
    if batch.deletes:
        fields["operation"] = "delete"
    else:
        fields["deleted"] = call.deleted
        message += (
            " Up to 2.42 DHIS2 drops a 0 if the data element does not have 'Store zero data values' ticked: tick it in "
            "DHIS2, Maintenance, Data element."
        )
        if call.deleted:
            message += f" DHIS2 removed {count(call.deleted, 'older value')} because of that."
        if zeros := [value.names for place in call.outcomes if (value := batch.values[place]).value == "0"]:
            message += f" The zeros in this call are: {listed(zeros, by='; ')}."
    yield LogRecord(LogEvent.CALL_UNACCOUNTED, logging.WARNING, message, fields)
    for reason in call.unplaced:
        message = f"DHIS2 does not say which value this is about: {_explained(reason)}"
        yield LogRecord(LogEvent.REASON_UNPLACED, logging.WARNING, message, {"code": reason.code})


def _batch_line(result: BatchResult) -> LogRecord:
    counts, is_delete = result.counts, result.batch.deletes
    fields: dict[str, object] = {"sent": counts.sent, **counts.by_name()}
    del fields["deleted"]
    if result.answered:
        fields["authenticated"] = True
    if is_delete:
        fields |= {"operation": "delete", "deleted": counts.deleted}
    sentences = [f"Batch: {counts.sentence(deletes=is_delete)}."]
    if result.waiting:
        fields["waiting"] = result.waiting
        sentences.append(f"{count(result.waiting, 'value waits', 'values wait')}: {result.failure}")
    if result.refused_all is not None:
        sentences.append(str(result.refused_all))
    level = logging.INFO
    if counts.rejected or counts.unaccounted or result.waiting:
        level = logging.ERROR if result.refused_all is not None else logging.WARNING
    return LogRecord(LogEvent.BATCH_SENT, level, " ".join(sentences), fields)


def _value_line(value: DataValue, outcome: ValueOutcome, *, deletes: bool) -> LogRecord:
    name, code = _name(outcome, deletes=deletes), outcome.reasons[0].code
    explanation = explain(code, outcome.reasons[0].text)
    fields: dict[str, object] = {"outcome": name, "code": code, "cure": explanation.cure, **value.by_name()}
    if outcome.kind is OutcomeKind.UNACCOUNTED:
        event, became = LogEvent.VALUE_UNACCOUNTED, f"{name} for"
    else:
        event = LogEvent.VALUE_REJECTED
        became = f"{name}, DHIS2 keeps what it has" if deletes else name
        fields |= {"sent_to_dhis2": outcome.was_sent, "may_pass": explanation.may_pass}
    said = " ".join(map(_explained, outcome.reasons))
    return LogRecord(event, logging.WARNING, f"{value.names}: {became}. {said}", fields)


def _name(outcome: ValueOutcome, *, deletes: bool) -> str:
    return "not deleted" if deletes and outcome.kind is OutcomeKind.REJECTED else outcome.name


def _explained(reason: Reason) -> str:
    if reason.code == CALL_REFUSED:
        return "DHIS2 did not take the call at all; the line of the batch says why."
    explanation = explain(reason.code, reason.text)
    # From 2.43 one wrong identifier takes all values of its data set, or of the call, with it.
    alone = reason.extent is Extent.VALUE
    together = "" if alone else " DHIS2 refused every value of this call for this reason."
    return f"{reason.text} ({reason.code}). {explanation.meaning} {explanation.cure}{together}"
