"""Where the number of a customer comes from: the documents that its supplier has typed in."""

from collections.abc import Iterator

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.report import GroupReports
from msupply_dhis2.explain.explanation import ReportPart, Term
from msupply_dhis2.explain.formula import Formula, units
from msupply_dhis2.metrics.quantity import Quantity
from msupply_dhis2.metrics.reports import report_values
from msupply_dhis2.periods import Window

_COLUMNS = {
    "stock": "stock on hand",
    "consumption": "average monthly consumption",
    "initial": "opening stock",
    "lost": "losses",
    "added": "additions",
    "adjusted": "losses and adjustments",
    "days_out": "days out of stock",
    "other_days_out": "days out of stock (second column)",
}
"""The names of columns, where they are not what the fields are called."""


def report_formula(group: GroupReports, metric: Metric, window: Window) -> tuple[Formula, Quantity | None]:
    """Return from which documents a customer's metric is, and the exact value; where it has none, why."""
    reported = report_values(group, window, frozenset(Metric))
    values, documents = reported.values, reported.documents.get(metric)
    if metric not in values:
        return Formula(f"no report about this period gives {metric.label}"), None
    value = units(values[metric])
    terms: tuple[Term, ...] = ()
    if metric is Metric.MONTHS_OF_STOCK:
        stock, average = values[Metric.STOCK_ON_HAND], values[Metric.AVERAGE_MONTHLY_CONSUMPTION]
        said = f"{units(stock)} on hand / {units(average)} a month, reported in {documents} = {value}"
    elif metric is Metric.RECEIVED and any(pair.supplied is not None for pair in group.pairs):
        said = f"{value} that all stores issued to the customer, net"
        terms = tuple(
            Term(
                what=f"issued to {pair.store.name}, {pair.item.name}",
                units=units(pair.supplied.get(window.basis, 0)),
            )
            for pair in group.pairs
            if pair.supplied is not None
        )
    else:
        said = f"{value}, reported in {documents}"
    return Formula(f"{metric.label} = {said}", terms), values[metric]


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
            columns={_COLUMNS.get(name, name): units(number) for name, number in reported.items() if number},
            note="nobody has filled it in" if line.is_untouched else None,
        )
