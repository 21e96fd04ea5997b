"""The objects of the metadata as DHIS2's web API shows them: their fields, by name."""

from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from typing import Any

from sandbox.dhis2.fields import Embedded, View
from sandbox.dhis2.metadata import (
    CategoryCombo,
    CategoryOption,
    CategoryOptionCombo,
    DataElement,
    DataInputPeriod,
    DataSet,
    Index,
    LockException,
    Metadata,
    OptionSet,
    OrgUnit,
    User,
    uid,
)
from sandbox.dhis2.periods import parse_period
from sandbox.dhis2.versions import Version


class Views:
    """Makes the view of any object, as one user of one version sees it."""

    def __init__(self, metadata: Metadata, user: User, version: Version) -> None:
        self._metadata = metadata
        self._user = user
        self._version = version

    def document(self, kind: str, identifier: str) -> View:
        """Return the fields of an object that was imported, as it came; of users all but the password."""
        document = self._metadata.documents[kind][identifier]
        name = document.get("name") or f"{document.get('firstName')} {document.get('surname')}"
        fields = {
            field: partial(self._shown, value) for field, value in document.items() if field != "password"
        }
        return {"name": lambda: name, "displayName": lambda: name, **fields}

    def _shown(self, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Return a value of a document as it is shown: what is only a UID is the object that it names."""
        if isinstance(value, list):
            return [self._shown(each) for each in value]
        if not isinstance(value, Mapping):
            return value
        if value.keys() == {"id"} and (found := self.any(value["id"])) is not None:
            return found
        return Embedded({name: partial(self._shown, each) for name, each in value.items()})

    def any(self, identifier: str) -> View | None:
        """Return the fields of an object of whatever kind."""
        metadata = self._metadata
        known: tuple[tuple[Index[Any], Callable[[Any], View]], ...] = (
            (metadata.data_element, self.data_element),
            (metadata.org_unit, self.org_unit),
            (metadata.data_set, self.data_set),
            (metadata.category_combo, self.category_combo),
            (metadata.category_option, self.category_option),
            (metadata.option_combo, self.option_combo),
        )
        for index, view in known:
            if (thing := index.by_id(identifier)) is not None:
                return view(thing)
        kind = metadata.kind_of_document.get(identifier)
        return None if kind is None else self.document(kind, identifier)

    def _with_document(self, kind: str, identifier: str, view: View) -> View:
        """Return the view with all that the object came with and the view has no place for."""
        if identifier not in self._metadata.documents.get(kind, {}):
            return view
        document = self.document(kind, identifier)
        return {**document, **view, "shortName": document.get("shortName", view["shortName"])}

    def org_unit(self, org_unit: OrgUnit) -> View:
        """Return the fields of an org unit."""
        parents = org_unit.path.split("/")[1:-1]
        view: View = {
            **_named(org_unit),
            "children": lambda: [
                self.org_unit(unit)
                for unit in self._metadata.org_units
                if unit.path == f"{org_unit.path}/{unit.id}"
            ],
            "path": lambda: org_unit.path,
            "level": lambda: len(parents) + 1,
            "parent": lambda: self.any(parents[-1]) if parents else None,
            "openingDate": lambda: _instant(org_unit.opening_date),
            "closedDate": lambda: _instant(org_unit.closed_date),
        }
        return self._with_document("organisationUnits", org_unit.id, view)

    def category_option(self, option: CategoryOption) -> View:
        """Return the fields of a category option."""
        view: View = {
            **_named(option),
            "startDate": lambda: _instant(option.start_date),
            "endDate": lambda: _instant(option.end_date),
            "access": lambda: Embedded(
                data=lambda: Embedded(read=lambda: True, write=lambda: option.may_be_written_by(self._user))
            ),
            "organisationUnits": lambda: [
                self.org_unit(org_unit)
                for org_unit_id in option.org_unit_ids
                if (org_unit := self._metadata.org_unit.by_id(org_unit_id)) is not None
            ],
            "categoryOptionCombos": lambda: [
                self.option_combo(combo)
                for combo in self._metadata.option_combo.all
                if option.id in combo.category_option_ids
            ],
        }
        return self._with_document("categoryOptions", option.id, view)

    def option_combo(self, combo: CategoryOptionCombo) -> View:
        """Return the fields of a category option combo."""
        view: View = {
            **_named(combo),
            "categoryCombo": lambda: self.category_combo(self._metadata.combo_of_option_combo(combo.id)),
            "categoryOptions": lambda: [
                self.category_option(option)
                for option_id in combo.category_option_ids
                if (option := self._metadata.category_option.by_id(option_id)) is not None
            ],
        }
        return self._with_document("categoryOptionCombos", combo.id, view)

    def category_combo(self, combo: CategoryCombo) -> View:
        """Return the fields of a category combo."""
        view: View = {
            **_named(combo),
            "categoryOptionCombos": lambda: [self.option_combo(option) for option in combo.option_combos],
        }
        return self._with_document("categoryCombos", combo.id, view)

    def data_element(self, element: DataElement) -> View:
        """Return the fields of a data element."""
        view: View = {
            **_named(element),
            "valueType": lambda: element.value_type,
            "aggregationType": lambda: element.aggregation_type,
            "zeroIsSignificant": lambda: element.zero_is_significant,
            "categoryCombo": lambda: self.category_combo(self._metadata.combo_of(element)),
            "optionSet": lambda: self._option_set(element.option_set_id),
            "dataSetElements": lambda: [
                self._data_set_element(data_set, element) for data_set in self._metadata.data_sets_of(element)
            ],
        }
        return self._with_document("dataElements", element.id, view)

    def data_set(self, data_set: DataSet) -> View:
        """Return the fields of a data set."""
        metadata = self._metadata
        documents = metadata.documents.get("dataSets", {})
        view: View = {
            **_named(data_set),
            "sections": lambda: self._sections(data_set),
            "periodType": lambda: data_set.period_type,
            "openFuturePeriods": lambda: data_set.open_future_periods,
            "expiryDays": lambda: self._days(data_set.expiry_days),
            "timelyDays": lambda: self._days(documents.get(data_set.id, {}).get("timelyDays", 0)),
            "dataInputPeriods": lambda: [
                self._input_period(period) for period in data_set.data_input_periods
            ],
            "categoryCombo": lambda: self.category_combo(metadata.combo_of(data_set)),
            "workflow": lambda: {"id": lambda: data_set.workflow_id} if data_set.workflow_id else None,
            "access": lambda: Embedded(data=lambda: self._data_access(data_set)),
            "dataSetElements": lambda: [
                self._data_set_element(data_set, element)
                for element_id in data_set.data_element_ids
                if (element := metadata.data_element.by_id(element_id)) is not None
            ],
            "organisationUnits": lambda: [
                self.org_unit(org_unit)
                for org_unit_id in data_set.org_unit_ids
                if (org_unit := metadata.org_unit.by_id(org_unit_id)) is not None
            ],
        }
        return self._with_document("dataSets", data_set.id, view)

    def option_set(self, options: OptionSet) -> View:
        """Return the fields of an option set."""
        return {
            **_named(options),
            "options": lambda: [
                {"id": lambda code=code: uid("option", code), "code": lambda code=code: code}
                for code in options.options
            ],
        }

    def lock_exception(self, exception: LockException) -> View:
        """Return the fields of a lock exception."""
        data_set = self._metadata.data_set.by_id(exception.data_set_id)
        org_unit = self._metadata.org_unit.by_id(exception.org_unit_id)
        name = f"{org_unit.name if org_unit else exception.org_unit_id} ({exception.period})"
        return {
            "id": lambda: uid("lockException", f"{exception.data_set_id} {name}"),
            "name": lambda: name,
            "dataSet": lambda: data_set and self.data_set(data_set),
            "organisationUnit": lambda: org_unit and self.org_unit(org_unit),
            "period": lambda: self._locked_period(exception.period),
        }

    def _locked_period(self, label: str) -> View:
        """Return the fields of an exception's period: from 2.43 it has neither id nor name."""
        period = parse_period(label)
        if period is None or not self._version.is_at_least(Version.V2_43):
            return {"id": lambda: label, "name": lambda: label}
        return Embedded(
            periodType=lambda: period.period_type,
            startDate=lambda: _instant(period.first),
            endDate=lambda: _instant(period.last),
        )

    def _option_set(self, identifier: str | None) -> View | None:
        options = self._metadata.option_set.by_id(identifier)
        return None if options is None else self.option_set(options)

    def _data_set_element(self, data_set: DataSet, element: DataElement) -> View:
        """Return the fields of a data element in a data set; it has a category combo only where that is another."""
        override = self._metadata.category_combo.by_id(data_set.category_combo_overrides.get(element.id))
        return Embedded(
            dataSet=lambda: self.data_set(data_set),
            dataElement=lambda: self.data_element(element),
            categoryCombo=lambda: override and self.category_combo(override),
        )

    def _sections(self, data_set: DataSet) -> list[View]:
        sections = self._metadata.documents.get("sections", {})
        return [
            self.document("sections", identifier)
            for identifier, section in sections.items()
            if section["dataSet"]["id"] == data_set.id
        ]

    def _days(self, days: float) -> float:
        """Return a number of days as it is written: from 2.42 with a decimal."""
        return float(days) if self._version.is_at_least(Version.V2_42) else days

    def _input_period(self, period: DataInputPeriod) -> View:
        """Return the fields of a data input period; from 2.43 its period has no name."""
        named = Embedded(id=lambda: period.period)
        if not self._version.is_at_least(Version.V2_43):
            named["name"] = lambda: period.period
        return Embedded(
            period=lambda: named,
            openingDate=lambda: _instant(period.opening_date),
            closingDate=lambda: _instant(period.closing_date),
        )

    def _data_access(self, data_set: DataSet) -> View:
        return Embedded(read=lambda: True, write=lambda: data_set.may_be_written_by(self._user))

    def me(self) -> View:
        """Return the fields of the user who asks."""
        user, metadata = self._user, self._metadata
        roots = [unit for unit in metadata.org_units if unit.path.count("/") == 1]
        own = (
            roots
            if user.org_unit_ids is None
            else [unit for unit in metadata.org_units if unit.id in user.org_unit_ids]
        )
        return {
            "id": lambda: user.uid,
            "username": lambda: user.username,
            "firstName": lambda: user.first_name,
            "surname": lambda: user.surname,
            "name": lambda: f"{user.first_name} {user.surname}",
            "displayName": lambda: f"{user.first_name} {user.surname}",
            "authorities": lambda: list(user.authorities),
            "organisationUnits": lambda: [self.org_unit(unit) for unit in own],
            "dataViewOrganisationUnits": lambda: [self.org_unit(unit) for unit in own],
            "dataSets": lambda: [
                data_set.id for data_set in metadata.data_sets if data_set.may_be_written_by(user)
            ],
            "userGroups": list,
            "programs": list,
            "settings": lambda: Embedded(keyUiLocale=lambda: "en", keyDbLocale=lambda: "en"),
        }


type _Named = (
    OrgUnit | CategoryOption | CategoryOptionCombo | CategoryCombo | DataElement | DataSet | OptionSet
)


def _named(thing: _Named) -> View:
    return {
        "id": lambda: thing.id,
        "code": lambda: thing.code,
        "name": lambda: thing.name,
        "shortName": lambda: thing.name[:50],
        "displayName": lambda: thing.name,
    }


def _instant(day: date | None) -> str | None:
    return None if day is None else f"{day.isoformat()}T00:00:00.000"
