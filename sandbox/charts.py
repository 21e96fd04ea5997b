"""What a dashboard of DHIS2 shows: the question behind each of its charts, and the answer."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from sandbox.dhis2 import StandIn, User

_FIELDS = (
    "name,dashboardItems[visualization[name,type,dataDimensionItems,columnDimensions,rowDimensions,filterDimensions,"
    "relativePeriods,userOrganisationUnit,userOrganisationUnitChildren]]"
)


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: its name, and its rows: data, then what else it is divided by, and the value."""

    name: str
    dimensions: Sequence[str]
    rows: Sequence[Sequence[str]]


def charts_of(dhis2: StandIn, user: User, dashboard: str) -> Iterator[Chart]:
    """Ask a stand-in what each chart of a dashboard, by its code, shows a user."""
    found = _get(dhis2, user, "dashboards", {"filter": f"code:eq:{dashboard}", "fields": _FIELDS})
    for item in found["dashboards"][0]["dashboardItems"]:
        if "visualization" in item:
            visualization = item["visualization"]
            answer = _get(dhis2, user, "analytics", chart_query(visualization))
            dimensions = [header["name"] for header in answer["headers"]]
            yield Chart(visualization["name"], dimensions, answer["rows"])


def chart_query(visualization: Mapping[str, Any]) -> dict[str, list[str] | str]:
    """Return the question to ``/api/analytics`` that DHIS2's app asks for a visualization."""
    units = [
        name
        for name, field in (
            ("USER_ORGUNIT", "userOrganisationUnit"),
            ("USER_ORGUNIT_CHILDREN", "userOrganisationUnitChildren"),
        )
        if visualization.get(field)
    ]
    periods = [
        re.sub(r"([A-Z]|\d+)", r"_\1", name).upper()
        for name, is_shown in visualization.get("relativePeriods", {}).items()
        if is_shown
    ]
    items = {
        "dx": [_shown(item) for item in visualization["dataDimensionItems"]],
        "ou": units,
        "pe": periods,
    }
    divided = [*visualization["columnDimensions"], *visualization["rowDimensions"]]
    return {
        "dimension": [f"{name}:{';'.join(items[name])}" for name in divided],
        "filter": [f"{name}:{';'.join(items[name])}" for name in visualization["filterDimensions"]],
        "skipMeta": "true",
    }


def _shown(item: Mapping[str, Any]) -> str:
    operand = item.get("dataElementOperand")
    if operand is not None:
        return f"{operand['dataElement']['id']}.{operand['categoryOptionCombo']['id']}"
    return str((item.get("indicator") or item["dataElement"])["id"])


def _get(dhis2: StandIn, user: User, path: str, query: Mapping[str, list[str] | str]) -> dict[str, Any]:
    login = (user.username, user.password.get_secret_value())
    answer = requests.get(f"{dhis2.url}/api/{path}", params=query, auth=login, timeout=30)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found
