"""The importer from 2.43: by data set group. One wrong identifier and no row of the request is stored."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from sandbox.dhis2.answers import Answer, Conflict, ImportSummary, message
from sandbox.dhis2.importer import Server
from sandbox.dhis2.metadata import (
    DEFAULT_OPTION_COMBO_ID,
    CategoryOptionCombo,
    DataElement,
    DataSet,
    Identified,
    Index,
    OrgUnit,
    is_uid,
)
from sandbox.dhis2.payload import Push, Row
from sandbox.dhis2.periods import Period
from sandbox.dhis2.values import StoredValue, ValueKey, fault_of, normalise


class _RejectedError(Exception):
    """The whole request, or its one group, is rejected."""

    def __init__(self, error_code: str, text: str, *arguments: str, whole_group: bool = True) -> None:
        super().__init__(text)
        self.error_code = error_code
        self.text = text
        self.arguments = "-".join(arguments)
        self.whole_group = whole_group


def import_group(push: Push, server: Server) -> ImportSummary | Answer:
    """Import a push as 2.43 does, and say what it says.

    Only the first fault that concerns the whole group is told; faults of values are told row by row. An
    impossible period is a 500 instead of a summary.
    """
    if any(row.period and server.period(row.period) is None for row in push.rows):
        method = "org.hisp.dhis.datavalue.DataEntryGroup.deletion()"
        return message(500, f'Cannot invoke "{method}" because "group" is null')
    complete = push.complete_date or "false"
    if not push.rows:
        return ImportSummary("SUCCESS", data_set_complete=complete)
    everything = range(len(push.rows))
    try:
        return _GroupImport(push, server).run(complete)
    except _RejectedError as rejected:
        conflict = Conflict(rejected.error_code, rejected.text, {"args": rejected.arguments})
        if not rejected.whole_group:
            return ImportSummary("ERROR", conflicts=[replace(conflict, indexes=(-1,))])
        return ImportSummary(
            "ERROR",
            conflicts=[replace(conflict, indexes=tuple(everything))],
            rejected_indexes=everything,
            data_set_complete=None if rejected.error_code == "E8000" else complete,
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """A row whose identifiers have become UIDs; from the scheme UID they may name nothing that exists."""

    row: Row
    data_element: str
    period: Period
    org_unit: str
    category_option_combo: str | None
    attribute_option_combo: str | None

    @property
    def key(self) -> ValueKey:
        return ValueKey(
            self.data_element,
            self.period.iso,
            self.org_unit,
            self.category_option_combo or DEFAULT_OPTION_COMBO_ID,
            self.attribute_option_combo or DEFAULT_OPTION_COMBO_ID,
        )


class _GroupImport:
    """One push on its way through the importer: identifiers, the group, the values."""

    def __init__(self, push: Push, server: Server) -> None:
        self._push = push
        self._server = server
        self._metadata = server.metadata

    def run(self, complete: str) -> ImportSummary:
        data_set_id = self._named_data_set()
        entries = [self._resolve(number, row) for number, row in enumerate(self._push.rows)]
        if data_set_id is None:
            data_set_id = self._detected_data_set(entries)
        self._check_group(data_set_id, entries)
        conflicts = [
            conflict
            for number, entry in enumerate(entries)
            if (conflict := self._value_fault(number, entry)) is not None
        ]
        rejected = [index for conflict in conflicts for index in conflict.indexes or ()]
        good = [entry for number, entry in enumerate(entries) if number not in set(rejected)]
        # Nothing is said of them, nor of why.
        raced = [entry for entry in good if entry.period.iso in self._server.raced_periods]
        if conflicts and self._push.flag("atomic"):
            text = (
                f"Atomic mode requires all values to be valid but only {len(good)}/{len(entries)} were. "
                f"First issue: {conflicts[0].value}"
            )
            raise _RejectedError("E8000", text, str(len(good)), str(len(entries)), conflicts[0].value)
        if self._push.strategy == "DELETE":
            return ImportSummary("SUCCESS", deleted=self._delete(good), data_set_complete=complete)
        self._upsert([entry for entry in good if entry not in raced])
        return ImportSummary(
            _status(refused=len(rejected), stored=len(good)),
            updated=len(good) - len(raced),
            ignored=len(rejected) + len(raced),
            conflicts=conflicts,
            rejected_indexes=rejected,
            data_set_complete=complete,
        )

    # What the identifiers mean: the first that means nothing ends it all

    def _named_data_set(self) -> str | None:
        name, scheme = self._push.data_set, self._push.schemes.data_set
        if name is None:
            return None
        if scheme == "UID":
            if not is_uid(name):
                raise _RejectedError("E8004", f"Data set UID not valid: `{name}`", name, whole_group=False)
            return name
        data_set = self._metadata.data_set.by_scheme(scheme, name)
        if data_set is None:
            raise _RejectedError("E8005", f"Data set not found: `{name}`", name, whole_group=False)
        return data_set.id

    def _resolve(self, number: int, row: Row) -> _Entry:
        schemes = self._push.schemes
        metadata = self._metadata
        period = self._server.period(row.period)
        if row.data_element is None:
            raise _undefined("E8102", number, "data element", row)
        if row.org_unit is None:
            raise _undefined("E8105", number, "org unit", row)
        if period is None:
            raise _undefined("E8100", number, "period", row)
        data_elements, org_units = metadata.data_element, metadata.org_unit
        combos = metadata.option_combo
        return _Entry(
            row,
            _uid_of(
                number,
                "data element",
                "UID not",
                data_elements,
                schemes.data_element,
                row.data_element,
                ("E8103", "E8104"),
            ),
            period,
            _uid_of(
                number, "org unit", "UID not", org_units, schemes.org_unit, row.org_unit, ("E8107", "E8106")
            ),
            None
            if row.category_option_combo is None
            else _uid_of(
                number,
                "category option combo",
                "UID is not",
                combos,
                schemes.category_option_combo,
                row.category_option_combo,
                ("E8108", "E8109"),
            ),
            None
            if row.attribute_option_combo is None
            else _uid_of(
                number,
                "attribute option combo",
                "UID is not",
                combos,
                schemes.attribute_option_combo,
                row.attribute_option_combo,
                ("E8110", "E8111"),
            ),
        )

    def _detected_data_set(self, entries: Sequence[_Entry]) -> str:
        """Find the data set that the data elements are in, where the push names none."""
        found = {
            data_set.id
            for entry in entries
            if (data_element := self._metadata.data_element.by_id(entry.data_element)) is not None
            for data_set in self._metadata.data_sets_of(data_element)
        }
        if len(found) > 1:
            names = _listed(sorted(found))
            raise _RejectedError("E8002", f"Data set detection failed, found multiple sets: `{names}`", names)
        if not found:
            names = _listed(entry.data_element for entry in entries)
            raise _RejectedError("E8003", f"Data set detection failed, no set found for: `{names}`", names)
        return found.pop()

    # Whether the group fits its data set

    def _check_group(self, data_set_id: str, entries: Sequence[_Entry]) -> None:
        data_set = self._metadata.data_set.by_id(data_set_id)
        self._check_access(data_set, entries)
        self._check_duplicates(entries)
        self._check_consistency(data_set_id, data_set, entries)
        if data_set is not None and not (self._push.flag("force") and self._server.user.is_superuser):
            self._check_timeliness(data_set, entries)

    def _check_access(self, data_set: DataSet | None, entries: Sequence[_Entry]) -> None:
        user = self._server.user
        if data_set is not None and not data_set.may_be_written_by(user):
            text = f"Current user cannot enter data for data set: `{data_set.id}`"
            raise _RejectedError("E8010", text, data_set.id)
        outside = _listed(
            org_unit.id
            for entry in entries
            if (org_unit := self._metadata.org_unit.by_id(entry.org_unit)) is not None
            and not user.reaches(org_unit)
        )
        if outside:
            text = f"Current user cannot enter data for org unit(s): `{outside}`"
            raise _RejectedError("E8011", text, outside)
        closed = _listed(
            option.id
            for entry in entries
            for combo in (entry.key.attribute_option_combo, entry.key.category_option_combo)
            for option in self._metadata.options_of(combo)
            if not option.may_be_written_by(user)
        )
        if closed:
            text = f"Current user cannot enter data for category option(s): `{closed}`"
            raise _RejectedError("E8012", text, closed)

    def _check_duplicates(self, entries: Sequence[_Entry]) -> None:
        numbers: dict[ValueKey, list[int]] = {}
        for number, entry in enumerate(entries):
            numbers.setdefault(entry.key, []).append(number)
        for same in numbers.values():
            if len(same) > 1:
                entry = entries[same[0]]
                key = (
                    f"DataValueKey[dataElement={entry.data_element}, orgUnit={entry.org_unit}, "
                    f"categoryOptionCombo={_shown(entry.category_option_combo)}, "
                    f"attributeOptionCombo={_shown(entry.attribute_option_combo)}, period={entry.period.iso}]"
                )
                text = f"Value #{same} all affect the same data value: `{key}`"
                raise _RejectedError("E8128", text, str(same), key)

    def _check_consistency(
        self, data_set_id: str, data_set: DataSet | None, entries: Sequence[_Entry]
    ) -> None:
        elements = set(data_set.data_element_ids) if data_set is not None else set()
        unusable = _listed(entry.data_element for entry in entries if entry.data_element not in elements)
        if unusable or data_set is None:
            raise _unusable("E8020", data_set_id, "data element(s)", unusable)

        def check(
            error_code: str, what: str, name: Callable[[_Entry], str], validated: Callable[[_Entry], bool]
        ) -> None:
            unusable = _listed(name(entry) for entry in entries if not validated(entry))
            if unusable:
                raise _unusable(error_code, data_set_id, what, unusable)

        org_units = set(data_set.org_unit_ids)
        attribute_combo = self._metadata.combo_of(data_set)
        check(
            "E8021",
            "period(s)",
            lambda e: e.period.iso,
            lambda e: e.period.period_type == data_set.period_type,
        )
        check("E8022", "org unit(s)", lambda e: e.org_unit, lambda e: e.org_unit in org_units)
        check(
            "E8023",
            "attribute option combo(s)",
            lambda e: e.key.attribute_option_combo,
            lambda e: attribute_combo.has(e.key.attribute_option_combo),
        )
        for data_element_id in dict.fromkeys(entry.data_element for entry in entries):
            self._check_category_option_combos(data_set, data_element_id, entries)
        for combo_id in dict.fromkeys(entry.key.attribute_option_combo for entry in entries):
            unusable = _listed(
                entry.org_unit
                for entry in entries
                if entry.key.attribute_option_combo == combo_id
                and (org_unit := self._metadata.org_unit.by_id(entry.org_unit)) is not None
                and not all(option.is_valid_for(org_unit) for option in self._metadata.options_of(combo_id))
            )
            if unusable:
                what = f"attribute option combo {combo_id} not usable with org unit(s)"
                text = f"Data set {data_set_id} {what}: `{unusable}`"
                raise _RejectedError("E8025", text, data_set_id, combo_id, unusable)

    def _check_category_option_combos(
        self, data_set: DataSet, data_element_id: str, entries: Sequence[_Entry]
    ) -> None:
        """Check the option combos of one data element; one that is left out is not checked."""
        data_element = self._metadata.data_element.by_id(data_element_id)
        if data_element is None:
            return
        combo = self._metadata.combo_within(data_set, data_element)
        unusable = _listed(
            entry.category_option_combo
            for entry in entries
            if entry.data_element == data_element_id
            and entry.category_option_combo is not None
            and not combo.has(entry.category_option_combo)
        )
        if unusable:
            text = (
                f"Data set {data_set.id} + data element {data_element_id} not usable with "
                f"category option combo(s): `{unusable}`"
            )
            raise _RejectedError("E8024", text, data_set.id, data_element_id, unusable)

    def _check_timeliness(self, data_set: DataSet, entries: Sequence[_Entry]) -> None:
        server = self._server
        untimely = _listed(
            entry.period.iso
            for entry in entries
            if server.is_untimely(data_set, entry.period, entry.org_unit)
        )
        if untimely:
            text = f"Untimely data entry for data set {data_set.id} and period(s): `{untimely}`"
            raise _RejectedError("E8030", text, data_set.id, untimely)
        for org_unit_id in dict.fromkeys(entry.org_unit for entry in entries):
            org_unit = self._metadata.org_unit.by_id(org_unit_id)
            if org_unit is None:
                continue
            closed = _listed(
                entry.period.iso
                for entry in entries
                if entry.org_unit == org_unit_id and not _is_open(org_unit, entry.period)
            )
            if closed:
                text = f"Untimely data entry for org unit {org_unit_id} and period(s): `{closed}`"
                raise _RejectedError("E8031", text, org_unit_id, closed)
        for combo_id in dict.fromkeys(entry.key.attribute_option_combo for entry in entries):
            outside = _listed(
                entry.period.iso
                for entry in entries
                if entry.key.attribute_option_combo == combo_id
                and not all(
                    option.is_valid_throughout(entry.period) for option in self._metadata.options_of(combo_id)
                )
            )
            if outside:
                text = f"Untimely data entry for attribute option combo {combo_id} and period(s): `{outside}`"
                raise _RejectedError("E8032", text, combo_id, outside)

    # The values

    def _value_fault(self, number: int, entry: _Entry) -> Conflict | None:
        value, data_element = entry.row.value, self._element(entry)
        if self._push.strategy == "DELETE":
            return None
        if not value:
            if entry.row.deleted:
                return None
            return Conflict(
                "E8120", f"Value #{number} value is required", {"args": str(number)}, indexes=(number,)
            )
        if normalise(value, data_element, self._server.version) is not None:
            return self._option_fault(number, value, data_element)
        value_type, fault = data_element.value_type, fault_of(data_element)
        return Conflict(
            "E8122",
            f"Value #{number} value `{value}` is no valid {value_type}: {fault}",
            {"args": f"{number}-{value}-{value_type}-{fault}"},
            indexes=(number,),
        )

    def _option_fault(self, number: int, value: str, data_element: DataElement) -> Conflict | None:
        options = self._metadata.option_set.by_id(data_element.option_set_id)
        if options is None or value in options.options:
            return None
        text = f"Value #{number} value `{value}` is not a valid option of option set: `{options.id}`"
        return Conflict("E8123", text, {"args": f"{number}-{value}-{options.id}"}, indexes=(number,))

    def _element(self, entry: _Entry) -> DataElement:
        data_element = self._metadata.data_element.by_id(entry.data_element)
        if data_element is None:
            raise KeyError(entry.data_element)
        return data_element

    def _upsert(self, entries: Sequence[_Entry]) -> None:
        if self._push.flag("dryRun"):
            return
        rows, now = self._server.store.rows, self._server.now
        for entry in entries:
            existing = rows.get(entry.key)
            rows[entry.key] = StoredValue(
                value=normalise(entry.row.value or "", self._element(entry), self._server.version) or "",
                stored_by=self._server.user.username,
                created=existing.created if existing is not None else now,
                last_updated=now,
                deleted=entry.row.deleted,
                comment=entry.row.comment,
            )

    def _delete(self, entries: Sequence[_Entry]) -> int:
        """Mark the rows as deleted; one that is not there is written, marked, and counts like any other."""
        if not self._push.flag("dryRun"):
            rows, now = self._server.store.rows, self._server.now
            for entry in entries:
                existing = rows.get(entry.key) or StoredValue(
                    entry.row.value or "", self._server.user.username, now, now
                )
                rows[entry.key] = replace(existing, deleted=True, last_updated=now)
        return len(entries)


def _status(*, refused: int, stored: int) -> str:
    if not refused:
        return "SUCCESS"
    return "WARNING" if stored else "ERROR"


def _uid_of(
    number: int,
    what: str,
    uid_not: str,
    index: Index[DataElement] | Index[OrgUnit] | Index[CategoryOptionCombo],
    scheme: str,
    identifier: str,
    error_codes: tuple[str, str],
) -> str:
    """Turn an identifier into a UID; one in the scheme UID is only looked at for its shape."""
    not_found, not_valid = error_codes
    if scheme == "UID":
        if not is_uid(identifier):
            text = f"Value #{number} {what} {uid_not} valid: `{identifier}`"
            raise _RejectedError(not_valid, text, str(number), identifier, whole_group=False)
        return identifier
    thing: Identified | None = index.by_scheme(scheme, identifier)
    if thing is None:
        text = f"Value #{number} {what} not found: `{identifier}`"
        raise _RejectedError(not_found, text, str(number), identifier, whole_group=False)
    return thing.id


def _undefined(error_code: str, number: int, what: str, row: Row) -> _RejectedError:
    shown = (
        f"Input[dataElement={_shown(row.data_element)}, orgUnit={_shown(row.org_unit)}, "
        f"categoryOptionCombo={_shown(row.category_option_combo)}, categoryOptions=null, "
        f"attributeOptionCombo={_shown(row.attribute_option_combo)}, attributeCombo=null, attributeOptions=null, "
        f"period={_shown(row.period)}, value={_shown(row.value)}, comment={_shown(row.comment)}, followUp=null, "
        "deleted=null]"
    )
    text = f"Value #{number} {what} not defined in group or value: `{shown}`"
    return _RejectedError(error_code, text, str(number), shown, whole_group=False)


def _unusable(error_code: str, data_set_id: str, what: str, names: str) -> _RejectedError:
    text = f"Data set {data_set_id} not usable with {what}: `{names}`"
    return _RejectedError(error_code, text, data_set_id, names)


def _listed(names: Iterable[str | None]) -> str:
    """List the names as Java does, each once, in order; nothing for none."""
    unique = [name for name in dict.fromkeys(names) if name is not None]
    return f"[{', '.join(unique)}]" if unique else ""


def _shown(text: str | None) -> str:
    return "null" if text is None else text


def _is_open(org_unit: OrgUnit, period: Period) -> bool:
    """Whether the org unit is open on the period's first day, which alone counts."""
    return period.first >= org_unit.opening_date and (
        org_unit.closed_date is None or period.first <= org_unit.closed_date
    )
