"""From the documents of ``/api/metadata`` to what values are checked against, and the option combos that DHIS2 makes."""

from collections.abc import Iterable, Mapping
from datetime import date
from itertools import product
from typing import Any

from pydantic import SecretStr

from sandbox.dhis2.metadata import (
    DEFAULT_CATEGORY_COMBO,
    DEFAULT_CATEGORY_COMBO_ID,
    CategoryCombo,
    CategoryOption,
    CategoryOptionCombo,
    DataElement,
    DataSet,
    Metadata,
    OptionSet,
    OrgUnit,
    User,
    uid,
)
from sandbox.dhis2.sharing import Document, data_writers

type Documents = Mapping[str, Mapping[str, dict[str, Any]]]
"""Objects by kind and UID."""


def with_documents(metadata: Metadata, changed: Documents, users: Iterable[User]) -> Metadata:
    """Return the metadata with objects that were imported: new ones are added, others replaced."""
    documents = {kind: dict(all_of_it) for kind, all_of_it in metadata.documents.items()}
    for kind, objects in changed.items():
        documents.setdefault(kind, {}).update(objects)
    return _understood(metadata.model_copy(update={"documents": documents}), changed, users)


def without(metadata: Metadata, kind: str, identifier: str) -> Metadata:
    """Return the metadata without one object."""
    documents = {**metadata.documents, kind: {**metadata.documents.get(kind, {})}}
    documents[kind].pop(identifier, None)
    changes: dict[str, object] = {"documents": documents}
    field = _FIELDS.get(kind)
    if field is not None:
        changes[field] = tuple(each for each in getattr(metadata, field) if each.id != identifier)
    if kind == "categoryOptionCombos":
        changes["category_combos"] = tuple(
            combo.model_copy(
                update={"option_combos": tuple(each for each in combo.option_combos if each.id != identifier)}
            )
            for combo in metadata.category_combos
        )
    return metadata.model_copy(update=changes)


def users_of(metadata: Metadata, users: Mapping[str, User]) -> dict[str, User]:
    """Return everybody who can log in, those among them that were imported with the authorities of their roles."""
    roles = metadata.documents.get("userRoles", {})
    found = dict(users)
    for identifier, document in metadata.documents.get("users", {}).items():
        name = document["username"]
        before = found.get(name)
        password = document.get("password")
        found[name] = User(
            id=identifier,
            username=name,
            password=SecretStr(password) if password else before.password if before else SecretStr(""),
            authorities=tuple(
                authority
                for role in document.get("userRoles", ())
                for authority in roles.get(role["id"], {}).get("authorities", ())
            ),
            org_unit_ids=tuple(unit["id"] for unit in document.get("organisationUnits", ())),
            first_name=document["firstName"],
            surname=document["surname"],
        )
    return found


def with_generated_combos(metadata: Metadata) -> Metadata:
    """Return the metadata with the option combos that DHIS2 makes, without codes, where a category combo lacks some."""
    return metadata.model_copy(
        update={
            "category_combos": tuple(
                combo.model_copy(
                    update={"option_combos": (*combo.option_combos, *missing_combos(metadata, combo.id))}
                )
                for combo in metadata.category_combos
            )
        }
    )


def missing_combos(metadata: Metadata, combo_id: str) -> list[CategoryOptionCombo]:
    """Return the option combos that a category combo should have besides those that it has."""
    combo = metadata.category_combo.by_id(combo_id)
    there = {frozenset(each.category_option_ids) for each in combo.option_combos} if combo else set()
    return [
        CategoryOptionCombo(
            id=uid("categoryOptionCombo", f"{combo_id} {' '.join(options)}"),
            code=None,
            name=", ".join(
                option.name for each in options if (option := metadata.category_option.by_id(each))
            ),
            category_option_ids=options,
        )
        for options in expected_combos(metadata, combo_id)
        if frozenset(options) not in there
    ]


def expected_combos(metadata: Metadata, combo_id: str) -> list[tuple[str, ...]]:
    """Return the category options of each option combo that a category combo should have."""
    combo = metadata.documents.get("categoryCombos", {}).get(combo_id, {})
    categories = metadata.documents.get("categories", {})
    options = [
        [option["id"] for option in categories.get(category["id"], {}).get("categoryOptions", ())]
        for category in combo.get("categories", ())
    ]
    return list(product(*options)) if options else []


# What is understood of a document

_FIELDS = {
    "organisationUnits": "org_units",
    "categoryOptions": "category_options",
    "categoryCombos": "category_combos",
    "dataElements": "data_elements",
    "dataSets": "data_sets",
    "optionSets": "option_sets",
}


def _understood(metadata: Metadata, changed: Documents, users: Iterable[User]) -> Metadata:
    """Make of the changed documents what values are checked against."""
    found: dict[str, list[Any]] = {
        "org_units": [_org_unit(metadata, each) for each in changed.get("organisationUnits", {}).values()],
        "category_options": [_category_option(each) for each in changed.get("categoryOptions", {}).values()],
        "category_combos": [
            _category_combo(metadata, each) for each in changed.get("categoryCombos", {}).values()
        ],
        "data_elements": [_data_element(each) for each in changed.get("dataElements", {}).values()],
        "data_sets": [_data_set(each) for each in changed.get("dataSets", {}).values()],
        "option_sets": [_option_set(each) for each in changed.get("optionSets", {}).values()],
    }
    updated = metadata.model_copy(
        update={field: _replaced(getattr(metadata, field), new) for field, new in found.items()}
    )
    updated = _with_option_combos(updated, changed.get("categoryOptionCombos", {}).values())
    return _with_writers(updated, users_of(metadata, {user.username: user for user in users}).values())


def _with_writers(metadata: Metadata, users: Iterable[User]) -> Metadata:
    """Say anew who may enter data: that depends on groups too."""

    def written(kind: str, things: Iterable[Any]) -> tuple[Any, ...]:
        documents = metadata.documents.get(kind, {})
        return tuple(
            each.model_copy(update={"writers": data_writers(documents[each.id], metadata, users)})
            if each.id in documents
            else each
            for each in things
        )

    return metadata.model_copy(
        update={
            "category_options": written("categoryOptions", metadata.category_options),
            "data_sets": written("dataSets", metadata.data_sets),
        }
    )


def _replaced(before: Iterable[Any], new: Iterable[Any]) -> tuple[Any, ...]:
    return tuple({each.id: each for each in (*before, *new)}.values())


def _org_unit(metadata: Metadata, document: Document) -> OrgUnit:
    closed = document.get("closedDate")
    return OrgUnit(
        **_named(document),
        path=_path(metadata, document["id"]),
        opening_date=_day(document["openingDate"]),
        closed_date=_day(closed) if closed else None,
    )


def _path(metadata: Metadata, identifier: str) -> str:
    document = metadata.documents["organisationUnits"].get(identifier)
    if document is None:
        above = metadata.org_unit.by_id(identifier)
        return above.path if above else ""
    parent = document.get("parent")
    return f"{_path(metadata, parent['id']) if parent else ''}/{identifier}"


def _category_option(document: Document) -> CategoryOption:
    start, end = document.get("startDate"), document.get("endDate")
    return CategoryOption(
        **_named(document),
        start_date=_day(start) if start else None,
        end_date=_day(end) if end else None,
        org_unit_ids=_ids(document.get("organisationUnits", ())),
    )


def _category_combo(metadata: Metadata, document: Document) -> CategoryCombo:
    before = metadata.category_combo.by_id(document["id"])
    return CategoryCombo(**_named(document), option_combos=before.option_combos if before else ())


def _with_option_combos(metadata: Metadata, documents: Iterable[Document]) -> Metadata:
    """Put option combos that came by themselves into their category combos."""
    own: dict[str, dict[str, CategoryOptionCombo]] = {}
    for document in documents:
        options = _ids(document.get("categoryOptions", ()))
        own.setdefault(document["categoryCombo"]["id"], {})[document["id"]] = CategoryOptionCombo(
            id=document["id"],
            code=document.get("code"),
            name=document.get("name", ""),
            category_option_ids=options,
        )
    combos = tuple(
        combo.model_copy(
            update={"option_combos": _replaced(combo.option_combos, own.get(combo.id, {}).values())}
        )
        for combo in metadata.category_combos
    )
    return metadata.model_copy(update={"category_combos": combos})


def _data_element(document: Document) -> DataElement:
    return DataElement(
        **_named(document),
        value_type=document["valueType"],
        aggregation_type=document["aggregationType"],
        zero_is_significant=document.get("zeroIsSignificant", False),
        category_combo_id=_id(document.get("categoryCombo")) or DEFAULT_CATEGORY_COMBO_ID,
        option_set_id=_id(document.get("optionSet")),
    )


def _data_set(document: Document) -> DataSet:
    elements = document.get("dataSetElements", ())
    return DataSet(
        **_named(document),
        period_type=document["periodType"],
        open_future_periods=document.get("openFuturePeriods", 0),
        expiry_days=int(document.get("expiryDays", 0)),
        category_combo_id=_id(document.get("categoryCombo")) or DEFAULT_CATEGORY_COMBO.id,
        data_element_ids=tuple(element["dataElement"]["id"] for element in elements),
        org_unit_ids=_ids(document.get("organisationUnits", ())),
        workflow_id=_id(document.get("workflow")),
        category_combo_overrides={
            element["dataElement"]["id"]: element["categoryCombo"]["id"]
            for element in elements
            if element.get("categoryCombo")
        },
    )


def _option_set(document: Document) -> OptionSet:
    return OptionSet(**_named(document), options=tuple(each["code"] for each in document.get("options", ())))


def _named(document: Document) -> dict[str, Any]:
    return {"id": document["id"], "code": document.get("code"), "name": document.get("name", "")}


def _id(reference: Document | None) -> str | None:
    return None if reference is None else reference["id"]


def _ids(references: Iterable[Document]) -> tuple[str, ...]:
    return tuple(reference["id"] for reference in references)


def _day(text: str) -> date:
    return date.fromisoformat(text[:10])
