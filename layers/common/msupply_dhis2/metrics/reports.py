"""The metrics of customers that are not stores, from what they report (docs/metrics.md).

A report is somebody's word about the day on which its period ends, or on which the stock was counted. Levels are those of
the latest day, flows add up over the periods of mSupply that lie within that of DHIS2.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from enum import StrEnum
from fractions import Fraction

from msupply_dhis2.domain.data_value import JOINED_BY
from msupply_dhis2.domain.metric import FLOWS, Metric
from msupply_dhis2.domain.report import (
    DatePeriod,
    Document,
    DocumentKind,
    GroupReports,
    PairReports,
    ReportLine,
)
from msupply_dhis2.domain.stock import MICRO
from msupply_dhis2.metrics.calculate import GroupValues
from msupply_dhis2.periods import Basis, Window
from msupply_dhis2.text import count, listed

_COUNTS = frozenset({DocumentKind.IMPREST, DocumentKind.STOCK_HISTORY})
_OF_A_PERIOD = FLOWS | {Metric.OPENING_STOCK}


class ReportWarning(StrEnum):
    """Why lines of reports are not sent, or are doubtful, in words that their number follows."""

    UNTOUCHED = "Lines of customers that nobody has filled in, which are not sent"
    SUPERSEDED = "Lines of customers that a later report replaces"
    WITHHELD = (
        "Lines of customers about a longer period than that of DHIS2, whose received, issued, adjustments, opening stock and "
        "days out of stock are not sent, because they cannot be divided"
    )
    TOO_MANY_DAYS = (
        "Lines of customers with more days out of stock than their period has, whose days are not sent"
    )
    CONTRADICTION = (
        "Lines of customers whose columns contradict each other (stock on hand, and what opening stock and movements come to; "
        "or the two columns for days out of stock), sent as they are"
    )
    FROM_DHIS2 = "Lines of customers in documents whose reference or comment names DHIS2, which are not sent back there"
    WITHOUT_DAY = "Lines of customers whose period or date cannot be read, which are not sent"


type NotSent = tuple[ReportWarning, str]
"""Why lines of a document are not sent, and which document."""


def sentences(not_sent: Counter[NotSent]) -> Iterator[str]:
    """Yield a sentence for each reason, with the documents and how many lines each has."""
    for why in ReportWarning:
        by_document = {document: lines for (reason, document), lines in not_sent.items() if reason is why}
        if by_document:
            named = [f"{document}: {lines:,}" for document, lines in by_document.items()]
            yield (
                f"{why}: {sum(by_document.values()):,} in {count(len(by_document), 'document')}, namely "
                f"{listed(named, by='; ')}."
            )


def report_values(
    group: GroupReports, window: Window, metrics: Collection[Metric], not_sent: Counter[NotSent]
) -> GroupValues:
    """Work out metrics of a group of customers, with the documents of each, and note what is not sent."""
    found: dict[Metric, list[tuple[int, Sequence[Document]]]] = {}
    days = DatePeriod.of([window])
    for pair in group.pairs:
        for metric, value, documents in _values_of_pair(pair, window.basis, days, metrics, not_sent):
            found.setdefault(metric, []).append((value, documents))
    values: dict[Metric, int | Fraction] = {
        metric: (min if metric is Metric.DAYS_OUT_OF_STOCK else sum)(value for value, _ in of_pairs)
        for metric, of_pairs in found.items()
    }
    documents_by_metric = {
        metric: [document for _, documents in of_pairs for document in documents]
        for metric, of_pairs in found.items()
    }
    if (stock := values.get(Metric.STOCK_ON_HAND)) is not None:
        of_stock = documents_by_metric[Metric.STOCK_ON_HAND]
        values[Metric.STOCKED_OUT] = MICRO if stock <= 0 else 0
        documents_by_metric[Metric.STOCKED_OUT] = of_stock
        if average := values.get(Metric.AVERAGE_MONTHLY_CONSUMPTION):
            values[Metric.MONTHS_OF_STOCK] = Fraction(stock * MICRO, average)
            documents_by_metric[Metric.MONTHS_OF_STOCK] = of_stock
    return GroupValues(
        {metric: values[metric] for metric in metrics if metric in values},
        documents={
            metric: JOINED_BY.join(dict.fromkeys(map(str, documents)))
            for metric, documents in documents_by_metric.items()
        },
    )


type _Note = Callable[[ReportWarning, ReportLine], None]
type _Values = Iterator[tuple[Metric, int, Sequence[Document]]]


def _values_of_pair(
    pair: PairReports,
    basis: Basis,
    days: DatePeriod,
    metrics: Collection[Metric],
    not_sent: Counter[NotSent],
) -> _Values:
    def note(why: ReportWarning, line: ReportLine) -> None:
        not_sent[why, f"{line.document} of {pair.store.name}"] += 1

    lines = [line for line in pair.lines if _is_reported(line, basis, days, note)]
    if pair.supplied is not None and (lines or basis in pair.supplied):
        yield Metric.RECEIVED, pair.supplied.get(basis, 0), ()
    if not lines:
        return
    latest = max(lines, key=lambda line: (line.day, line.document.rank))
    if _contradicts_itself(latest):
        note(ReportWarning.CONTRADICTION, latest)
    yield from _levels(latest)
    with_flows = [line for line in lines if line.document.period and line.document.kind not in _COUNTS]
    within = [line for line in with_flows if _period_of(line).first >= days.first]
    kept = _without_overlaps(within)
    for line in lines:
        if line not in kept and (line is not latest or line in within):
            note(ReportWarning.SUPERSEDED, line)
        elif line in with_flows and line not in within and not _OF_A_PERIOD.isdisjoint(metrics):
            note(ReportWarning.WITHHELD, line)
    if kept:
        flows = _flows(kept, note)
        yield from (each for each in flows if pair.supplied is None or each[0] is not Metric.RECEIVED)


def _is_reported(line: ReportLine, basis: Basis, days: DatePeriod, note: _Note) -> bool:
    """Whether somebody has filled a line in and it is about these days; what is not sent is noted."""
    why = None
    if line.document.is_from_dhis2:
        why = ReportWarning.FROM_DHIS2
    elif line.day is None:
        why = ReportWarning.WITHOUT_DAY
    elif not days.first <= line.day <= days.last or _is_running(line, basis, days):
        return False
    elif line.is_untouched:
        why = ReportWarning.UNTOUCHED
    if why is not None:
        note(why, line)
    return why is None


def _flows(kept: Sequence[ReportLine], note: _Note) -> _Values:
    """Yield what periods come to that do not overlap, and the opening stock of the first."""
    documents = [line.document for line in kept]
    if documents[0].has_program:
        yield Metric.OPENING_STOCK, kept[0].reported.initial, documents[:1]
    yield Metric.RECEIVED, sum(line.reported.received for line in kept), documents
    yield Metric.ISSUED, sum(line.reported.issued for line in kept), documents
    yield Metric.ADJUSTMENTS, sum(map(_adjustment, kept)), documents
    believable = [line for line in kept if _days_out(line) <= _period_of(line).days * MICRO]
    for line in kept:
        if line not in believable:
            note(ReportWarning.TOO_MANY_DAYS, line)
    if believable:
        documents = [line.document for line in believable]
        yield Metric.DAYS_OUT_OF_STOCK, sum(map(_days_out, believable)), documents


def _is_running(line: ReportLine, basis: Basis, days: DatePeriod) -> bool:
    """Whether the period of a report has not passed yet: it ends on the day of the run."""
    return line.document.period is not None and basis is Basis.CURRENT_DAY and line.day == days.last


def _period_of(line: ReportLine) -> DatePeriod:
    assert line.document.period is not None  # noqa: S101 - tells mypy: only asked where there is one
    return line.document.period


def _without_overlaps(lines: Sequence[ReportLine]) -> list[ReportLine]:
    """Keep, of lines whose periods overlap, the one that was finalised last; return them by period."""
    kept: list[ReportLine] = []
    for line in sorted(lines, key=lambda line: line.document.rank, reverse=True):
        period = _period_of(line)
        others = map(_period_of, kept)
        if not any(period.first <= other.last and other.first <= period.last for other in others):
            kept.append(line)
    return sorted(kept, key=_period_of)


def _levels(line: ReportLine) -> _Values:
    document, reported = [line.document], line.reported
    yield Metric.STOCK_ON_HAND, _stock(line), document
    if line.document.kind in _COUNTS:
        return
    moved = _initial(line), *_moved(line)
    closing = _initial(line) + _change(line) if any(moved) else _stock(line)
    yield Metric.CLOSING_STOCK, closing, document
    yield Metric.EXPIRING, reported.expiring, document
    if reported.consumption > 0:
        yield Metric.AVERAGE_MONTHLY_CONSUMPTION, reported.consumption, document


def _stock(line: ReportLine) -> int:
    """Return the stock on hand: what was counted, or what opening stock and movements come to."""
    counted = line.reported.stock
    return counted or line.reported.initial + _change(line)


def _contradicts_itself(line: ReportLine) -> bool:
    reported = line.reported
    added_up = reported.initial + _change(line)
    is_told_twice = reported.stock != 0 and any((reported.initial, *_moved(line)))
    days = {reported.days_out, reported.other_days_out} - {0}
    return (is_told_twice and reported.stock != added_up) or len(days) > 1


def _initial(line: ReportLine) -> int:
    """Return the opening stock. Without a program mSupply may keep the current stock in its place."""
    return line.reported.initial if line.document.has_program else 0


def _moved(line: ReportLine) -> tuple[int, ...]:
    reported = line.reported
    return reported.received, reported.issued, reported.lost, reported.added, reported.adjusted


def _adjustment(line: ReportLine) -> int:
    reported = line.reported
    return reported.added - reported.lost if reported.added or reported.lost else reported.adjusted


def _change(line: ReportLine) -> int:
    return line.reported.received - line.reported.issued + _adjustment(line)


def _days_out(line: ReportLine) -> int:
    return line.reported.days_out or line.reported.other_days_out
