"""The importer up to 2.42: row by row. A wrong row is skipped with an error E76xx, the others are stored."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sandbox.dhis2.answers import Conflict, ImportSummary, failed_import
from sandbox.dhis2.importer import Server
from sandbox.dhis2.metadata import DEFAULT_OPTION_COMBO_ID, CategoryOptionCombo, DataElement, DataSet, OrgUnit
from sandbox.dhis2.payload import Push, Row
from sandbox.dhis2.periods import Period
from sandbox.dhis2.values import StoredValue, ValueKey, fault_of, is_vanishing_zero, normalise
from sandbox.dhis2.versions import Version

_FAULT_TEXTS = {
    "value_not_numeric": "Data value is not numeric",
    "value_not_integer": "Data value is not an integer",
    "value_not_positive_integer": "Data value is not a positive integer",
    "value_not_negative_integer": "Data value is not a negative integer",
    "value_not_percentage": "Data value is not a percentage",
    "value_not_unit_interval": "Data value is not a unit interval",
    "value_not_bool": "Data value is not a boolean",
    "value_not_true_only": "Data value is not true",
}


def import_rows(push: Push, server: Server) -> ImportSummary:
    """Import a push as servers up to 2.42 do, and say what they say.

    Several faults of one row: the first in the order of the checks is told.
    """
    data_set = server.metadata.data_set.by_scheme(push.schemes.data_set, push.data_set)
    if push.data_set is not None and data_set is None:
        return _abort("E7600", f"Data set not found or not accessible: `{push.data_set}`", push.data_set)
    if data_set is not None and not data_set.may_be_written_by(server.user):
        text = f"User does not have write access for DataSet: `{data_set.id}`"
        return _abort("E7601", text, data_set.id)
    return _RowImport(push, server, data_set).run()


def _abort(error_code: str, text: str, data_set: str) -> ImportSummary:
    conflict = Conflict(error_code, text, {"dataSet": data_set}, "dataSet", indexes=None)
    return ImportSummary("ERROR", "Import process was aborted", conflicts=[conflict])


@dataclass(frozen=True, slots=True)
class _Found:
    """What the identifiers of a row mean; the first checks make sure that these four are there."""

    row: Row
    data_element: DataElement
    period: Period
    org_unit: OrgUnit
    category_option_combo: CategoryOptionCombo
    attribute_option_combo: CategoryOptionCombo

    @property
    def key(self) -> ValueKey:
        return ValueKey(
            self.data_element.id,
            self.period.iso,
            self.org_unit.id,
            self.category_option_combo.id,
            self.attribute_option_combo.id,
        )


class _RowImport:
    """One push on its way through the importer."""

    def __init__(self, push: Push, server: Server, data_set: DataSet | None) -> None:
        self._push = push
        self._server = server
        self._metadata = server.metadata
        self._data_set = data_set
        self._conflicts: dict[tuple[str, tuple[tuple[str, str | None], ...]], Conflict] = {}
        self._rejected: list[int] = []
        self._imported = self._updated = self._unchanged = self._deleted = 0
        # New rows are written at the end, all at once, so a second row with the same key does not see the
        # first; it is dropped silently.
        self._new: dict[ValueKey, StoredValue] = {}
        self._changed: dict[ValueKey, StoredValue] = {}

    def run(self) -> ImportSummary:
        for index, row in enumerate(self._push.rows):
            found = self._resolve(row)
            conflict = found if isinstance(found, Conflict) else self._first_fault(found)
            if conflict is not None:
                self._add_conflict(index, conflict)
            elif isinstance(found, _Found):
                self._save(index, found)
        if self._push.flag("skipExistingCheck") and not self._server.store.rows.keys().isdisjoint(self._new):
            return failed_import("Failed to flush BatchHandler")
        if not self._push.flag("dryRun"):
            self._server.store.rows.update(self._new)
        return self._summary()

    def _summary(self) -> ImportSummary:
        updated, ignored = self._updated, len(self._rejected)
        if self._server.version.counts_unchanged_as_updated:
            updated += self._unchanged
        else:
            ignored += self._unchanged
        return ImportSummary(
            "WARNING" if self._conflicts else "SUCCESS",
            "Import process completed successfully",
            self._imported,
            updated,
            ignored,
            self._deleted,
            list(self._conflicts.values()),
            self._rejected,
            self._push.complete_date or "false",
        )

    def _add_conflict(self, index: int, conflict: Conflict) -> None:
        """Keep the conflict; the same one of several rows is told once, with all their indexes."""
        key = conflict.error_code, tuple(conflict.objects.items())
        told = self._conflicts.get(key, conflict)
        self._conflicts[key] = replace(told, indexes=(*(told.indexes or ()), index))
        self._rejected.append(index)

    # What the identifiers mean

    def _resolve(self, row: Row) -> _Found | Conflict:
        schemes, metadata = self._push.schemes, self._metadata
        data_element = metadata.data_element.by_scheme(schemes.data_element, row.data_element)
        if data_element is None:
            return _not_found("E7610", "Data element", "dataElement", "dataElement", row.data_element)
        period = self._server.period(row.period)
        if period is None or period.iso in self._server.raced_periods:
            text = f"Period not valid: `{_shown(row.period)}`"
            return Conflict("E7611", text, {"period": row.period}, "period")
        org_unit = metadata.org_unit.by_scheme(schemes.org_unit, row.org_unit)
        if org_unit is None:
            return _not_found("E7612", "Organisation unit", "organisationUnit", "orgUnit", row.org_unit)
        category_option_combo = self._option_combo(schemes.category_option_combo, row.category_option_combo)
        if category_option_combo is None or not self._is_writable(category_option_combo):
            return _option_combo_not_found(
                "E7613", "Category", "categoryOptionCombo", row.category_option_combo
            )
        attribute_option_combo = self._option_combo(
            schemes.attribute_option_combo, row.attribute_option_combo
        )
        if attribute_option_combo is None or not self._is_writable(attribute_option_combo):
            return _option_combo_not_found(
                "E7615", "Attribute", "attributeOptionCombo", row.attribute_option_combo
            )
        return _Found(row, data_element, period, org_unit, category_option_combo, attribute_option_combo)

    def _option_combo(self, scheme: str, identifier: str | None) -> CategoryOptionCombo | None:
        if identifier is None:
            return self._metadata.option_combo.by_id(DEFAULT_OPTION_COMBO_ID)
        return self._metadata.option_combo.by_scheme(scheme, identifier)

    def _is_writable(self, combo: CategoryOptionCombo) -> bool:
        """Whether the user may write all of its category options; the recorded 2.40 does not look."""
        return not self._server.version.is_at_least(Version.V2_41) or all(
            option.may_be_written_by(self._server.user) for option in self._metadata.options_of(combo.id)
        )

    # Whether the row may be stored

    def _first_fault(self, found: _Found) -> Conflict | None:
        return next((fault for check in self._checks() if (fault := check(found)) is not None), None)

    def _checks(self) -> Iterable[Callable[[_Found], Conflict | None]]:
        """Return the checks in the server's order: that of the numbers of their errors."""
        push, settings = self._push, self._metadata.system_settings
        yield self._reached
        yield self._not_empty
        yield self._of_value_type
        yield self._of_option_set
        if push.flag("requireCategoryOptionCombo") or settings.require_category_option_combo:
            yield self._names_category_option_combo
        if push.flag("requireAttributeOptionCombo") or settings.require_attribute_option_combo:
            yield self._names_attribute_option_combo
        if push.flag("strictPeriods"):
            yield self._of_period_type
        if push.flag("strictDataElements"):
            yield self._in_data_set
        if push.flag("strictCategoryOptionCombos"):
            yield self._has_category_option_combo
        if push.flag("strictAttributeOptionCombos"):
            yield self._has_attribute_option_combo
        if push.flag("strictOrganisationUnits"):
            yield self._assigned
        yield self._within_dates_of_options
        yield self._in_org_units_of_options
        if not (push.flag("force") and self._server.user.is_superuser):
            yield self._not_expired
            yield self._not_in_future
            yield self._not_approved
            yield self._in_open_input_period
            yield self._in_known_open_period

    def _reached(self, found: _Found) -> Conflict | None:
        user = self._server.user
        if user.reaches(found.org_unit):
            return None
        text = f"Organisation unit: `{found.row.org_unit}` not in hierarchy of current user: `{user.uid}`"
        return Conflict("E7617", text, {"organisationUnit": found.row.org_unit, "user": user.uid}, "orgUnit")

    def _not_empty(self, found: _Found) -> Conflict | None:
        if found.row.value or found.row.comment or self._push.strategy == "DELETE":
            return None
        name = found.row.data_element
        text = f"Data value or comment not specified for data element: `{name}`"
        return Conflict("E7618", text, {"dataElement": name}, "value")

    def _of_value_type(self, found: _Found) -> Conflict | None:
        value = found.row.value
        if not value or normalise(value, found.data_element, self._server.version) is not None:
            return None
        name, fault = found.row.data_element, fault_of(found.data_element)
        text = f"Value must match value type of data element `{name}`: `{_FAULT_TEXTS.get(fault, fault)}`"
        return Conflict("E7619", text, {"dataElement": name, "value": fault}, "value")

    def _of_option_set(self, found: _Found) -> Conflict | None:
        options = self._metadata.option_set.by_id(found.data_element.option_set_id)
        if options is None or not found.row.value or found.row.value in options.options:
            return None
        name = found.row.data_element
        text = f"Data value is not a valid option of the data element option set: `{name}`"
        return Conflict("E7621", text, {"dataElement": name}, "value")

    def _names_category_option_combo(self, found: _Found) -> Conflict | None:
        if found.row.category_option_combo is not None:
            return None
        text = "Category option combo is required but is not specified"
        return Conflict("E7630", text, {}, "categoryOptionCombo")

    def _names_attribute_option_combo(self, found: _Found) -> Conflict | None:
        if found.row.attribute_option_combo is not None:
            return None
        text = "Attribute option combo is required but is not specified"
        return Conflict("E7631", text, {}, "attributeOptionCombo")

    def _of_period_type(self, found: _Found) -> Conflict | None:
        types = {data_set.period_type for data_set in self._metadata.data_sets_of(found.data_element)}
        if found.period.period_type in types and self._server.stale_cache != "E7632":
            return None
        period, name = found.row.period, found.row.data_element
        text = f"Period type of period: `{period}` not valid for data element: `{name}`"
        return Conflict("E7632", text, {"period": period, "dataElement": name})

    def _in_data_set(self, found: _Found) -> Conflict | None:
        if self._data_set is None or found.data_element.id in self._data_set.holds:
            return None
        name, data_set = found.row.data_element, self._data_set.id
        text = f"Data element: `{name}` is not part of dataset(s): `{data_set}`"
        return Conflict("E7633", text, {"dataElement": name, "dataSet": data_set}, "dataElement")

    def _has_category_option_combo(self, found: _Found) -> Conflict | None:
        combos = self._metadata.combos_of(found.data_element)
        if any(combo.has(found.category_option_combo.id) for combo in combos):
            return None
        name, combo = found.row.data_element, found.row.category_option_combo
        text = f"Category option combo: `{_shown(combo)}` must be part of category combo of data element: `{name}`"
        return Conflict(
            "E7634", text, {"categoryOptionCombo": combo, "dataElement": name}, "categoryOptionCombo"
        )

    def _has_attribute_option_combo(self, found: _Found) -> Conflict | None:
        data_sets = self._metadata.data_sets_of(found.data_element)
        if any(
            self._metadata.combo_of(data_set).has(found.attribute_option_combo.id) for data_set in data_sets
        ):
            return None
        name, combo = found.row.data_element, found.row.attribute_option_combo
        text = (
            f"Attribute option combo: `{_shown(combo)}` must be part of category combo of data sets of "
            f"data element: `{name}`"
        )
        return Conflict(
            "E7635", text, {"categoryOptionCombo": combo, "dataElement": name}, "attributeOptionCombo"
        )

    def _assigned(self, found: _Found) -> Conflict | None:
        data_sets = self._metadata.data_sets_of(found.data_element)
        if any(found.org_unit.id in data_set.holds for data_set in data_sets):
            return None
        name, org_unit = found.row.data_element, found.row.org_unit
        text = f"Data element: `{name}` must be assigned through data sets to organisation unit: `{org_unit}`"
        return Conflict("E7636", text, {"organisationUnit": org_unit, "dataElement": name}, "orgUnit")

    def _within_dates_of_options(self, found: _Found) -> Conflict | None:
        combo = found.attribute_option_combo
        if all(option.is_valid_in(found.period) for option in self._metadata.options_of(combo.id)):
            return None
        period, name = found.row.period, found.row.attribute_option_combo or combo.id
        text = f"Period: `{period}` is not within date range of attribute option combo: `{name}`"
        return Conflict(
            "E7638", text, {"period": period, "categoryOptionCombo": name}, "attributeOptionCombo"
        )

    def _in_org_units_of_options(self, found: _Found) -> Conflict | None:
        combo = found.attribute_option_combo
        if all(option.is_valid_for(found.org_unit) for option in self._metadata.options_of(combo.id)):
            return None
        unit, name = found.row.org_unit, found.row.attribute_option_combo or combo.id
        text = f"Organisation unit: `{unit}` is not valid for attribute option combo: `{name}`"
        return Conflict(
            "E7639", text, {"organisationUnit": unit, "categoryOptionCombo": name}, "attributeOptionCombo"
        )

    def _governing_data_set(self, found: _Found) -> DataSet | None:
        """Return the data set whose dates count: the push's own, or the first that holds the data element."""
        return self._data_set or next(iter(self._metadata.data_sets_of(found.data_element)), None)

    def _not_expired(self, found: _Found) -> Conflict | None:
        data_set = self._governing_data_set(found)
        if data_set is None or not self._server.is_expired(data_set, found.period, found.org_unit.id):
            return None
        period = found.row.period
        text = f"Current date is past expiry days for period: `{period}`  and data set: `{data_set.id}`"
        return Conflict("E7640", text, {"period": period, "dataSet": data_set.id}, "period")

    def _not_in_future(self, found: _Found) -> Conflict | None:
        data_set = self._governing_data_set(found)
        if data_set is None or not self._server.is_after_latest_open_period(data_set, found.period):
            return None
        period, name = found.row.period, found.row.data_element
        text = (
            f"Period: `{period}` is after latest open future period: "
            f"`{self._server.latest_open_period(data_set).iso}` for data element: `{name}` "
            f"and data set: `{data_set.id}`"
        )
        objects = {"period": period, "dataElement": name, "dataSet": data_set.id}
        return Conflict("E7641", text, objects, "period")

    def _not_approved(self, found: _Found) -> Conflict | None:
        data_set, combo, org_unit = (
            self._governing_data_set(found),
            found.attribute_option_combo,
            found.org_unit,
        )
        if (
            data_set is None
            or combo.id != DEFAULT_OPTION_COMBO_ID
            or not self._metadata.is_approved(data_set.workflow_id, org_unit, found.period.iso)
        ):
            return None
        named, period = found.row.attribute_option_combo, found.row.period
        text = (
            f"Data already approved for data set: `{data_set.id}` period: `{period}` org unit: `{found.row.org_unit}` "
            f"attribute option combo: `{_shown(named)}`"
        )
        objects = {
            "organisationUnit": found.row.org_unit,
            "period": period,
            "categoryOptionCombo": named,
            "dataSet": data_set.id,
        }
        return Conflict("E7642", text, objects)

    def _in_open_input_period(self, found: _Found) -> Conflict | None:
        data_set = self._governing_data_set(found)
        if data_set is None or not self._server.is_not_input_period(data_set, found.period):
            return None
        period = found.row.period
        text = f"Period: `{period}` is not open for this data set at this time: `{data_set.id}`"
        return Conflict("E7643", text, {"period": period, "dataSet": data_set.id}, "period")

    def _in_known_open_period(self, found: _Found) -> Conflict | None:
        if self._server.stale_cache != "E7644" or found.period.iso in self._server.cached_periods:
            return None
        period = found.row.period
        text = f"Period: `{period}` does not conform to the open periods of associated data sets"
        return Conflict("E7644", text, {"period": period}, "period")

    # Storing

    def _save(self, index: int, found: _Found) -> None:
        existing = None if self._push.flag("skipExistingCheck") else self._existing(found.key)
        if self._push.strategy == "DELETE":
            self._delete(index, found, existing)
        elif existing is not None and not existing.deleted:
            if self._push.strategy == "CREATE":
                self._rejected.append(index)
            else:
                self._overwrite(found, existing)
        elif self._push.strategy == "UPDATE":
            self._rejected.append(index)
        else:
            self._insert(found, existing)

    def _existing(self, key: ValueKey) -> StoredValue | None:
        return self._changed.get(key) or self._server.store.rows.get(key)

    def _delete(self, index: int, found: _Found, existing: StoredValue | None) -> None:
        if existing is not None and not existing.deleted:
            self._deleted += 1
            # What stands in the deleted row is what the request said.
            self._change(found.key, replace(self._stored_value(found, existing), deleted=True))
        elif existing is not None or not is_vanishing_zero(found.row.value or "", found.data_element):
            # Nothing to delete: ignored, and listed as rejected without a conflict.
            self._rejected.append(index)

    def _overwrite(self, found: _Found, existing: StoredValue) -> None:
        value = self._stored_value(found, existing)
        if found.row.deleted or is_vanishing_zero(value.value, found.data_element):
            self._deleted += 1
            self._change(found.key, replace(value, deleted=True))
        elif value.value == existing.value and value.comment == existing.comment:
            self._unchanged += 1
        else:
            self._updated += 1
            self._change(found.key, value)

    def _insert(self, found: _Found, existing: StoredValue | None) -> None:
        value = self._stored_value(found, existing)
        if existing is not None:
            # A deleted row comes back to life with whatever it is given, a zero that should vanish included.
            self._imported += 1
            self._change(found.key, value)
        elif not is_vanishing_zero(value.value, found.data_element) and found.key not in self._new:
            self._imported += 1
            self._new[found.key] = value

    def _change(self, key: ValueKey, value: StoredValue) -> None:
        """Change a row that stands in the table: at once, so that the next row of the push sees it."""
        self._changed[key] = value
        if not self._push.flag("dryRun"):
            self._server.store.rows[key] = value

    def _stored_value(self, found: _Found, existing: StoredValue | None) -> StoredValue:
        row, now = found.row, self._server.now
        return StoredValue(
            value=normalise(row.value or "", found.data_element, self._server.version) or "",
            stored_by=row.stored_by or self._server.user.username,
            created=existing.created if existing is not None else now,
            last_updated=now,
            comment=row.comment,
        )


def _shown(identifier: str | None) -> str:
    return "null" if identifier is None else identifier


def _not_found(
    error_code: str, label: str, kind: str, property_name: str, identifier: str | None
) -> Conflict:
    text = f"{label} not found or not accessible: `{_shown(identifier)}`"
    return Conflict(error_code, text, {kind: identifier}, property_name)


def _option_combo_not_found(
    error_code: str, label: str, property_name: str, identifier: str | None
) -> Conflict:
    text = f"{label} option combo not found or not accessible for writing data: `{_shown(identifier)}`"
    return Conflict(error_code, text, {"categoryOptionCombo": identifier}, property_name)
