"""What is wanted in DHIS2, object by object, as its own API writes them."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cli.metadata.names import uid

type Body = dict[str, Any]
"""An object as DHIS2's API writes it: its fields are DHIS2's own, and not known here beforehand."""

ACCESS = ("userRoles", "userGroups")
OF_CATEGORIES = ("categoryOptions", "categories", "categoryCombos", "categoryOptionCombos")
METADATA = (
    *("legendSets", *OF_CATEGORIES),
    *("dataElements", "dataElementGroups", "dataSets", "sections", "indicatorTypes", "indicators"),
)
MAPS = ("maps",)
CHARTS = ("visualizations", "dashboards")
KINDS = (*ACCESS, *METADATA, *MAPS, *CHARTS)
"""The kinds of objects by DHIS2's plurals, in the order in which they are imported."""

TITLES = {
    "userRoles": "role",
    "userGroups": "user group",
    "legendSets": "legend",
    "categoryOptions": "category option",
    "categories": "category",
    "categoryCombos": "category combo",
    "categoryOptionCombos": "category option combo",
    "dataElements": "data element",
    "dataElementGroups": "data element group",
    "dataSets": "data set",
    "sections": "section",
    "indicatorTypes": "indicator type",
    "indicators": "indicator",
    "maps": "map",
    "visualizations": "visualization",
    "dashboards": "dashboard",
}
"""What a kind is called, one of it."""

WITHOUT_SHORT_NAME = {
    *("userRoles", "userGroups", "legendSets", "categoryCombos", "categoryOptionCombos", "sections"),
    *("indicatorTypes", "maps", "visualizations", "dashboards"),
}
_UID = re.compile(r"\b[A-Za-z][A-Za-z0-9]{10}\b")


def many(kind: str) -> str:
    """Return what several of a kind are called."""
    one = TITLES[kind]
    return f"{one[:-1]}ies" if one.endswith("y") else f"{one}s"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object that is wanted.

    Attributes
    ----------
    key
        Its code; its name where its kind has no code (indicator types).
    body
        What DHIS2 is to hold of it. Its name may still be too long, or another object's.
    tag
        What tells its name from another that is the same.
    adds
        Which lists of it are added to what DHIS2 has, and never shortened.
    """

    kind: str
    key: str
    body: Body
    tag: str = ""
    adds: frozenset[str] = field(default_factory=frozenset)

    @property
    def id(self) -> str:
        """Its identifier."""
        return str(self.body["id"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.body["name"])

    @property
    def own_id(self) -> str:
        """The identifier that it has where this command makes it."""
        return uid(self.kind, self.key)


def reference(kind: str, key: str) -> dict[str, str]:
    """Return a reference to an object that is wanted."""
    return {"id": uid(kind, key)}


def with_identifiers(wanted: Iterable[Wanted], others: Mapping[str, str]) -> list[Wanted]:
    """Return the same objects with other identifiers, in references and in expressions too."""
    if not others:
        return list(wanted)

    def other(found: re.Match[str]) -> str:
        return others.get(found[0], found[0])

    return [
        Wanted(each.kind, each.key, json.loads(_UID.sub(other, json.dumps(each.body))), each.tag, each.adds)
        for each in wanted
    ]
