"""What became of the values of a batch, and the log lines that say it.

One line is for the batch with its counts, one for each value that is not in DHIS2 now.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from msupply_dhis2.dhis2.error_catalogue import CALL_REFUSED, explain
from msupply_dhis2.dhis2.import_summary import Extent, Reason
from msupply_dhis2.dhis2.importer import Unclear
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.log_record import LogEvent, LogRecord
from msupply_dhis2.errors import Dhis2AuthenticationError, Dhis2Error, Dhis2TransientError

if TYPE_CHECKING:
    from msupply_dhis2.domain.rejected_row import RejectedRow

NAMED_SUSPECTS = 20


class Missing(StrEnum):
    """The fates of a value that is not in DHIS2, as the log and the file of refused values call them."""

    REJECTED = "rejected"
    UNACCOUNTED = "unaccounted"
    """DHIS2 neither stored nor refused it."""
    PERHAPS_UNACCOUNTED = "perhaps unaccounted"
    """Some of its call are, and nobody can tell which."""
    NOT_DELETED = "not deleted"
    """It was to be deleted, and stays."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of values. They add up: ``sent`` is the sum of the others.

    A value that was refused before it was sent, because DHIS2 would refuse it, counts as sent and rejected.
    ``deleted`` are the values of a delete that are gone, also those that were gone before.
    """

    sent: int = 0
    stored: int = 0
    unchanged: int = 0
    rejected: int = 0
    unaccounted: int = 0
    deleted: int = 0

    def __post_init__(self) -> None:
        fates = (self.stored, self.unchanged, self.rejected, self.unaccounted, self.deleted)
        if self.sent != sum(fates):
            raise ValueError(f"the counts do not add up: {self}")

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.sent + other.sent,
            self.stored + other.stored,
            self.unchanged + other.unchanged,
            self.rejected + other.rejected,
            self.unaccounted + other.unaccounted,
            self.deleted + other.deleted,
        )

    def by_name(self) -> dict[str, int]:
        """Return each fate's number by its name."""
        return {
            "stored": self.stored,
            "unchanged": self.unchanged,
            "rejected": self.rejected,
            "unaccounted": self.unaccounted,
            "deleted": self.deleted,
        }

    def sentence(self) -> str:
        """Say the counts: ``5 sent: 4 stored, 0 unchanged, 1 rejected, 0 unaccounted``, and what was deleted."""
        deleted = f", {self.deleted:,} deleted" if self.deleted else ""
        return (
            f"{self.sent:,} sent: {self.stored:,} stored, {self.unchanged:,} unchanged, "
            f"{self.rejected:,} rejected, {self.unaccounted:,} unaccounted{deleted}"
        )

    def sentence_of_a_delete(self) -> str:
        """Say the counts of a delete: ``5 to delete: 4 deleted, 1 rejected, 0 unaccounted``."""
        return (
            f"{self.sent:,} to delete: {self.deleted:,} deleted, {self.rejected:,} rejected, "
            f"{self.unaccounted:,} unaccounted"
        )


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch.

    Attributes
    ----------
    fates
        Of the values that got their fate just now.
    lines
        For the log, about them.
    answered
        Whether DHIS2 judged any of them.
    settled
        The places in the batch whose fate is known, those from earlier deliveries included.
    refused
        The values that got their fate just now and are not in DHIS2, with the reasons.
    failure
        Why the other values wait: the message must come back for them.
    may_still_be_applied
        Whether some of those that wait may be stored without being sent again.
    held_periods
        The periods in which DHIS2 holds one of the values.
    """

    fates: "Fates"
    lines: tuple[LogRecord, ...]
    answered: bool
    settled: frozenset[int]
    refused: "tuple[RejectedRow, ...]" = ()
    failure: Dhis2TransientError | Dhis2AuthenticationError | None = None
    may_still_be_applied: bool = False
    held_periods: frozenset[str] = frozenset()

    @property
    def counts(self) -> Counts:
        """Of the values that got their fate just now."""
        return self.fates.counts

    @property
    def applied(self) -> frozenset[int]:
        """The places of the values that got their fate just now and are in DHIS2 as they were sent.

        Of a delete, those that are gone. A value of a call of which DHIS2 does not account for all is not among them.
        """
        return frozenset(self.fates.applied)


@dataclass(slots=True)
class Fates:
    """The fates of a batch's values, by their places, as far as they are known.

    Attributes
    ----------
    deletes
        Whether the values are to be deleted.
    applied
        Values that are in DHIS2 now; ``unchanged`` says of how many DHIS2 told that they were before. Of a
        delete, values that are gone.
    rejected
        The reasons of those that DHIS2 refused.
    rejected_locally
        Those among the rejected that were not even sent, because DHIS2 would refuse them.
    missing
        What was found in place of values that DHIS2 neither stored, or deleted, nor refused.
    suspects
        Calls of which it cannot be told which values are missing.
    refused_all
        Why DHIS2 does not take calls like these at all.
    """

    deletes: bool = False
    applied: set[int] = field(default_factory=set)
    unchanged: int = 0
    rejected: dict[int, tuple[Reason, ...]] = field(default_factory=dict)
    rejected_locally: set[int] = field(default_factory=set)
    missing: dict[int, Reason] = field(default_factory=dict)
    suspects: list[Unclear] = field(default_factory=list)
    refused_all: Dhis2Error | None = None
    remarks: list[LogRecord] = field(default_factory=list)

    @property
    def settled(self) -> frozenset[int]:
        """The places that have a fate."""
        return frozenset(self.applied | self.rejected.keys() | self.missing.keys()).union(
            *(unclear.places for unclear in self.suspects)
        )

    @property
    def counts(self) -> Counts:
        """How many values have which fate."""
        return self.counts_of(self.settled)

    def counts_of(self, places: frozenset[int]) -> Counts:
        """How many of these values have which fate."""
        settled = self.settled & places
        suspected = [len(settled.intersection(unclear.places)) for unclear in self.suspects]
        # Which of a call's values are missing nobody knows: as many of these as there are of all, if there are.
        unknown = sum(
            min(unclear.unaccounted, number) for unclear, number in zip(self.suspects, suspected, strict=True)
        )
        applied = len(settled & self.applied) + sum(suspected) - unknown
        unchanged = 0 if self.deletes else min(self.unchanged, applied)
        return Counts(
            sent=len(settled),
            stored=0 if self.deletes else applied - unchanged,
            unchanged=unchanged,
            deleted=applied if self.deletes else 0,
            rejected=len(settled & self.rejected.keys()),
            unaccounted=len(settled & self.missing.keys()) + unknown,
        )


def lines_of(
    values: Sequence[DataValue], fates: Fates, waiting: int, failure: Exception | None, *, let_in: bool
) -> Iterator[LogRecord]:
    """Yield the lines of a batch: its counts, remarks, and what is not in DHIS2, value by value.

    Parameters
    ----------
    values
        All values of the batch.
    waiting, failure
        How many values wait, and why.
    let_in
        Whether DHIS2 let us in for it.
    """
    yield _batch_line(fates, waiting, failure, let_in=let_in)
    yield from fates.remarks
    for place in sorted(fates.rejected):
        yield _rejected(
            values[place],
            fates.rejected[place],
            beforehand=place in fates.rejected_locally,
            deletes=fates.deletes,
        )
    for place in sorted(fates.missing):
        yield _missing(values[place], fates.missing[place])
    for unclear in fates.suspects:
        if fates.deletes:
            yield from _perhaps_deleted(unclear)
        else:
            yield from _unaccounted([values[place] for place in unclear.places], unclear)


def not_deleted(values: int) -> LogRecord:
    """Say of a delete that it was not done, because "Delete vanished values" was switched off meanwhile."""
    return LogRecord(
        LogEvent.VALUES_NOT_SENT,
        logging.WARNING,
        f"{values:,} values that are no longer computed were not deleted in DHIS2: Delete vanished values is off in "
        'the settings now. They stay in DHIS2; to delete them, switch it on again and invoke compute with {"manual": true}.',
        {"not_sent": values, "operation": "delete"},
    )


def not_sent(values: int) -> LogRecord:
    """Say of a batch that it waited while "Use DHIS2" was switched off."""
    return LogRecord(
        LogEvent.VALUES_NOT_SENT,
        logging.WARNING,
        f"{values:,} values were not sent: Use DHIS2 is off in the settings. To send them, switch it on "
        'and invoke compute with {"manual": true}.',
        {"not_sent": values},
    )


def _batch_line(fates: Fates, waiting: int, failure: Exception | None, *, let_in: bool) -> LogRecord:
    counts = fates.counts
    fields: dict[str, object] = {
        "sent": counts.sent,
        "stored": counts.stored,
        "unchanged": counts.unchanged,
        "rejected": counts.rejected,
        "unaccounted": counts.unaccounted,
    }
    if let_in:
        fields["let_in"] = True
    if fates.deletes:
        fields |= {"operation": "delete", "deleted": counts.deleted}
    sentences = [f"Batch: {counts.sentence_of_a_delete() if fates.deletes else counts.sentence()}."]
    if waiting:
        fields["waiting"] = waiting
        sentences.append(f"{waiting:,} wait: {failure}")
    if fates.refused_all is not None:
        sentences.append(str(fates.refused_all))
    level = logging.INFO
    if counts.rejected or counts.unaccounted or waiting:
        level = logging.ERROR if fates.refused_all is not None else logging.WARNING
    return LogRecord(LogEvent.BATCH_SENT, level, " ".join(sentences), fields)


def _rejected(value: DataValue, reasons: Sequence[Reason], *, beforehand: bool, deletes: bool) -> LogRecord:
    said = " ".join(_explained(reason) for reason in reasons)
    fate = Missing.NOT_DELETED if deletes else Missing.REJECTED
    stays = ", what stands in DHIS2 stays" if deletes else ""
    return LogRecord(
        LogEvent.VALUE_REJECTED,
        logging.WARNING,
        f"{_about(value)}: {fate}{stays}. {said}",
        {
            **_fields(value, fate, reasons[0].code),
            "sent_to_dhis2": not beforehand,
            "may_pass": explain(reasons[0].code, reasons[0].text).may_pass,
        },
    )


def _explained(reason: Reason) -> str:
    if reason.code == CALL_REFUSED:
        return "DHIS2 did not take the call at all; the line of the batch says why."
    explanation = explain(reason.code, reason.text)
    # From 2.43 one wrong identifier takes all values of its data set, or of the call, with it.
    together = (
        "" if reason.extent is Extent.VALUE else " DHIS2 refused every value of this call for this reason."
    )
    return f"{reason.text} ({reason.code}). {explanation.meaning} {explanation.cure}{together}"


def _missing(value: DataValue, reason: Reason) -> LogRecord:
    return LogRecord(
        LogEvent.VALUE_UNACCOUNTED,
        logging.WARNING,
        f"{_about(value)}: unaccounted for. {_explained(reason)}",
        _fields(value, Missing.UNACCOUNTED, reason.code),
    )


def _unaccounted(values: Iterable[DataValue], unclear: Unclear) -> Iterator[LogRecord]:
    zeros = [_about(value) for value in values if value.value == "0"]
    named = "; ".join(zeros[:NAMED_SUSPECTS]) + (
        f"; and {len(zeros) - NAMED_SUSPECTS:,} more" if len(zeros) > NAMED_SUSPECTS else ""
    )
    suspects = f" The zeros in this call are: {named}." if zeros else ""
    removed = (
        f" {unclear.deleted:,} older values were removed by DHIS2 on that account." if unclear.deleted else ""
    )
    yield LogRecord(
        LogEvent.CALL_UNACCOUNTED,
        logging.WARNING,
        f"{unclear.unaccounted:,} values were neither stored nor rejected by DHIS2, and which ones could not be "
        "read from it. Up to 2.42 it drops a 0 where the data element does not have 'Store zero data values' "
        "ticked: tick it in DHIS2, Maintenance, Data element; and let the user view the data of the data set."
        f"{removed}{suspects}",
        {"unaccounted": unclear.unaccounted, "deleted": unclear.deleted},
    )
    yield from _unplaced(unclear)


def _perhaps_deleted(unclear: Unclear) -> Iterator[LogRecord]:
    yield LogRecord(
        LogEvent.CALL_UNACCOUNTED,
        logging.WARNING,
        f"{unclear.unaccounted:,} values were neither deleted nor rejected by DHIS2, and whether they were gone before "
        "could not be read from it. Let the user view the data of the data set.",
        {"unaccounted": unclear.unaccounted, "operation": "delete"},
    )
    yield from _unplaced(unclear)


def _unplaced(unclear: Unclear) -> Iterator[LogRecord]:
    for reason in unclear.unplaced:
        yield LogRecord(
            LogEvent.REASON_UNPLACED,
            logging.WARNING,
            f"DHIS2 does not say which value this is about: {_explained(reason)}",
            {"code": reason.code},
        )


def _about(value: DataValue) -> str:
    return f"{value.item}, {value.store}, {value.metric.label}"


def _fields(value: DataValue, fate: Missing, code: str) -> dict[str, object]:
    return {
        "fate": fate.value,
        "code": code,
        "store": value.store,
        "item": value.item,
        "metric": value.metric.value,
        "data_element": value.data_element,
        "org_unit": value.org_unit,
        "period": value.period,
        "category_option_combo": value.category_option_combo,
        "attribute_option_combo": value.attribute_option_combo,
        "value": value.value,
    }
