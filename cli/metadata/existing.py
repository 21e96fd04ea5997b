"""What DHIS2 has already: the names and codes of a kind, the objects that are wanted as they are, and the server's settings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import batched
from statistics import fmean
from typing import Any, Protocol

import requests

from cli.metadata.subjects import PlannedStore
from cli.metadata.wanted import KINDS, WITHOUT_SHORT_NAME, Body, Wanted
from msupply_dhis2.dhis2.metadata import find, read_server, read_system_setting
from msupply_dhis2.dhis2.models import OrgUnit, Query, ReadsDhis2, Server
from msupply_dhis2.domain.choices import Scheme
from msupply_dhis2.domain.lookalikes import folded
from msupply_dhis2.errors import Dhis2PermanentError

ZEROS_IN_ANALYTICS = "keyIncludeZeroValuesInAnalytics"
OUTPUT_PERIOD_TYPES = "/api/configuration/dataOutputPeriodTypes"

_HAS_OUTPUT_PERIOD_TYPES = (2, 43)
_OBJECTS_A_CALL = 450
"""With 12 characters each in the address, below the 7,000 that always pass."""

_MAP_VIEW = (
    "layer,thematicMapType,renderingStrategy,opacity,hidden,classes,method,name,legendSet[id],"
    "columns[dimension,items[id]],rows[dimension,items[id]],filters[dimension,items[id]]"
)
_FIELDS = {"maps": f":owner,mapViews[{_MAP_VIEW}]", "dataSets": ":owner,sections[id]"}
"""Beyond what DHIS2 takes as its own: in what form a map shows something is asked for as it is sent."""

_CANDIDATES = 3
_PLACES_ASKED = 20


class AsksDhis2(Protocol):
    """The part of :class:`~msupply_dhis2.dhis2.client.Dhis2Client` that is used here."""

    def get(self, path: str, params: Query | None = None) -> object:
        """Read what stands below the address of DHIS2."""

    def call(  # noqa: D102 - as Dhis2Client describes it
        self,
        method: str,
        path: str,
        *,
        params: Query | None = None,
        content: bytes | Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response: ...

    def refusal(self, response: requests.Response) -> Exception:
        """Return the error that an answer stands for."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a list of its kind."""

    id: str
    code: str | None
    name: str
    short_name: str | None = None


@dataclass(slots=True)
class Existing:
    """What DHIS2 has.

    Attributes
    ----------
    listed
        All objects of each kind that is wanted.
    owned
        Those that are wanted, whole, by kind and UID.
    default_combo
        The UID of DHIS2's own category combo.
    generated
        Option combos that DHIS2 has made itself, without a code, by the key of what is wanted.
    """

    listed: Mapping[str, Sequence[Listed]] = field(default_factory=dict)
    owned: dict[tuple[str, str], Body] = field(default_factory=dict)
    default_combo: str | None = None
    generated: dict[str, Listed] = field(default_factory=dict)

    def index(self, wanted: Iterable[Wanted]) -> dict[tuple[str, str], Listed]:
        """Return what is there already of these, by kind and key.

        That is the object with the code, or the name where a kind has no code; else the one with the identifier.
        """
        found = {}
        by_name: dict[str, tuple[dict[str | None, Listed], dict[str, Listed], dict[str, Listed]]] = {
            kind: (
                {each.code: each for each in objects},
                {each.name: each for each in objects},
                {each.id: each for each in objects},
            )
            for kind, objects in self.listed.items()
        }
        for each in wanted:
            codes, names, identifiers = by_name.get(each.kind, ({}, {}, {}))
            called = codes.get(each.body["code"]) if "code" in each.body else names.get(each.name)
            made = self.generated.get(each.key) if each.kind == "categoryOptionCombos" else None
            if there := called or identifiers.get(each.id) or made:
                found[each.kind, each.key] = there
        return found


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the whole server says: who it is, when its analytics tables were built, and the two settings that charts hang on.

    ``output_period_types`` is ``None`` where the server has no such setting (before 2.43).
    """

    server: Server
    last_analytics: str | None
    zeros_in_analytics: bool
    output_period_types: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class OrgUnits:
    """The org units of what is sent, as they are found in DHIS2, and what is not found."""

    found: Mapping[str, OrgUnit]
    missing: tuple[PlannedStore, ...]
    candidates: Mapping[tuple[str, str], tuple[OrgUnit, ...]]
    """By name and code of the store."""
    centre: tuple[float, float] | None = None
    """Longitude and latitude amid those whose place DHIS2 knows."""

    @property
    def level(self) -> int | None:
        """The level in the hierarchy on which most of them are."""
        levels = [each.path.count("/") for each in self.found.values() if each.path]
        return max(set(levels), key=lambda level: (levels.count(level), level)) if levels else None


def read_facts(client: AsksDhis2) -> ServerFacts:
    """Read what the whole server says."""
    server = read_server(client)
    types = None
    if server.version >= _HAS_OUTPUT_PERIOD_TYPES:
        answer = client.get(OUTPUT_PERIOD_TYPES)
        types = tuple(str(each["name"]) for each in answer) if isinstance(answer, list) else None
    zeros = read_system_setting(client, ZEROS_IN_ANALYTICS)
    return ServerFacts(server, read_last_analytics(client), zeros, types)


def read_last_analytics(client: ReadsDhis2) -> str | None:
    """Read when DHIS2 last built its analytics tables, by its own clock; ``None``: never."""
    info = client.get("/api/system/info", {"fields": "lastAnalyticsTableSuccess"})
    last = info.get("lastAnalyticsTableSuccess") if isinstance(info, dict) else None
    return None if last is None else str(last)


def list_existing(client: AsksDhis2, wanted: Sequence[Wanted]) -> Existing:
    """List the objects of each kind that is wanted; one call for each, however many objects are wanted."""
    listed = {}
    for kind in (kind for kind in KINDS if any(each.kind == kind for each in wanted)):
        names = "id,code,name" if kind in WITHOUT_SHORT_NAME else "id,code,name,shortName"
        # A server may have a hundred thousand option combos, and their names need not be unique.
        filters = _filters(wanted) if kind == "categoryOptionCombos" else ({},)
        listed[kind] = tuple(
            Listed(each["id"], each.get("code"), each.get("name", ""), each.get("shortName"))
            for condition in filters
            for each in _list(client, kind, {**condition, "fields": names, "paging": "false"})
        )
    query = {"filter": "name:eq:default", "fields": "id,name,code", "paging": "false"}
    combos = [each for each in _list(client, "categoryCombos", query) if each.get("name") == "default"]
    return Existing(listed, {}, combos[0]["id"] if combos else None)


def _filters(wanted: Sequence[Wanted]) -> tuple[Mapping[str, str], ...]:
    """Return what finds option combos, of which there is one for each metric, by code or by UID."""
    combos = [each for each in wanted if each.kind == "categoryOptionCombos"]
    codes, identifiers = (",".join(str(each.body[field]) for each in combos) for field in ("code", "id"))
    return {"filter": f"code:in:[{codes}]"}, {"filter": f"id:in:[{identifiers}]"}


def read_owned(client: AsksDhis2, existing: Existing, matched: Mapping[str, Iterable[str]]) -> None:
    """Read the objects of these UIDs as a whole."""
    for kind, identifiers in matched.items():
        for some in batched(dict.fromkeys(identifiers), _OBJECTS_A_CALL, strict=False):
            query = {
                "filter": f"id:in:[{','.join(some)}]",
                "fields": _FIELDS.get(kind, ":owner"),
                "paging": "false",
            }
            for each in _list(client, kind, query):
                existing.owned[kind, each["id"]] = each


def read_option_combos(client: AsksDhis2, category_combo: str) -> list[Body]:
    """Read the option combos of a category combo, with their options."""
    query = {
        "filter": f"categoryCombo.id:eq:{category_combo}",
        "fields": ":owner",
        "paging": "false",
    }
    return _list(client, "categoryOptionCombos", query)


def read_org_units(
    client: AsksDhis2, stores: Sequence[PlannedStore], blank: Sequence[PlannedStore], scheme: Scheme
) -> OrgUnits:
    """Find the org units of stores, and for those without one the org units whose names look like theirs."""
    wanted = dict.fromkeys(store.org_unit for store in stores)
    found = {str(unit.identifier(scheme)): unit for unit in find(OrgUnit, client, wanted, scheme)}
    missing = tuple(store for store in stores if store.org_unit not in found)
    without = (*missing, *blank)
    candidates: dict[tuple[str, str], tuple[OrgUnit, ...]] = {}
    if without:
        every = [
            OrgUnit.model_validate(each)
            for each in _list(client, "organisationUnits", {"fields": "id,code,name,path", "paging": "false"})
        ]
        candidates = {(store.name, store.code): _alike(store, every) for store in without}
    in_order = {name: found[name] for name in wanted if name in found}
    return OrgUnits(
        in_order, missing, candidates, _read_centre(client, [each.id for each in in_order.values()])
    )


def _read_centre(client: AsksDhis2, identifiers: Sequence[str]) -> tuple[float, float] | None:
    """Read where some org units are, and return the middle; ``None`` where DHIS2 knows of none."""
    if not identifiers:
        return None
    # Some of them, from all over: the outline of a district can be as long as a book.
    some = identifiers[:: -(-len(identifiers) // _PLACES_ASKED)]
    condition = f"id:in:[{','.join(some)}]"
    query = {"filter": condition, "fields": "id,geometry", "paging": "false"}
    points = [
        point for each in _list(client, "organisationUnits", query) if (point := _point(each.get("geometry")))
    ]
    if not points:
        return None
    longitudes, latitudes = zip(*points, strict=True)
    return round(fmean(longitudes), 3), round(fmean(latitudes), 3)


def _point(geometry: object) -> tuple[float, float] | None:
    """Return a point of a place: itself, or the first corner of an area."""
    corner = geometry.get("coordinates") if isinstance(geometry, dict) else None
    while isinstance(corner, list) and corner and isinstance(corner[0], list):
        corner = corner[0]
    match corner:
        case [int() | float() as longitude, int() | float() as latitude, *_]:
            return longitude, latitude
    return None


def _alike(store: PlannedStore, org_units: Sequence[OrgUnit]) -> tuple[OrgUnit, ...]:
    """Return the org units whose code is the store's, or whose name is most like its name, best first."""
    words = _words(store.name)

    def likeness(unit: OrgUnit) -> float:
        if unit.code and folded(unit.code) in {folded(store.code), folded(store.org_unit)} - {""}:
            return 2.0
        theirs = _words(unit.name)
        return len(words & theirs) / len(words | theirs) if words & theirs else 0.0

    rated = sorted(
        ((likeness(unit), unit.name, unit) for unit in org_units), key=lambda each: (-each[0], each[1])
    )
    return tuple(unit for rating, _, unit in rated[:_CANDIDATES] if rating > 0)


def _words(name: str) -> set[str]:
    return {folded(word) for word in name.split()} - {""}


def _list(client: AsksDhis2, kind: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
    path = f"/api/{kind}"
    answer = client.get(path, query)
    things = answer.get(kind) if isinstance(answer, dict) else None
    if not isinstance(things, list) or not all(isinstance(each, dict) and each.get("id") for each in things):
        raise Dhis2PermanentError(
            f"DHIS2 answered {path} in a way that is not understood: there is no list {kind}. Check URL, and that no proxy "
            "changes what DHIS2 answers."
        )
    return things
