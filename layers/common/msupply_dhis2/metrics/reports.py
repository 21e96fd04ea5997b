"""The metrics of customers that are not stores, from what they report (docs/metrics.md).

A report is somebody's word about the day on which its period ends, or on which the stock was counted. Levels are those of
the latest day, flows add up over the periods of mSupply that lie within that of DHIS2.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
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
    Reported,
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

    UNTOUCHED = "Report lines that nobody has filled in, not sent"
    SUPERSEDED = "Report lines that a later report replaces, not sent"
    WITHHELD = (
        "Report lines about a longer period than that of DHIS2, or one that begins before it. Their stock is sent; received, "
        "issued, adjustments, opening stock and days out of stock are not, because they cannot be divided"
    )
    TOO_MANY_DAYS = (
        "Report lines with more days out of stock than their period has. Their days out of stock are not sent"
    )
    CONTRADICTION = (
        "Report lines whose columns contradict each other (stock on hand against opening stock and movements, or the two "
        "columns for days out of stock), sent as they are"
    )
    FROM_DHIS2 = "Report lines of documents whose reference or comment names DHIS2, not sent back to DHIS2"
    WITHOUT_DAY = "Report lines whose period or date cannot be read, not sent"


type NotSent = tuple[str, str]
"""Why lines of a document are not sent (a ``ReportWarning``), and which document."""


def sentences(not_sent: Mapping[NotSent, int]) -> Iterator[str]:
    """Yield a sentence for each reason, with the documents and how many lines each has."""
    for why in ReportWarning:
        by_document = {document: lines for (reason, document), lines in not_sent.items() if reason is why}
        if by_document:
            named = [f"{document}: {lines:,}" for document, lines in by_document.items()]
            yield (
                f"{why}: {sum(by_document.values()):,} in {count(len(by_document), 'document')}, namely "
                f"{listed(named, by='; ')}."
            )


def report_values(group: GroupReports, window: Window, metrics: AbstractSet[Metric]) -> GroupValues:
    """Work out metrics of a group of customers, with the documents of each, and what is not sent."""
    not_sent = Counter[NotSent]()
    found: dict[Metric, list[tuple[int, Sequence[Document]]]] = {}
    for pair in group.pairs:
        reports = _Reports(pair, window, not_sent)
        for metric, value, documents in reports.values(with_flows=not _OF_A_PERIOD.isdisjoint(metrics)):
            found.setdefault(metric, []).append((value, documents))
    values: dict[Metric, int | Fraction] = {
        metric: (min if metric is Metric.DAYS_OUT_OF_STOCK else sum)(value for value, _ in of_pairs)
        for metric, of_pairs in found.items()
    }
    if (stock := values.get(Metric.STOCK_ON_HAND)) is not None:
        values[Metric.STOCKED_OUT] = MICRO if stock <= 0 else 0
        if average := values.get(Metric.AVERAGE_MONTHLY_CONSUMPTION):
            values[Metric.MONTHS_OF_STOCK] = Fraction(stock * MICRO, average)
    asked = metrics & values.keys()
    # What is worked out from others is from the documents of the stock.
    sources = {metric: found.get(metric) or found[Metric.STOCK_ON_HAND] for metric in asked}
    named = {metric: [str(each) for _, of_pair in sources[metric] for each in of_pair] for metric in asked}
    return GroupValues(
        values={metric: values[metric] for metric in asked},
        documents={metric: JOINED_BY.join(dict.fromkeys(names)) for metric, names in named.items()},
        not_sent=not_sent,
    )


type _Values = Iterator[tuple[Metric, int, Sequence[Document]]]


class _Reports:
    """What a customer reports of an item for the time of a window."""

    def __init__(self, pair: PairReports, window: Window, not_sent: Counter[NotSent]) -> None:
        self._pair, self._basis, self._not_sent = pair, window.basis, not_sent
        self._days = DatePeriod.of([window])
        self._lines = [line for line in pair.lines if self._is_reported(line)]

    def _note(self, why: ReportWarning, line: ReportLine) -> None:
        self._not_sent[why, f"{line.document} of {self._pair.store.name}"] += 1

    def _is_reported(self, line: ReportLine) -> bool:
        """Whether somebody has filled a line in and it is about these days; what is not sent is noted."""
        document, days = line.document, self._days
        if document.is_from_dhis2:
            why = ReportWarning.FROM_DHIS2
        elif line.day is None:
            why = ReportWarning.WITHOUT_DAY
        elif not days.first <= line.day <= days.last:
            return False
        elif document.period and line.day == days.last and self._basis is Basis.CURRENT_DAY:
            # The period ends on the day of the run: it has not passed yet.
            return False
        elif line.is_untouched:
            why = ReportWarning.UNTOUCHED
        else:
            return True
        self._note(why, line)
        return False

    def values(self, *, with_flows: bool) -> _Values:
        """Yield the values with their documents, but for those that are worked out from sums; and note what is not sent."""
        supplied, lines = self._pair.supplied, self._lines
        if supplied is not None and (lines or self._basis in supplied):
            yield Metric.RECEIVED, supplied.get(self._basis, 0), ()
        if not lines:
            return
        latest = max(lines, key=lambda line: (line.day, line.document.rank))
        of_periods = [line for line in lines if line.document.period and line.document.kind not in _COUNTS]
        within = [line for line in of_periods if _period(line).first >= self._days.first]
        used = _without_overlaps(within)
        for line in lines:
            if line not in used and (line is not latest or line in within):
                self._note(ReportWarning.SUPERSEDED, line)
            if (line is latest or line in used) and _contradicts_itself(line.reported):
                self._note(ReportWarning.CONTRADICTION, line)
            if with_flows and line in of_periods and line not in within:
                self._note(ReportWarning.WITHHELD, line)
        yield from _levels(latest)
        if used:
            yield from (
                each for each in self._flows(used) if supplied is None or each[0] is not Metric.RECEIVED
            )

    def _flows(self, lines: Sequence[ReportLine]) -> _Values:
        """Yield what periods come to that do not overlap, and the opening stock of the first."""
        documents, reported = [line.document for line in lines], [line.reported for line in lines]
        if documents[0].has_program:
            yield Metric.OPENING_STOCK, reported[0].initial, documents[:1]
        yield Metric.RECEIVED, sum(each.received for each in reported), documents
        yield Metric.ISSUED, sum(each.issued for each in reported), documents
        yield Metric.ADJUSTMENTS, sum(each.adjustment for each in reported), documents
        believable = [line for line in lines if line.reported.days <= _period(line).days * MICRO]
        for line in lines:
            if line not in believable:
                self._note(ReportWarning.TOO_MANY_DAYS, line)
        if believable:
            days = sum(line.reported.days for line in believable)
            yield Metric.DAYS_OUT_OF_STOCK, days, [line.document for line in believable]


def _period(line: ReportLine) -> DatePeriod:
    period = line.document.period
    assert period is not None  # noqa: S101 - tells mypy: only such lines are asked for it
    return period


def _without_overlaps(lines: Sequence[ReportLine]) -> list[ReportLine]:
    """Keep, of lines whose periods overlap, the one that was finalised last; return them by period."""
    kept: list[ReportLine] = []
    for line in sorted(lines, key=lambda each: each.document.rank, reverse=True):
        first, last = _period(line)
        if not any(first <= _period(other).last and _period(other).first <= last for other in kept):
            kept.append(line)
    return sorted(kept, key=_period)


def _levels(line: ReportLine) -> _Values:
    document, reported, initial = [line.document], line.reported, _initial(line)
    stock = reported.stock or reported.initial + reported.change
    yield Metric.STOCK_ON_HAND, stock, document
    if line.document.kind in _COUNTS:
        return
    closing = initial + reported.change if initial or reported.has_moved else stock
    yield Metric.CLOSING_STOCK, closing, document
    yield Metric.EXPIRING, reported.expiring, document
    if reported.consumption > 0:
        yield Metric.AVERAGE_MONTHLY_CONSUMPTION, reported.consumption, document


def _initial(line: ReportLine) -> int:
    """Return the opening stock. Without a program mSupply may keep the current stock in its place."""
    return line.reported.initial if line.document.has_program else 0


def _contradicts_itself(reported: Reported) -> bool:
    is_told_twice = reported.stock and (reported.initial or reported.has_moved)
    added_up = reported.initial + reported.change
    return bool(is_told_twice and reported.stock != added_up) or (
        0 not in (days := {reported.days_out, reported.other_days_out}) and len(days) > 1
    )
