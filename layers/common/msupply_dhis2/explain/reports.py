"""Where the number of a customer comes from: the documents that its supplier has typed in."""

from collections.abc import Iterator

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.report import GroupReports
from msupply_dhis2.explain.explanation import ReportPart, Term
from msupply_dhis2.explain.formula import Formula, units
from msupply_dhis2.metrics.quantity import Quantity
from msupply_dhis2.metrics.reports import report_values, sentences
from msupply_dhis2.periods import Window

_COLUMNS = {
    "stock": "stock on hand",
    "consumption": "average monthly consumption",
    "initial": "opening stock",
    "received": "received",
    "issued": "issued",
    "lost": "losses",
    "added": "additions",
    "adjusted": "losses and adjustments",
    "expiring": "expiring",
    "days_out": "days out of stock",
    "other_days_out": "days out of stock (second column)",
    "requested": "requested",
}


def report_formula(group: GroupReports, metric: Metric, window: Window) -> tuple[Formula, Quantity | None]:
    """Return from which documents a customer's metric is, and the exact value; where it has none, why."""
    values = report_values(group, window, frozenset(Metric))
    value, documents = values.values.get(metric), values.documents.get(metric)
    if value is None:
        return Formula(f"no report about this period gives {metric.label}"), None
    exact = units(value)
    if metric is Metric.MONTHS_OF_STOCK:
        stock, average = (
            units(values.values[each]) for each in (Metric.STOCK_ON_HAND, Metric.AVERAGE_MONTHLY_CONSUMPTION)
        )
        quotient = f"{stock} on hand / {average} a month"
        return Formula(f"months of stock = {quotient}, reported in {documents} = {exact}"), value
    supplied = [pair for pair in group.pairs if pair.supplied is not None]
    if metric is Metric.RECEIVED and supplied:
        terms = tuple(
            Term(
                what=f"issued to {pair.store.name}, {pair.item.name}",
                units=units((pair.supplied or {}).get(window.basis, 0)),
            )
            for pair in supplied
        )
        return Formula(f"received = {exact} that all stores issued to the customer, net", terms), value
    return Formula(f"{metric.label} = {exact}, reported in {documents}"), value


def report_parts(group: GroupReports) -> Iterator[ReportPart]:
    """Yield the lines of documents that were read, by their day; of their columns those that are not 0."""
    lines = [(pair, line) for pair in group.pairs for line in pair.lines]
    for pair, line in sorted(lines, key=lambda each: (str(each[1].day), each[1].document.rank)):
        document, reported = line.document, line.reported._asdict()
        yield ReportPart(
            customer=pair.store.name,
            item=pair.item.name,
            document=str(document),
            day=line.day,
            first_day=None if document.period is None else document.period.first,
            columns={_COLUMNS[name]: units(quantity) for name, quantity in reported.items() if quantity},
            note="nobody has filled it in" if line.is_untouched else None,
        )


def report_notes(group: GroupReports, metric: Metric, window: Window) -> tuple[str, ...]:
    """Return which lines are not sent, or are doubtful, and why."""
    return tuple(sentences(report_values(group, window, {metric}).not_sent))
