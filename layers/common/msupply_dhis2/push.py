"""Push: one batch from the queue is one call to DHIS2, and each of its values has a fate.

What is said about it are log lines: one for the batch with its counts, one for each rejected value.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from msupply_dhis2.batches import Batch
from msupply_dhis2.dhis2.answer import Extent, PushOutcome, Reason, Rejection, read_answer
from msupply_dhis2.dhis2.client import Answer
from msupply_dhis2.dhis2.error_catalogue import explain
from msupply_dhis2.errors import Dhis2AuthenticationError, Dhis2Error, Dhis2TransientError
from msupply_dhis2.mapping import DataValue

STRICT = ("Periods", "DataElements", "CategoryOptionCombos", "AttributeOptionCombos", "OrganisationUnits")
NAMED_SUSPECTS = 20


class PostsDataValues(Protocol):
    """The one thing that push needs of a DHIS2 client."""

    def post_data_values(self, body: Mapping[str, object], params: Mapping[str, str]) -> Answer:
        """Post a data value set and give the server's answer."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line for the log: a sentence for people, fields for queries."""

    level: int
    message: str
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the values of a batch. They add up: ``sent`` is the sum of the others."""

    sent: int
    stored: int = 0
    unchanged: int = 0
    rejected: int = 0
    unaccounted: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.sent + other.sent,
            self.stored + other.stored,
            self.unchanged + other.unchanged,
            self.rejected + other.rejected,
            self.unaccounted + other.unaccounted,
        )

    def sentence(self) -> str:
        """Say the counts: ``5 sent: 4 stored, 0 unchanged, 1 rejected, 0 unaccounted``."""
        return (
            f"{self.sent:,} sent: {self.stored:,} stored, {self.unchanged:,} unchanged, "
            f"{self.rejected:,} rejected, {self.unaccounted:,} unaccounted"
        )


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch, the lines that say it, and whether DHIS2 judged it at all."""

    counts: Counts
    lines: tuple[LogLine, ...]
    answered: bool


def request_body(batch: Batch) -> dict[str, object]:
    """Give the body of the call: identifiers of period, org unit and option combos stand in the rows only."""
    body: dict[str, object] = {
        "dataSet": batch.data_set_id,
        "dataValues": [_data_value(value) for value in batch.values()],
    }
    if any(row.attribute_option_combo for row in batch.rows):
        # From 2.43 the scheme of attribute option combos is taken from here only; older servers ignore it.
        body["attributeOptionComboIdScheme"] = batch.option_combo_scheme.value.upper()
    return body


def _data_value(value: DataValue) -> dict[str, str]:
    row = {
        "dataElement": value.data_element,
        "period": value.period,
        "orgUnit": value.org_unit,
        "value": value.value,
    }
    if value.category_option_combo is not None:
        row["categoryOptionCombo"] = value.category_option_combo
    if value.attribute_option_combo is not None:
        row["attributeOptionCombo"] = value.attribute_option_combo
    return row


def request_parameters(batch: Batch) -> dict[str, str]:
    """Give the query of the call: the schemes, and everything strict.

    Without the strict flags DHIS2 2.42 and older store a value under a period type or in an org unit that the
    data set does not have, where nobody sees it.
    """
    return {
        "dataSetIdScheme": batch.data_set_id_scheme.value.upper(),
        "dataElementIdScheme": batch.data_element_id_scheme.value.upper(),
        "orgUnitIdScheme": batch.org_unit_scheme.value.upper(),
        "categoryOptionComboIdScheme": batch.option_combo_scheme.value.upper(),
        **{f"strict{what}": "true" for what in STRICT},
    }


def push(batch: Batch, client: PostsDataValues) -> BatchResult:
    """Post a batch and say what became of each value.

    A permanent failure of the whole call rejects every value with its reason.

    Raises
    ------
    Dhis2AuthenticationError
        The credentials were refused; no value was looked at.
    Dhis2TransientError
        The outcome is unknown, or DHIS2 could not take the call: the same batch is to be posted again.
    """
    values = batch.values()
    try:
        answer = client.post_data_values(request_body(batch), request_parameters(batch))
        outcome = read_answer(answer, len(values))
    except (Dhis2AuthenticationError, Dhis2TransientError):
        raise
    except Dhis2Error as error:
        counts = Counts(sent=len(values), rejected=len(values))
        lines = (_batch_line(counts, str(error)), *(_refused_with_all(value, error) for value in values))
        return BatchResult(counts, lines, answered=False)
    counts = Counts(
        len(values), outcome.stored, outcome.unchanged, len(outcome.rejected), outcome.unaccounted
    )
    return BatchResult(counts, (_batch_line(counts), *_lines(values, outcome)), answered=True)


def not_sent(batch: Batch) -> BatchResult:
    """Finish a batch that waited while "Use DHIS2" was switched off."""
    counts = Counts(sent=0)
    line = LogLine(
        logging.WARNING,
        f"{len(batch.rows):,} values were not sent: Use DHIS2 is off in the settings. To send them, switch it on "
        'and invoke compute with {"manual": true}.',
        {"not_sent": len(batch.rows)},
    )
    return BatchResult(counts, (line,), answered=False)


def _batch_line(counts: Counts, error: str | None = None) -> LogLine:
    fields = {
        "sent": counts.sent,
        "stored": counts.stored,
        "unchanged": counts.unchanged,
        "rejected": counts.rejected,
        "unaccounted": counts.unaccounted,
    }
    if error is not None:
        return LogLine(logging.ERROR, f"Batch: {counts.sentence()}. {error}", fields)
    level = logging.WARNING if counts.rejected or counts.unaccounted else logging.INFO
    return LogLine(level, f"Batch: {counts.sentence()}.", fields)


def _lines(values: tuple[DataValue, ...], outcome: PushOutcome) -> Iterator[LogLine]:
    for rejection in outcome.rejected:
        yield _rejected(values[rejection.index], rejection)
    for reason in outcome.unplaced:
        yield LogLine(
            logging.WARNING,
            f"DHIS2 does not say which value this is about: {reason.text} ({reason.code}). "
            f"{_explained(reason)}",
            {"code": reason.code},
        )
    if outcome.unaccounted:
        yield _unaccounted(values, outcome)


def _rejected(value: DataValue, rejection: Rejection) -> LogLine:
    said = "; ".join(f"{reason.text} ({reason.code}). {_explained(reason)}" for reason in rejection.reasons)
    return LogLine(
        logging.WARNING,
        f"{value.item}, {value.store}, {value.metric.label}: rejected. {said}",
        _fields(value, rejection.code),
    )


def _explained(reason: Reason) -> str:
    explanation = explain(reason.code, reason.text)
    # From 2.43 one wrong identifier takes all values of its data set, or of the call, with it.
    together = (
        ""
        if reason.extent is Extent.VALUE
        else " DHIS2 refused every value of this call for this reason, which may be about another value than this one: mend what it names, then push again."
    )
    return f"{explanation.meaning} {explanation.cure}{together}"


def _refused_with_all(value: DataValue, error: Dhis2Error) -> LogLine:
    return LogLine(
        logging.WARNING,
        f"{value.item}, {value.store}, {value.metric.label}: rejected. {error}",
        _fields(value, type(error).__name__),
    )


def _fields(value: DataValue, code: str) -> dict[str, object]:
    return {
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


def _unaccounted(values: tuple[DataValue, ...], outcome: PushOutcome) -> LogLine:
    rejected = {rejection.index for rejection in outcome.rejected}
    zeros = [
        f"{value.item}, {value.store}, {value.metric.label}"
        for index, value in enumerate(values)
        if value.value == "0" and index not in rejected
    ]
    named = "; ".join(zeros[:NAMED_SUSPECTS]) + (
        f"; and {len(zeros) - NAMED_SUSPECTS:,} more" if len(zeros) > NAMED_SUSPECTS else ""
    )
    suspects = f" The zeros in this batch are: {named}." if zeros else ""
    removed = (
        f" {outcome.deleted:,} older values were removed by DHIS2 on that account." if outcome.deleted else ""
    )
    return LogLine(
        logging.WARNING,
        f"{outcome.unaccounted:,} values were neither stored nor rejected by DHIS2. Up to 2.42 it drops a 0 where "
        f"the data element does not have 'Store zero data values' ticked: tick it in DHIS2, Maintenance, Data "
        f"element.{removed}{suspects}",
        {"unaccounted": outcome.unaccounted, "deleted": outcome.deleted},
    )
