"""What is not in DHIS2, grouped by cause, with the cure and what pushes the values again."""

from collections.abc import Mapping, Sequence

from cli.console.runs import Refused
from msupply_dhis2.domain.data_value import JOINED_BY
from msupply_dhis2.text import count

VALUES_SHOWN = 100
"""How many values a page shows for each cause; the table for a spreadsheet has all of them."""

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
    by_cause: dict[tuple[str, str], list[Refused]] = {}
    for each in refused:
        by_cause.setdefault((each.code, each.outcome), []).append(each)
    instant = {name: text for name, text in same.items() if name in {"basis", "as_of", "months"}}
    return [
        {
            "title": f"{count(len(of_cause), 'value')} {outcome} ({code})",
            "cure": of_cause[0].cure,
            "example": of_cause[0].why,
            "values": [each.value for each in of_cause[:VALUES_SHOWN]],
            "more": max(0, len(of_cause) - VALUES_SHOWN),
            "number": len(of_cause),
            "again": {
                **instant,
                "stores": _names("store", of_cause),
                "items": _names("item", of_cause),
                "metrics": _names("metric", of_cause),
                "asked": str(len(of_cause)),
            },
        }
        for (code, outcome), of_cause in sorted(by_cause.items(), key=lambda cause: -len(cause[1]))
    ]


def _names(field: str, refused: Sequence[Refused]) -> str:
    parts = (part for each in refused for part in str(each.value[field]).split(JOINED_BY))
    return "\n".join(dict.fromkeys(parts))
