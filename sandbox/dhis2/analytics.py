"""``/api/analytics``: what charts show of the values, added up over org units and time.

It sees the values as they were when its tables were last built. Zeros are in them only where the system setting says so
and the data element keeps them; averages always have them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

from sandbox.dhis2.answers import Answer, json_answer, message
from sandbox.dhis2.expressions import BadExpressionError, Operand, evaluate, operands_of
from sandbox.dhis2.importer import Server
from sandbox.dhis2.metadata import DataElement, OrgUnit
from sandbox.dhis2.periods import Period, parse_period, period_of
from sandbox.dhis2.relative_periods import relative_periods
from sandbox.dhis2.versions import Version

_AVERAGES = ("AVERAGE", "AVERAGE_SUM_ORG_UNIT")
_NEEDS_OUTPUT_PERIOD_TYPE = ("SUM", "AVERAGE", "MAX", "MIN", "COUNT")
_DAY = timedelta(days=1)


class Row(NamedTuple):
    """One value in the tables."""

    org_unit: OrgUnit
    combos: tuple[str, str]
    """The category option combo and the attribute option combo."""
    period: Period
    value: float


@dataclass(frozen=True, slots=True)
class AnalyticsTables:
    """The values as they were when the tables were built, by data element."""

    built: datetime | None = None
    rows: Mapping[str, Sequence[Row]] = field(default_factory=dict)


def build_tables(server: Server) -> AnalyticsTables:
    """Build the tables from what is stored now."""
    metadata, rows = server.metadata, defaultdict[str, list[Row]](list)
    with_zeros = metadata.system_settings.include_zero_values_in_analytics
    for key, text in server.store.items():
        element = metadata.data_element.by_id(key.data_element)
        org_unit, period = metadata.org_unit.by_id(key.org_unit), parse_period(key.period)
        value = _number(text)
        if element is None or org_unit is None or period is None or value is None:
            continue
        keeps_zeros = element.aggregation_type in _AVERAGES or (with_zeros and element.zero_is_significant)
        if text == "0" and not keeps_zeros:
            continue
        combos = (key.category_option_combo, key.attribute_option_combo)
        rows[element.id].append(Row(org_unit, combos, period, value))
    return AnalyticsTables(server.now, rows)


def _number(text: str) -> float | None:
    try:
        return float(_BOOLEANS.get(text, text))
    except ValueError:
        return None


_BOOLEANS = {"true": 1.0, "false": 0.0}


class BadQueryError(Exception):
    """A question that DHIS2 refuses; its text, and the code of the error."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


def analytics(server: Server, tables: AnalyticsTables, query: Mapping[str, Sequence[str]]) -> Answer:
    """Answer ``GET /api/analytics``."""
    try:
        question = _Question.of(server, query)
    except BadQueryError as error:
        return message(409, str(error), error.code)
    aggregation = _Aggregation(server, tables, next(iter(query.get("aggregationType", ())), None))
    rows = [[*(named[name] for name in question.shown), value] for named, value in aggregation.rows(question)]
    width = len(question.shown) + 1
    body: dict[str, Any] = {
        "headers": [_HEADERS[name] for name in (*question.shown, "value")],
        "metaData": {},
        "rowContext": {},
        "width": width if rows else 0,
        "rows": rows,
        "headerWidth": width,
        "height": len(rows),
    }
    if next(iter(query.get("skipMeta", ())), "false") != "true":
        body["metaData"] = question.described(server)
    return json_answer(body)


def _header(name: str, column: str, value_type: str = "TEXT", *, is_meta: bool = True) -> dict[str, object]:
    java = "java.lang.String" if is_meta else "java.lang.Double"
    return {
        "name": name,
        "column": column,
        "valueType": value_type,
        "type": java,
        "hidden": False,
        "meta": is_meta,
    }


_HEADERS = {
    "dx": _header("dx", "Data"),
    "pe": _header("pe", "Period"),
    "ou": _header("ou", "Organisation unit"),
    "value": _header("value", "Value", "NUMBER", is_meta=False),
}


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked for; ``shown`` are the dimensions that each row has, the others are added up."""

    data: Sequence[str]
    periods: Sequence[Period]
    org_units: Sequence[OrgUnit]
    shown: Sequence[str]

    @classmethod
    def of(cls, server: Server, query: Mapping[str, Sequence[str]]) -> "_Question":
        dimensions = _split(query.get("dimension", ()))
        asked = {**_split(query.get("filter", ())), **dimensions}
        for name in asked.keys() - {"dx", "pe", "ou"}:
            raise BadQueryError(f"Dimension `{name}` is not one that the stand-in has", "E7125")
        data = _data(server, asked.get("dx", ()))
        periods = _periods(asked.get("pe", ()), server.today)
        org_units = _org_units(server, asked.get("ou", ()))
        for name, found in (("dx", data), ("pe", periods), ("ou", org_units)):
            if not found:
                raise BadQueryError(
                    f"Dimension is present in query without any valid dimension options: `{name}`", "E7124"
                )
        shown = [name for name in ("dx", *dimensions) if name in dimensions]
        return cls(data, periods, org_units, list(dict.fromkeys(shown)))

    def described(self, server: Server) -> dict[str, Any]:
        """Return the names of all that is asked for."""
        names = {name: str(_HEADERS[name]["column"]) for name in ("dx", "pe", "ou")}
        names |= {identifier: _name_of(server, identifier) for identifier in self.data}
        names |= {period.iso: period.iso for period in self.periods}
        names |= {unit.id: unit.name for unit in self.org_units}
        return {
            "items": {key: {"name": name} for key, name in names.items()},
            "dimensions": {
                "dx": list(self.data),
                "pe": [period.iso for period in self.periods],
                "ou": [unit.id for unit in self.org_units],
                "co": [],
            },
        }


def _split(texts: Sequence[str]) -> dict[str, list[str]]:
    found = {}
    for text in texts:
        name, _, items = text.partition(":")
        found[name] = [item for item in items.split(";") if item]
    return found


def _data(server: Server, identifiers: Iterable[str]) -> list[str]:
    """Return the data elements, operands and indicators among the identifiers."""
    found, metadata = [], server.metadata
    indicators = metadata.documents.get("indicators", {})
    for identifier in identifiers:
        element = metadata.data_element.by_id(identifier.partition(".")[0])
        if element is not None:
            _require_sense(server, element, has_combo="." in identifier)
        if element is not None or identifier in indicators:
            found.append(identifier)
    return found


def _require_sense(server: Server, element: DataElement, *, has_combo: bool) -> None:
    """Refuse what DHIS2 does not add up."""
    combo = server.metadata.documents.get("categoryCombos", {}).get(element.category_combo_id, {})
    if combo.get("skipTotal") and not has_combo:
        raise BadQueryError(
            "Cannot retrieve total value for data elements with skip total category combination", "E7134"
        )
    if element.aggregation_type == "NONE":
        raise BadQueryError(
            f"Data elements must be of a value and aggregation type that allow aggregation: `[{element.id}]`",
            "E7115",
        )


def _name_of(server: Server, identifier: str) -> str:
    element = server.metadata.data_element.by_id(identifier.partition(".")[0])
    if element is not None:
        return element.name
    return str(server.metadata.documents["indicators"][identifier]["name"])


def _periods(items: Iterable[str], today: date) -> list[Period]:
    found = []
    for item in items:
        period = parse_period(item)
        found += [period] if period is not None else relative_periods(item, today)
    return list({period.iso: period for period in found}.values())


def _org_units(server: Server, items: Sequence[str]) -> list[OrgUnit]:
    """Return the org units of ``USER_ORGUNIT;LEVEL-3`` and so on; a level is one below those that are named."""
    units, user = server.metadata.org_units, server.user
    own = [
        unit
        for unit in units
        if (unit.path.count("/") == 1 if user.org_unit_ids is None else unit.id in user.org_unit_ids)
    ]
    found, levels = [], []
    for item in items:
        if item.startswith("USER_ORGUNIT"):
            deeper = ["USER_ORGUNIT", "USER_ORGUNIT_CHILDREN", "USER_ORGUNIT_GRANDCHILDREN"].index(item)
            found += [unit for unit in units for above in own if _is_below(unit, above, deeper)]
        elif item.startswith("LEVEL-"):
            levels.append(int(item.removeprefix("LEVEL-")))
        elif (unit := server.metadata.org_unit.by_id(item)) is not None:
            found.append(unit)
    if levels:
        roots = [unit.id for unit in found] or [unit.id for unit in own]
        found = [unit for unit in units if unit.path.count("/") in levels and unit.is_within(roots)]
    return list({unit.id: unit for unit in found if user.reaches(unit)}.values())


def _is_below(unit: OrgUnit, above: OrgUnit, deeper: int) -> bool:
    return unit.is_within([above.id]) and unit.path.count("/") == above.path.count("/") + deeper


@dataclass(slots=True)
class _Aggregation:
    """Adds values up, and works indicators out of the sums."""

    server: Server
    tables: AnalyticsTables
    override: str | None = None
    _sums: dict[tuple[str, str, tuple[str, ...]], float | None] = field(default_factory=dict)

    def rows(self, question: _Question) -> list[tuple[dict[str, str], str]]:
        """Return a row for each thing, period and place that is asked for and has a value."""
        periods: list[tuple[Period, ...]] = [(period,) for period in question.periods]
        if "pe" not in question.shown:
            periods = [tuple(question.periods)]
        places: list[tuple[OrgUnit, ...]] = [(unit,) for unit in question.org_units]
        if "ou" not in question.shown:
            places = [tuple(question.org_units)]
        found = []
        for identifier in question.data:
            for times in periods:
                for units in places:
                    value = self._value(identifier, times, units)
                    if value is not None:
                        named = {"dx": identifier, "pe": times[0].iso, "ou": units[0].id}
                        found.append((named, value))
        return found

    def _value(self, identifier: str, periods: tuple[Period, ...], units: tuple[OrgUnit, ...]) -> str | None:
        indicator = self.server.metadata.documents.get("indicators", {}).get(identifier)
        if indicator is not None:
            return self._indicator(indicator, periods, units)
        value = self._sum(identifier, periods, units)
        return None if value is None else _written(value)

    def _indicator(
        self, indicator: Mapping[str, Any], periods: tuple[Period, ...], units: tuple[OrgUnit, ...]
    ) -> str | None:
        """Return numerator by denominator, times factor; nothing without any value, or with a denominator of 0."""
        numerator, denominator = indicator["numerator"], indicator["denominator"]

        def look(operand: Operand) -> float | None:
            moved = tuple(_moved(period, operand.offset) for period in periods)
            return self._sum(operand.what, moved, units)

        if all(look(operand) is None for operand in operands_of(f"{numerator} {denominator}")):
            return None
        try:
            above, below = evaluate(numerator, look), evaluate(denominator, look)
        except BadExpressionError:
            return None
        if below == 0:
            return None
        types = self.server.metadata.documents.get("indicatorTypes", {})
        factor = types.get(indicator["indicatorType"]["id"], {}).get("factor", 1)
        return str(_rounded(above / below * factor, indicator.get("decimals", 2)))

    def _sum(self, operand: str, periods: tuple[Period, ...], units: tuple[OrgUnit, ...]) -> float | None:
        """Return the value of a data element (with an option combo) for periods and places together."""
        key = (operand, " ".join(period.iso for period in periods), tuple(unit.id for unit in units))
        if key not in self._sums:
            self._sums[key] = self._aggregated(operand, periods, units)
        return self._sums[key]

    def _aggregated(
        self, operand: str, periods: tuple[Period, ...], units: tuple[OrgUnit, ...]
    ) -> float | None:
        element_id, _, combo = operand.partition(".")
        element = self.server.metadata.data_element.by_id(element_id)
        if element is None:
            return None
        kind = self.override or element.aggregation_type
        if kind in _NEEDS_OUTPUT_PERIOD_TYPE and self.server.version.is_at_least(Version.V2_43):
            types = self.server.metadata.system_settings.output_period_types
            periods = tuple(period for period in periods if period.period_type in types)
        if not periods:
            return None
        within = [unit.id for unit in units]
        rows = [
            row
            for row in self.tables.rows.get(element.id, ())
            if (not combo or row.combos[0] == combo) and row.org_unit.is_within(within)
        ]
        return _HOW.get(kind, _sum_up)(rows, periods)


# How each aggregation type adds up

type _How = Callable[[Sequence[Row], Sequence[Period]], float | None]


def _during(rows: Iterable[Row], periods: Sequence[Period]) -> list[Row]:
    return [
        row
        for row in rows
        if any(period.first <= row.period.first and row.period.last <= period.last for period in periods)
    ]


def _until(rows: Iterable[Row], periods: Sequence[Period]) -> list[Row]:
    end = max(period.last for period in periods)
    return [row for row in rows if row.period.last <= end]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _total(values: Sequence[float]) -> float | None:
    return sum(values) if values else None


def _sum_up(rows: Sequence[Row], periods: Sequence[Period]) -> float | None:
    return _total([row.value for row in _during(rows, periods)])


def _average(rows: Sequence[Row], periods: Sequence[Period]) -> float | None:
    return _mean([row.value for row in _during(rows, periods)])


def _outermost(rows: Iterable[Row], *, is_last: bool) -> list[float]:
    """Return the last (or first) value of each org unit and option combo."""
    found: dict[tuple[str, tuple[str, str]], Row] = {}
    for row in sorted(rows, key=lambda row: row.period.last, reverse=not is_last):
        found[row.org_unit.id, row.combos] = row
    return [row.value for row in found.values()]


_HOW: dict[str, _How] = {
    "SUM": _sum_up,
    "AVERAGE": _average,
    "MAX": lambda rows, periods: max((row.value for row in _during(rows, periods)), default=None),
    "MIN": lambda rows, periods: min((row.value for row in _during(rows, periods)), default=None),
    "COUNT": lambda rows, periods: len(_during(rows, periods)) or None,
    "LAST": lambda rows, periods: _total(_outermost(_until(rows, periods), is_last=True)),
    "LAST_AVERAGE_ORG_UNIT": lambda rows, periods: _mean(_outermost(_until(rows, periods), is_last=True)),
    "LAST_IN_PERIOD": lambda rows, periods: _total(_outermost(_during(rows, periods), is_last=True)),
    "LAST_IN_PERIOD_AVERAGE_ORG_UNIT": lambda rows, periods: _mean(
        _outermost(_during(rows, periods), is_last=True)
    ),
    "FIRST": lambda rows, periods: _total(_outermost(_until(rows, periods), is_last=False)),
    "FIRST_AVERAGE_ORG_UNIT": lambda rows, periods: _mean(_outermost(_until(rows, periods), is_last=False)),
}


def _moved(period: Period, offset: int) -> Period:
    """Return the period so many later, or earlier."""
    for _ in range(abs(offset)):
        day = period.last + _DAY if offset > 0 else period.first - _DAY
        period = period_of(period.period_type, day)
    return period


def _rounded(value: float, decimals: int) -> float:
    """Round halves away from zero, as the server does."""
    return float(Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))


def _written(value: float) -> str:
    rounded = _rounded(value, 2)
    return str(int(rounded)) if rounded == int(rounded) else str(rounded)
