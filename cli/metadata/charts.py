"""What shows the values: legends, indicators in the field's words, the map, the visualizations and the dashboard."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from cli.metadata.metrics import title_of
from cli.metadata.names import uid
from cli.metadata.objects import TITLE, Brief, Cell, Cells, shared
from cli.metadata.shape import Shape
from cli.metadata.wanted import Body, Wanted, reference
from msupply_dhis2.domain.metric import Metric

RED, AMBER, GREEN, BLUE = "#d7191c", "#fdae61", "#1a9641", "#2c7bb6"
_MANY = 1_000_000
_LITTLE = 0.0001
"""More than none: a legend's range does not hold its own end."""

_NUMBER, _PERCENT = f"{TITLE} number", f"{TITLE} percent"
_LAST: Mapping[str, tuple[str, str, str]] = {
    "Quarterly": ("LAST_QUARTER", "lastQuarter", "last4Quarters"),
    "SixMonthly": ("LAST_SIX_MONTH", "lastSixMonth", "last2SixMonths"),
    "SixMonthlyApril": ("LAST_SIX_MONTH", "lastSixMonth", "last2SixMonths"),
    "Yearly": ("LAST_YEAR", "lastYear", "last5Years"),
}
_MONTHS = ("LAST_MONTH", "lastMonth", "last12Months")
"""The relative periods of a period type: one that is over, and several before it. Shorter periods are shown by month."""

_HALF = 29
_WIDTH = 58
_ROW = 18


class _Formula(NamedTuple):
    word: str
    title: str
    numerator: str
    above: str
    denominator: str
    below: str
    indicator_type: str
    legend: str = ""


class Where(NamedTuple):
    """Where the org units are, as far as it is known: their level in the hierarchy, longitude and latitude."""

    level: int | None = None
    centre: tuple[float, float] | None = None


NOWHERE = Where()


def of_charts(brief: Brief, cells: Cells, where: Where = NOWHERE) -> Iterator[Wanted]:
    """Yield all that shows the values."""
    legends = list(_legends(brief))
    indicators = list(_indicators(brief, cells))
    yield from legends
    for name, factor in ((_NUMBER, 1), (_PERCENT, 100)):
        body = {**reference("indicatorTypes", name), "name": name, "factor": factor, "number": factor == 1}
        yield Wanted("indicatorTypes", name, body)
    yield from indicators
    yield from _dashboard(brief, cells, {each.key for each in indicators}, where)


def _legends(brief: Brief) -> Iterator[Wanted]:
    of = brief.subjects.thresholds
    low, high = of.understock, of.overstock
    yield _legend(
        brief,
        "LEGEND_MONTHS",
        f"{TITLE} months of stock",
        (
            ("Out of stock", -_MANY, _LITTLE, RED),
            (f"Less than {low:g} months", _LITTLE, low, AMBER),
            (f"{low:g} to {high:g} months", low, high + _LITTLE, GREEN),
            (f"More than {high:g} months", high + _LITTLE, _MANY, BLUE),
        ),
    )
    yield _legend(
        brief,
        "LEGEND_AVAILABLE",
        f"{TITLE} availability",
        (
            ("Less than 80 %", 0, 80, RED),
            ("80 to 95 %", 80, 95, AMBER),
            ("95 % and more", 95, 100.0001, GREEN),
        ),
    )
    yield _legend(
        brief,
        "LEGEND_OUT",
        f"{TITLE} stock-out rate",
        (("Up to 5 %", 0, 5, GREEN), ("5 to 20 %", 5, 20, AMBER), ("20 % and more", 20, 100.0001, RED)),
    )


def _legend(brief: Brief, part: str, name: str, steps: Sequence[tuple[str, float, float, str]]) -> Wanted:
    code = brief.code(part)
    body = {
        **reference("legendSets", code),
        "code": code,
        "name": name,
        "legends": [
            {
                "id": uid("legends", f"{code}/{place}"),
                "name": label,
                "startValue": start,
                "endValue": end,
                "color": colour,
            }
            for place, (label, start, end, colour) in enumerate(steps)
        ],
        "sharing": shared(brief, "legendSets"),
    }
    return Wanted("legendSets", code, body, code)


def _indicators(brief: Brief, cells: Cells) -> Iterator[Wanted]:
    by_item = cells.by_item()
    for item_reference, of_item in by_item.items():
        operands = {metric: cell.operand for metric, cell in of_item.items()}
        for formula in _formulas_of_item(brief, operands):
            name = next(iter(of_item.values())).item.name
            yield _indicator(brief, formula, item_reference, f"{formula.title} - {name}")
    for formula in _formulas_of_all(brief, list(by_item.values())):
        yield _indicator(brief, formula, "ALL", f"{formula.title} - all items")


def _formulas_of_item(brief: Brief, of: Mapping[Metric, str]) -> Iterator[_Formula]:
    stock, consumption = of.get(Metric.STOCK_ON_HAND), of.get(Metric.AVERAGE_MONTHLY_CONSUMPTION)
    if stock and consumption:
        yield _Formula(
            "MOS", "Months of stock (stock on hand / average monthly consumption)",
            stock, "Stock on hand", consumption, "Average monthly consumption", _NUMBER, "LEGEND_MONTHS",
        )  # fmt: skip
        yield _Formula(
            "PLAN", "Stocked according to plan %",
            _is_to_plan(brief, stock, consumption), "Whether the months of stock lie between mSupply's thresholds",
            _is_known(stock, consumption), "Whether stock on hand and average monthly consumption are known", _PERCENT,
        )  # fmt: skip
    # A combo's way of adding up is one for all metrics, and no average: there the share of facilities is not known.
    if (out := of.get(Metric.STOCKED_OUT)) and brief.shape is Shape.ITEMS:
        yield _Formula(
            "AVAIL", "Stock availability %", f"1-{out}", "Share of facilities with stock", "1", "1", _PERCENT,
            "LEGEND_AVAILABLE",
        )  # fmt: skip
        yield _Formula(
            "RATE", "Stock-out rate %", out, "Share of facilities without stock", "1", "1", _PERCENT, "LEGEND_OUT"
        )  # fmt: skip
    closing, adjusted = of.get(Metric.CLOSING_STOCK), of.get(Metric.ADJUSTMENTS)
    received, issued = of.get(Metric.RECEIVED), of.get(Metric.ISSUED)
    # Without the returns a period's numbers do not add up to what it began with.
    adds_up = brief.settings.include_returns and brief.shape is Shape.ITEMS
    if closing and adjusted and received and issued and adds_up:
        yield _Formula(
            "OPENING", "Opening stock of any period", f"{closing}-{received}+{issued}-{adjusted}",
            "Closing stock - received + issued - adjustments", "1", "1", _NUMBER,
        )  # fmt: skip
    if (expiring := of.get(Metric.EXPIRING)) and brief.shape is Shape.COMBOS:
        title = title_of(Metric.EXPIRING, brief.settings.expiring_within_days)
        yield _Formula("EXPIRING", title, expiring, title, "1", "1", _NUMBER)


def _is_known(stock: str, consumption: str) -> str:
    return f"if(isNotNull({stock}) && isNotNull({consumption}),1,0)"


def _is_to_plan(brief: Brief, stock: str, consumption: str) -> str:
    of = brief.subjects.thresholds
    return (
        f"if(isNotNull({stock}) && isNotNull({consumption}),"
        f"if({stock}>={of.understock:g}*{consumption} && {stock}<={of.overstock:g}*{consumption} && {consumption}>0,1,0),0)"
    )


def _formulas_of_all(brief: Brief, items: Sequence[Mapping[Metric, Cell]]) -> Iterator[_Formula]:
    outs = [of[Metric.STOCKED_OUT].operand for of in items if Metric.STOCKED_OUT in of]
    if outs and brief.shape is Shape.ITEMS:
        reported = "+".join(f"if(isNotNull({out}),1,0)" for out in outs)
        yield _Formula(
            "AVAIL", "Stock availability %", "+".join(f"if(isNotNull({out}),1-{out},0)" for out in outs),
            "Share of facilities with stock, summed over the items that are reported", reported, "Items that are reported",
            _PERCENT, "LEGEND_AVAILABLE",
        )  # fmt: skip
        yield _Formula(
            "RATE", "Stock-out rate %", "+".join(f"if(isNotNull({out}),{out},0)" for out in outs),
            "Share of facilities without stock, summed over the items that are reported", reported,
            "Items that are reported", _PERCENT, "LEGEND_OUT",
        )  # fmt: skip
    both = [
        (of[Metric.STOCK_ON_HAND].operand, of[Metric.AVERAGE_MONTHLY_CONSUMPTION].operand)
        for of in items
        if Metric.STOCK_ON_HAND in of and Metric.AVERAGE_MONTHLY_CONSUMPTION in of
    ]
    if both:
        yield _Formula(
            "PLAN", "Stocked according to plan %", "+".join(_is_to_plan(brief, *pair) for pair in both),
            "Items whose months of stock lie between mSupply's thresholds", "+".join(_is_known(*pair) for pair in both),
            "Items whose stock on hand and average monthly consumption are known", _PERCENT,
        )  # fmt: skip


def _indicator(brief: Brief, formula: _Formula, item_reference: str, name: str) -> Wanted:
    code = brief.code(formula.word, item_reference)
    body: Body = {
        **reference("indicators", code),
        "code": code,
        "name": name,
        "shortName": name.replace(formula.title, formula.word, 1).replace(" - ", " ", 1),
        "indicatorType": reference("indicatorTypes", formula.indicator_type),
        "numerator": formula.numerator,
        "numeratorDescription": formula.above,
        "denominator": formula.denominator,
        "denominatorDescription": formula.below,
        "annualized": False,
        "sharing": shared(brief, "indicators"),
    }
    if formula.word == "MOS":
        body["decimals"] = 1
    if formula.legend:
        body["legendSets"] = [reference("legendSets", brief.code(formula.legend))]
    return Wanted("indicators", code, body, item_reference)


class _Chart(NamedTuple):
    word: str
    title: str
    kind: str
    shown: Sequence[Body]
    columns: str
    rows: str
    filters: Sequence[str]
    is_history: bool = False
    legend: str = ""


def _dashboard(brief: Brief, cells: Cells, indicators: set[str], where: Where) -> Iterator[Wanted]:
    def by_code(word: str) -> list[Body]:
        codes = (brief.code(word, item_reference) for item_reference in cells.by_item())
        return [_indicator_item(code) for code in codes if code in indicators]

    def of_all(word: str) -> list[Body]:
        code = brief.code(word, "ALL")
        return [_indicator_item(code)] if code in indicators else []

    expiring = by_code("EXPIRING") or [
        _element_item(of[Metric.EXPIRING]) for of in cells.by_item().values() if Metric.EXPIRING in of
    ]
    days = title_of(Metric.EXPIRING, brief.settings.expiring_within_days)
    charts = [
        _Chart("NOW", "Stock availability", "SINGLE_VALUE", of_all("AVAIL"), "dx", "", ("pe", "ou"), legend="LEGEND_AVAILABLE"),
        _Chart("DISTRICTS", "Stock availability by district", "COLUMN", of_all("AVAIL"), "dx", "ou", ("pe",)),
        _Chart("MONTHS", "Months of stock by item and district", "PIVOT_TABLE", by_code("MOS"), "ou", "dx", ("pe",), legend="LEGEND_MONTHS"),
        _Chart("HISTORY", "Stock-out rate over time", "LINE", of_all("RATE"), "dx", "pe", ("ou",), is_history=True),
        _Chart("ITEMS", "Stock-out rate by item over time", "PIVOT_TABLE", by_code("RATE"), "pe", "dx", ("ou",), is_history=True, legend="LEGEND_OUT"),
        _Chart("PLANNED", "Stocked according to plan by district", "COLUMN", of_all("PLAN"), "dx", "ou", ("pe",)),
        _Chart("EXPIRING", f"{days} by item and district", "PIVOT_TABLE", expiring, "ou", "dx", ("pe",)),
    ]  # fmt: skip
    placed: list[tuple[str, str]] = []
    for chart in charts:
        if chart.shown:
            made = _visualization(brief, chart)
            placed.append(("VISUALIZATION", made.key))
            yield made
    mapped = brief.code("RATE", "ALL")
    if mapped in indicators:
        made = _map(brief, mapped, where)
        placed.insert(1, ("MAP", made.key))
        yield made
    if placed:
        yield _board(brief, placed)


def _indicator_item(code: str) -> Body:
    return {"dataDimensionItemType": "INDICATOR", "indicator": reference("indicators", code)}


def _element_item(cell: Cell) -> Body:
    return {"dataDimensionItemType": "DATA_ELEMENT", "dataElement": reference("dataElements", cell.element)}


def _visualization(brief: Brief, chart: _Chart) -> Wanted:
    code = brief.code("CHART", chart.word)
    _, one, several = _LAST.get(brief.period_type, _MONTHS)
    by_district = "ou" in {chart.columns, chart.rows}
    body: Body = {
        **reference("visualizations", code),
        "code": code,
        "name": f"{TITLE} {chart.title[0].lower()}{chart.title[1:]}",
        "type": chart.kind,
        "dataDimensionItems": list(chart.shown),
        "columnDimensions": [chart.columns],
        "rowDimensions": [chart.rows] if chart.rows else [],
        "filterDimensions": list(chart.filters),
        "relativePeriods": {several if chart.is_history else one: True},
        "userOrganisationUnitChildren" if by_district else "userOrganisationUnit": True,
        "sharing": shared(brief, "visualizations"),
    }
    if chart.legend:
        legend = reference("legendSets", brief.code(chart.legend))
        body["legend"] = {"set": legend, "strategy": "FIXED", "style": "FILL", "showKey": True}
    return Wanted("visualizations", code, body, code)


def _map(brief: Brief, indicator: str, where: Where) -> Wanted:
    code = brief.code("MAP_OUT")
    period, _, _ = _LAST.get(brief.period_type, _MONTHS)
    shown = [{"id": "USER_ORGUNIT_GRANDCHILDREN"}]
    if where.level is not None:
        shown = [{"id": "USER_ORGUNIT"}, {"id": f"LEVEL-{where.level}"}]
    longitude, latitude = where.centre or (0.0, 0.0)
    view = {
        "layer": "thematic",
        "thematicMapType": "CHOROPLETH",
        "renderingStrategy": "SINGLE",
        "opacity": 0.9,
        "hidden": False,
        "classes": 5,
        "method": 3,
        "name": f"{TITLE} stock-out rate",
        "columns": [{
            "dimension": "dx",
            "items": [{**reference("indicators", indicator), "dimensionItemType": "INDICATOR"}],
        }],
        "rows": [{"dimension": "ou", "items": shown}],
        "filters": [{"dimension": "pe", "items": [{"id": period}]}],
        "legendSet": reference("legendSets", brief.code("LEGEND_OUT")),
    }  # fmt: skip
    body = {
        **reference("maps", code),
        "code": code,
        "name": f"{TITLE} where it is out of stock",
        "longitude": longitude,
        "latitude": latitude,
        "zoom": 6 if where.centre else 2,
        "basemap": "osmLight",
        "mapViews": [view],
        "sharing": shared(brief, "maps"),
    }
    return Wanted("maps", code, body, code)


def _board(brief: Brief, placed: Sequence[tuple[str, str]]) -> Wanted:
    code = brief.code("DASHBOARD")
    items = []
    for place, (kind, key) in enumerate(placed):
        plural = "maps" if kind == "MAP" else "visualizations"
        down, across = divmod(place, 2)
        items.append(
            {
                "id": uid("dashboardItems", f"{code}/{key}"),
                "type": kind,
                plural.removesuffix("s"): reference(plural, key),
                "x": across * _HALF,
                "y": down * _ROW,
                "width": _HALF if place < len(placed) - 1 or across else _WIDTH,
                "height": _ROW,
            }
        )
    body = {
        **reference("dashboards", code),
        "code": code,
        "name": f"{TITLE} stock",
        "dashboardItems": items,
        "sharing": shared(brief, "dashboards"),
    }
    return Wanted("dashboards", code, body, code)
