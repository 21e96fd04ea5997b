"""What is not in DHIS2, grouped by cause, with the cure and what pushes the values again."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from cli.console.runs import Refused
from msupply_dhis2.domain.data_value import JOINED_BY
from msupply_dhis2.text import count, listed

VALUES_SHOWN = 100
"""How many values a page shows for each cause; the table for a spreadsheet has all of them."""

_MONTH = re.compile(r"\d{6}", re.ASCII)
_VALUE_COLUMNS = ("store", "item", "metric", "period", "value", "org_unit", "data_element")
REFUSED_COLUMNS = ("outcome", "code", *_VALUE_COLUMNS, "cure", "message")


def refused_row(each: Refused) -> tuple[object, ...]:
    """Return a value as a row of a table."""
    return (
        each.outcome,
        each.code,
        *(each.value.get(name) for name in _VALUE_COLUMNS),
        each.cure,
        each.why,
    )


def causes_of(refused: Sequence[Refused], same: Mapping[str, str]) -> list[Mapping[str, object]]:
    """Return the causes as a page shows them, each with what asks for its values again: as the form ``same``, but of fewer."""
    by_cause: dict[tuple[str, str, bool], list[Refused]] = {}
    for each in refused:
        is_earlier = _is_earlier(str(each.value["period"]), same)
        by_cause.setdefault((each.code, each.outcome, is_earlier), []).append(each)
    return [
        {
            "title": _title(code, outcome, of_cause, is_earlier=is_earlier),
            "cure": of_cause[0].cure,
            "example": of_cause[0].why,
            "values": [each.value for each in of_cause[:VALUES_SHOWN]],
            "more": max(0, len(of_cause) - VALUES_SHOWN),
            "number": len(of_cause),
            "again": {
                **_when(of_cause, same, is_earlier=is_earlier),
                "stores": _names("store", of_cause),
                "items": _names("item", of_cause),
                "metrics": _names("metric", of_cause),
                "asked": str(len(of_cause)),
            },
        }
        for (code, outcome, is_earlier), of_cause in sorted(
            by_cause.items(), key=lambda cause: -len(cause[1])
        )
    ]


def _title(code: str, outcome: str, of_cause: Sequence[Refused], *, is_earlier: bool) -> str:
    title = f"{count(len(of_cause), 'value')} {outcome} ({code})"
    return f"{title}, {listed(_periods(of_cause))}" if is_earlier else title


def _periods(of_cause: Sequence[Refused]) -> list[str]:
    return sorted({str(each.value["period"]) for each in of_cause})


def _is_earlier(period: str, same: Mapping[str, str]) -> bool:
    """Return whether a value is of a month before that of its run, which a monthly run may send again."""
    if same.get("basis") != "as_in_settings" or "as_of" not in same or not _MONTH.fullmatch(period):
        return False
    own = datetime.fromisoformat(same["as_of"]).replace(day=1) - timedelta(days=1)
    return period < f"{own:%Y%m}"


def _when(of_cause: Sequence[Refused], same: Mapping[str, str], *, is_earlier: bool) -> dict[str, str]:
    """Return the part of a form that asks for the same periods."""
    if is_earlier:
        first, *_, last = (f"{period[:4]}-{period[4:]}" for period in 2 * _periods(of_cause))
        return {"months": f"{first}..{last}"}
    return {name: text for name, text in same.items() if name in {"basis", "as_of", "months"}}


def _names(field: str, refused: Sequence[Refused]) -> str:
    parts = (part for each in refused for part in str(each.value[field]).split(JOINED_BY))
    return "\n".join(dict.fromkeys(parts))
