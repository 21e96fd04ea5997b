"""How an object that is wanted stands to what DHIS2 has, and what is sent of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cli.metadata.wanted import MAPS, Body, Wanted

_NOT_COMPARED = {"id", "sharing", "longitude", "latitude", "zoom"}
"""Where a map is looked at from is nobody's fault."""


class State(StrEnum):
    """How an object stands to what DHIS2 has."""

    NEW = "new"
    SAME = "same"
    ADDED_TO = "added to"
    DIFFERENT = "different"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Difference:
    """A property that DHIS2 has otherwise."""

    field: str
    theirs: Any
    ours: Any


@dataclass(frozen=True, slots=True)
class PlannedObject:
    """An object that is wanted, how it stands to what is there, and what is sent (nothing where it stays)."""

    wanted: Wanted
    state: State
    sent: Body | None
    differences: tuple[Difference, ...] = ()
    added: Mapping[str, int] = field(default_factory=dict)
    is_ours: bool = True
    """Whether it has the identifier that this command gives."""


def compare(wanted: Wanted, owned: Body | None, *, update: bool, access: bool) -> PlannedObject:
    """Compare an object with what DHIS2 has of it (``None``: nothing); ``access``: its groups are added to the sharing."""
    is_ours = wanted.id == wanted.own_id
    if owned is None:
        return PlannedObject(wanted, State.NEW, wanted.body, is_ours=is_ours)
    sent = dict(owned)
    added: dict[str, int] = {}
    for name in wanted.adds:
        missing = _missing(wanted.body.get(name, []), owned.get(name, []))
        if missing:
            sent[name] = [*owned.get(name, []), *missing]
            added[name] = len(missing)
    # A map is put by itself, as a whole: its sharing is changed with the rest of it only.
    if access and wanted.kind not in MAPS and (missing_groups := _missing_groups(wanted.body, owned)):
        sharing = dict(owned.get("sharing") or {})
        sharing["userGroups"] = {**(sharing.get("userGroups") or {}), **missing_groups}
        sent["sharing"] = sharing
        added["userGroups"] = len(missing_groups)
    compared = {
        name: value
        for name, value in wanted.body.items()
        if name not in _NOT_COMPARED and name not in wanted.adds
    }
    differences = tuple(
        Difference(name, owned.get(name), value)
        for name, value in compared.items()
        if not _holds(owned.get(name), value) and not _is_open_enough(name, owned.get(name), value)
    )
    if wanted.kind == "categoryOptionCombos" and not owned.get("code"):
        # DHIS2 has made it itself; values are sent by its code.
        sent["code"] = wanted.body["code"]
        added["code"] = 1
        differences = tuple(each for each in differences if each.field != "code")
    if differences and update:
        sent |= {each.field: each.ours for each in differences}
        return PlannedObject(wanted, State.CHANGED, sent, differences, added, is_ours)
    if added:
        return PlannedObject(wanted, State.ADDED_TO, sent, differences, added, is_ours)
    state = State.DIFFERENT if differences else State.SAME
    return PlannedObject(wanted, state, None, differences, is_ours=is_ours)


def _is_open_enough(field: str, theirs: object, ours: object) -> bool:
    return (
        field == "openFuturePeriods" and isinstance(theirs, int) and isinstance(ours, int) and theirs >= ours
    )


def _member(entry: Body) -> str:
    """Return what a member of a list is known by."""
    element = entry.get("dataElement")
    return str(element["id"] if isinstance(element, dict) else entry.get("id"))


def _missing(wanted: Iterable[Body], owned: Iterable[Body]) -> list[Body]:
    there = {_member(each) for each in owned}
    return [each for each in wanted if _member(each) not in there]


def _missing_groups(wanted: Body, owned: Body) -> dict[str, Body]:
    groups: dict[str, Body] = wanted.get("sharing", {}).get("userGroups", {})
    there = (owned.get("sharing") or {}).get("userGroups") or {}
    return {group: access for group, access in groups.items() if group not in there}


def _holds(theirs: object, ours: object) -> bool:
    """Return whether DHIS2 has what is wanted; it may have more fields, and numbers in another form."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(
            _holds(theirs.get(name), value) for name, value in ours.items() if name != "dimensionItemType"
        )
    if isinstance(ours, list) and isinstance(theirs, list):
        if all(isinstance(each, dict) and "id" in each for each in (*ours, *theirs)):
            by_id = {each["id"]: each for each in theirs}
            return len(ours) == len(theirs) and all(_holds(by_id.get(each["id"]), each) for each in ours)
        return len(ours) == len(theirs) and all(map(_holds, theirs, ours))
    # 15.0 is 15.
    return theirs == ours
