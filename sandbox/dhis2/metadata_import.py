"""``POST /api/metadata``: what is wrong with each object, and what is stored of them.

Only ``importMode=VALIDATE`` stores nothing; ``dryRun`` is not looked at. What is stored replaces what was there.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sandbox.dhis2.answers import Answer, message
from sandbox.dhis2.documents import expected_combos, without
from sandbox.dhis2.import_report import (
    FlushError,
    Found,
    Problem,
    conflict,
    import_answer,
    object_answer,
)
from sandbox.dhis2.importer import Server
from sandbox.dhis2.kinds import AGGREGATION_TYPES, KINDS, LONGEST, VALUE_TYPES, Kind
from sandbox.dhis2.metadata import Metadata, is_uid, uid
from sandbox.dhis2.metadata_storing import stored
from sandbox.dhis2.sharing import Document, Right, groups_of, has_right
from sandbox.dhis2.values import ValueKey
from sandbox.dhis2.versions import Version

_SHORTEST_PASSWORD, _LONGEST_PASSWORD = 8, 72
_UID_LENGTH = 11


class Imported(NamedTuple):
    """What is answered, and what is set up afterwards."""

    answer: Answer
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """The parameters of the address that are looked at."""

    is_validation: bool = False
    strategy: str = "CREATE_AND_UPDATE"
    identifier: str = "UID"
    is_atomic: bool = True
    skips_sharing: bool = False

    @classmethod
    def of(cls, query: Mapping[str, Sequence[str]]) -> "ImportOptions":
        """Read them."""
        given = {name: values[-1].upper() for name, values in query.items() if values}
        return cls(
            is_validation=given.get("importMode") == "VALIDATE",
            strategy=given.get("importStrategy", "CREATE_AND_UPDATE"),
            identifier=given.get("identifier", "UID"),
            is_atomic=given.get("atomicMode", "ALL") == "ALL",
            skips_sharing=given.get("skipSharing") == "TRUE",
        )


def import_metadata(server: Server, body: bytes, options: ImportOptions) -> Imported:
    """Import a payload, or only say what would become of it."""
    metadata = server.metadata
    try:
        payload = json.loads(body or b"{}")
    except ValueError as error:
        return Imported(conflict("ERROR", str(error)), metadata)
    if (unknown := _unknown_word(payload)) is not None:
        status = 409 if server.version.is_at_least(Version.V2_43) else 500
        return Imported(message(status, unknown), metadata)
    if options.identifier == "CODE" and server.version.is_at_least(Version.V2_42):
        text = (
            'Cannot invoke "org.hisp.dhis.dataelement.DataElement.getValueType()" because "dePreheat" is null'
        )
        return Imported(message(500, text), metadata)
    found = list(_read(server, payload, by_code=options.identifier == "CODE"))
    if options.strategy == "DELETE":
        return _delete(server, found)
    _check(server, found, options)
    good = [each for each in found if not each.problems]
    if options.is_atomic and len(good) < len(found):
        good = []
    if not options.is_validation:
        try:
            metadata = stored(server, good, skips_sharing=options.skips_sharing)
        except FlushError as error:
            return Imported(conflict("ERROR", str(error)), server.metadata)
    return Imported(
        import_answer(found, good, server.version, is_named=options.is_validation),
        metadata,
    )


def import_one(server: Server, kind: Kind, document: Mapping[str, Any], *, is_new: bool) -> Imported:
    """Import an object that came to an address of its own, with POST (new) or PUT."""
    strategy = "CREATE" if is_new else "UPDATE"
    (found,) = _read(server, {kind.plural: [document]})
    options = ImportOptions(strategy=strategy)
    _check(server, [found], options)
    metadata = server.metadata
    if not found.problems:
        try:
            metadata = stored(server, [found], comes_alone=True)
        except FlushError as error:
            return Imported(conflict("ERROR", str(error)), metadata)
    return Imported(object_answer(found, server.version), metadata)


def _read(server: Server, payload: Mapping[str, Any], *, by_code: bool = False) -> Iterator[Found]:
    for plural, kind in KINDS.items():
        for index, document in enumerate(payload.get(plural, ())):
            holder = _holders(server.metadata, kind, "code").get(document["code"]) if by_code else None
            identifier = holder or document.get("id")
            yield Found(
                kind,
                index,
                {**document, "id": identifier or uid(plural, json.dumps(document, sort_keys=True))},
                is_new=identifier is None or not exists(server.metadata, plural, identifier),
            )


def _unknown_word(payload: Mapping[str, Any]) -> str | None:
    """Return what is said of an aggregation type or value type that there is not."""
    for element in payload.get("dataElements", ()):
        for name, java_class, words in _WORDS:
            word = element.get(name)
            if word is not None and word not in words:
                return (
                    f'Cannot deserialize value of type `{java_class}` from String "{word}": not one of the values accepted for '
                    f"Enum class: [{', '.join(words)}]\n at [Source: UNKNOWN; byte offset: #UNKNOWN] (through reference chain: "
                    f'org.hisp.dhis.dataelement.DataElement["{name}"])'
                )
    return None


_WORDS = (
    ("aggregationType", "org.hisp.dhis.analytics.AggregationType", tuple(AGGREGATION_TYPES)),
    ("valueType", "org.hisp.dhis.common.ValueType", tuple(sorted(VALUE_TYPES))),
)


# What is there

_TYPED = {
    "organisationUnits": "org_unit",
    "categoryOptions": "category_option",
    "categoryCombos": "category_combo",
    "categoryOptionCombos": "option_combo",
    "dataElements": "data_element",
    "dataSets": "data_set",
    "optionSets": "option_set",
}


def exists(metadata: Metadata, plural: str, identifier: str) -> bool:
    """Whether there is such an object."""
    if identifier in metadata.documents.get(plural, {}):
        return True
    typed = _TYPED.get(plural)
    return typed is not None and getattr(metadata, typed).by_id(identifier) is not None


def _holders(metadata: Metadata, kind: Kind, name: str) -> dict[str, str]:
    """Return who has which value of a property that must be unique."""
    holders: dict[str, str] = {}
    typed = _TYPED.get(kind.plural)
    if typed is not None:
        for thing in getattr(metadata, typed).all:
            value = thing.name[: LONGEST["shortName"]] if name == "shortName" else getattr(thing, name)
            if value is not None:
                holders[value] = thing.id
    for identifier, document in metadata.documents.get(kind.plural, {}).items():
        if document.get(name) is not None:
            holders[document[name]] = identifier
    return holders


# What is wrong


def _check(server: Server, found: Sequence[Found], options: ImportOptions) -> None:
    """Note what is wrong with each object."""
    known = _Known(server.metadata, found)
    groups = groups_of(server.metadata, server.user)
    for each in found:
        if (wrong := _wrong_strategy(each, options.strategy, server.version)) is not None:
            each.problems.append(wrong)
            continue
        each.problems += _without_right(server, each, groups)
        each.problems += _wrong_properties(each, server.version)
        each.problems += known.taken(each)
        each.problems += known.missing_references(each, server.version)
        each.problems += known.sharing_with_nobody(each)
        each.problems += known.wrong_option_combos(each, server.version)


def _wrong_strategy(found: Found, strategy: str, version: Version) -> Problem | None:
    described = found.described
    if strategy == "CREATE" and not found.is_new:
        mode = "strategy" if version.is_at_least(Version.V2_43) else "mode"
        text = (
            f"Found matching object for reference, but import {mode} is CREATE. Identifier was UID, and object "
            f"was {described}."
        )
        return Problem("E5000", text, ("UID", described), main_id=found.id)
    if strategy == "UPDATE" and found.is_new:
        return _no_match(found, about="id")
    return None


def _no_match(found: Found, *, about: str | None = None) -> Problem:
    text = f"No matching object for reference. Identifier was UID, and object was {found.described}."
    return Problem("E5001", text, ("UID", found.described), about=about, main_id=found.id)


def _without_right(server: Server, found: Found, groups: frozenset[str]) -> Iterator[Problem]:
    user = server.user
    who = f"{user.first_name} {user.surname} [{user.uid}] (User)"
    if found.is_new:
        if not any(user.may(authority) for authority in found.kind.creators):
            text = f"User `{who}` is not allowed to create objects of type {found.described}"
            yield Problem("E3000", text, (who, found.described))
        return
    document = server.metadata.documents.get(found.kind.plural, {}).get(found.id, {})
    may_write = has_right(document, user, groups, Right.WRITE)
    if not may_write or not any(user.may(authority) for authority in found.kind.creators):
        text = f"User `{who}` is not allowed to update object `{found.described}`"
        yield Problem("E3001", text, (who, found.described))


def _wrong_properties(found: Found, version: Version) -> Iterator[Problem]:
    document = found.document
    if not is_uid(found.id):
        length = len(found.id)
        if length != _UID_LENGTH:
            text = f"Allowed length range for property `id` is [11 to 11], but given length was {length}"
            yield Problem(
                "E4002", text, ("id", 11.0, 11.0, length), about="id", java_class="java.lang.String"
            )
        yield Problem("E4014", f"Invalid UID `{found.id}` for property `id`", (found.id, "id"), about="id")
    for name in found.kind.required:
        if document.get(name) is None:
            java_class = "java.util.Date" if name.endswith("Date") else "java.lang.String"
            text = f"Missing required property `{name}`"
            yield Problem("E4000", text, (name,), about=name, java_class=java_class)
    for name, longest in LONGEST.items():
        length = len(document.get(name) or "")
        if length > longest:
            text = f"Maximum length of property `{name}`is {longest}, but given length was {length}"
            yield Problem("E4001", text, (name, longest, length), about=name, java_class="java.lang.String")
    password = document.get("password")
    if password is not None and not _SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
        yield _wrong_password(password, version)


def _wrong_password(password: str, version: Version) -> Problem:
    text, detail = "Property `password` requires a valid password, was given `{}`", password
    if version.is_at_least(Version.V2_41):
        text = "Property `password` requires a valid password, `{}`"
        detail = "Password must have at least 8, and at most 72 characters"
    return Problem(
        "E4005",
        text.format(detail),
        ("password", detail),
        about="password",
        java_class="java.lang.String",
    )


@dataclass(slots=True)
class _Known:
    """What there is, together with what a payload brings."""

    metadata: Metadata
    found: Sequence[Found]
    brought: dict[str, dict[str, Document]] = field(init=False)
    _holders: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.brought = {}
        for each in self.found:
            self.brought.setdefault(each.kind.plural, {})[each.id] = each.document

    def has(self, plural: str, identifier: str) -> bool:
        """Whether there is such an object, or comes with the payload."""
        return identifier in self.brought.get(plural, {}) or exists(self.metadata, plural, identifier)

    def taken(self, found: Found) -> Iterator[Problem]:
        """Yield which of its unique properties another object has."""
        for name in found.kind.unique:
            value = found.document.get(name)
            if value is None:
                continue
            key = (found.kind.plural, name)
            if key not in self._holders:
                brought = self.brought[found.kind.plural]
                self._holders[key] = {
                    value: holder
                    for value, holder in _holders(self.metadata, found.kind, name).items()
                    if holder not in brought
                }
            holder = self._holders[key].setdefault(value, found.id)
            if holder != found.id:
                text = (
                    f"Property `{name}` with value `{value}` on object {found.described} already exists on object "
                    f"{holder}"
                )
                details = (name, value, found.described, holder)
                yield Problem("E5003", text, details, about=name, main_id=holder)

    def missing_references(self, found: Found, version: Version) -> Iterator[Problem]:
        """Yield what it refers to and is not there; 2.40 takes a dashboard without its visualizations."""
        if found.kind.plural == "dashboards" and not version.is_at_least(Version.V2_41):
            return
        for path, plural in found.kind.references.items():
            for part, identifier, is_list in _referred(found, path.split(".")):
                if not self.has(plural, identifier):
                    yield _missing(found, part, path, KINDS[plural], identifier, is_list=is_list)

    def sharing_with_nobody(self, found: Found) -> Iterator[Problem]:
        """Yield the user groups that it is shared with and that are not there."""
        for shared in found.document.get("sharing", {}).get("userGroups", {}).values():
            identifier = shared["id"]
            if not self.has("userGroups", identifier):
                yield _missing(found, None, "userGroup", KINDS["userGroups"], identifier, is_list=False)

    def wrong_option_combos(self, found: Found, version: Version) -> Iterator[Problem]:
        """Yield what 2.43 says of own option combos: some are missing, or there are such already."""
        if found.kind.plural != "categoryOptionCombos" or not version.is_at_least(Version.V2_43):
            return
        combo_id = found.document["categoryCombo"]["id"]
        options = {option["id"] for option in found.document.get("categoryOptions", ())}
        combo = self.metadata.category_combo.by_id(combo_id)
        for other in combo.option_combos if combo else ():
            if other.id != found.id and set(other.category_option_ids) == options:
                text = (
                    f"Provided CategoryOptionCombo {found.id} cannot be processed (potential duplicate). An existing "
                    f"CategoryOptionCombo {other.id} has the same CategoryCombo {combo_id} and same CategoryOptions "
                    f"[{', '.join(sorted(options))}]"
                )
                yield Problem("E1132", text, (found.id, other.id, combo_id))
                return
        brought = [
            each
            for each in self.brought["categoryOptionCombos"].values()
            if each["categoryCombo"]["id"] == combo_id
        ]
        expected = len(expected_combos(self._together(), combo_id))
        if expected and len(brought) != expected and not (combo and combo.option_combos):
            text = (
                f"Importing {len(brought)} CategoryOptionCombos does not match the expected amount of {expected} for "
                f"CategoryCombo {combo_id}"
            )
            yield Problem("E1130", text, (len(brought), expected, combo_id))

    def _together(self) -> Metadata:
        documents = {
            kind: {**self.metadata.documents.get(kind, {}), **self.brought.get(kind, {})}
            for kind in ("categoryCombos", "categories")
        }
        return self.metadata.model_copy(update={"documents": documents})


def _referred(found: Found, path: Sequence[str]) -> Iterator[tuple[Document | None, str, bool]]:
    """Yield the UIDs at the end of a path, with the part of the object that holds each, and whether it is one of many."""
    parts: list[Document] = [found.document]
    for name in path[:-1]:
        inner = [part[name] for part in parts if part.get(name)]
        parts = [each for value in inner for each in (value if isinstance(value, list) else [value])]
    for part in parts:
        value = part.get(path[-1])
        for reference in value if isinstance(value, list) else [value]:
            if reference and "id" in reference:
                yield (part if len(path) > 1 else None), reference["id"], isinstance(value, list)


def _missing(
    found: Found, part: Document | None, path: str, kind: Kind, identifier: str, *, is_list: bool
) -> Problem:
    holder, main_id, main_class = found.described, found.id, None
    if part is not None and "id" in part and found.kind.plural == "dashboards":
        holder, main_id = f"[{part['id']}] (DashboardItem)", str(part["id"])
        main_class = "org.hisp.dhis.dashboard.DashboardItem"
    name = kind.singular if is_list else path.rpartition(".")[2]
    missing = f"[{identifier}] ({kind.simple_name})"
    return Problem(
        "E5002",
        f"Invalid reference {missing} on object {holder} for association `{name}`",
        (missing, holder, name),
        about=name,
        main_id=main_id,
        java_class=kind.java_class if is_list else None,
        main_class=main_class,
    )


# What is deleted


def delete_one(server: Server, kind: Kind, identifier: str) -> Imported:
    """Delete one object that is there, at an address of its own."""
    found = Found(kind, 0, {"id": identifier}, is_new=False)
    metadata = _delete(server, [found]).metadata
    return Imported(object_answer(found, server.version, status="WARNING"), metadata)


def _delete(server: Server, found: Sequence[Found]) -> Imported:
    """Delete what nothing else needs: org units with others below them stay, and data elements with values."""
    metadata, deleted = server.metadata, []
    for each in found:
        if each.is_new:
            each.problems.append(_no_match(each))
        elif others := _needed_by(metadata, server.store.rows, each):
            text = f"Object could not be deleted because it is associated with another object: {others}"
            each.problems.append(Problem("E4030", text))
        else:
            metadata = without(metadata, each.kind.plural, each.id)
            deleted.append(each)
    is_deletion = not any(each.is_new for each in found)
    return Imported(
        import_answer(found, deleted, server.version, is_named=False, is_deletion=is_deletion), metadata
    )


def _needed_by(metadata: Metadata, rows: Mapping[ValueKey, object], found: Found) -> str | None:
    if found.kind.plural == "dataElements" and any(key.data_element == found.id for key in rows):
        return "DataValue"
    if found.kind.plural == "organisationUnits":
        below = [unit.name for unit in metadata.org_units if unit.path.split("/")[-2] == found.id]
        return f"OrganisationUnit ({','.join(below)})" if below else None
    return None
