"""The settings as the functions use them, and the tab's rules: what must be filled in together, what may not be meant."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import PrivateAttr, ValidationError
from pydantic_core import ErrorDetails

from msupply_dhis2.domain.batch import Destination
from msupply_dhis2.domain.choices import DatabaseTrust, Reporting, Scheme, Setup
from msupply_dhis2.domain.metric import FLOWS
from msupply_dhis2.domain.reading import shown, what_is_wrong
from msupply_dhis2.errors import SettingsError
from msupply_dhis2.periods import Basis, Interval, PeriodFormat
from msupply_dhis2.settings.document import read_document
from msupply_dhis2.settings.fields import DataElementRow, Form, Tab
from msupply_dhis2.settings.urls import is_this_machine
from msupply_dhis2.text import Choice, as_word, joined

_SLOW_PAYLOAD = 5_000
_ALWAYS_NEEDED = (
    *("use_dhis2", "url", "setup", "data_set_id", "period_format"),
    *("data_element_id_scheme", "org_unit_scheme"),
)
NEEDED_BY = {
    "item_field_reference": frozenset({Setup.CATEGORY_OPTION_COMBO, Setup.SINGLE_DATA_ELEMENT}),
    "category_option_id": frozenset({Setup.CATEGORY_OPTION_COMBO}),
    "custom_field_name": frozenset({Setup.DATA_ELEMENT_PER_ITEM}),
}
"""The setups that need a field of the tab or of its rows; the others do not use it."""

_ROW_FIELDS_BY_SETUP = ("category_option_id", "custom_field_name")
_CREDENTIAL = re.compile("user(name)?|password|client(_id)?|(client_)?secret|(access_)?token")
PLAIN_HTTP_WARNING = (
    "NOT SAFE: URL begins with http://, so anybody on the way to DHIS2 can read user name and password. Begin it with "
    "https://; if that DHIS2 has none, ask whoever runs it for a certificate."
)


type Place = tuple[str | int, ...]
"""Where something stands in the document: names of fields and numbers of rows, from the outside in."""


class Settings(Tab):
    """The whole tab. Made by :func:`parse_settings`.

    While Use DHIS2 is on, all fields that it needs are there and the tab's rules hold. While it is off they
    need not: :meth:`require_complete` says whether they do.
    """

    _misread: dict[Place, str] = PrivateAttr(default_factory=dict)

    @property
    def active_rows(self) -> tuple[DataElementRow, ...]:
        """The rows that are sent."""
        return tuple(row for row in self.data_elements if row.active)

    @property
    def sends_login_in_clear_text(self) -> bool:
        """Whether whoever is on the way to DHIS2 can read the login."""
        parts = urlsplit(self.url or "")
        return parts.scheme == "http" and not is_this_machine(parts.hostname or "")

    @property
    def database_trust(self) -> DatabaseTrust:
        """How mSupply's database is known to be itself."""
        return DatabaseTrust(self.database_ca_certificate, self.database_channel_binding)

    @property
    def destination(self) -> Destination:
        """Where in DHIS2 values go."""
        return Destination(
            data_set_id=str(self.data_set_id),
            data_set_id_scheme=self.data_set_id_scheme,
            data_element_id_scheme=self.data_element_id_scheme,
            org_unit_scheme=self.org_unit_scheme,
        )

    @property
    def period(self) -> PeriodFormat:
        """How periods are cut and labelled."""
        return PeriodFormat.parse(self.period_format)

    @property
    def item_fields(self) -> tuple[str, ...]:
        """The items' fields that hold identifiers, each once: what the source has to read."""
        names: list[str | None] = [self.item_field_reference]
        if self.setup is Setup.DATA_ELEMENT_PER_ITEM:
            names = [row.custom_field_name for row in self.active_rows]
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @property
    def customer_field(self) -> str | None:
        """The custom field of customers that holds their org unit; ``None``: they are not sent."""
        is_off = self.customers is Reporting.NONE
        return None if is_off else self.customer_field_reference or self.store_field_reference

    @property
    def misread(self) -> tuple[str, ...]:
        """What was given but could not be used, a sentence each: never any while Use DHIS2 is on."""
        return tuple(self._sentences(self._misread).values())

    def complete_faults(self) -> tuple[str, ...]:
        """Return what keeps these settings from being used, as though Use DHIS2 were on: a sentence each."""
        return tuple(self.faults_by_place().values())

    def faults_by_place(self) -> dict[Place, str]:
        """Return the same by where each fault stands, in the order of the tab."""
        return self._sentences(dict(self._broken_rules()) | self._misread)

    def require_complete(self) -> None:
        """Raise ``SettingsError`` with all faults where the settings cannot be used, whether Use DHIS2 is on or off."""
        if faults := self.complete_faults():
            raise SettingsError(faults)

    def compact(self) -> str:
        """Return the document as short as it gets: JSON without what is left at its default."""
        return self.model_dump_json(exclude_defaults=True)

    def warnings(self) -> tuple[str, ...]:
        """Return what is allowed but may not be meant: a sentence each."""
        return tuple(self._doubts())

    def _uses(self, name: str) -> bool:
        return self.setup in NEEDED_BY[name]

    @property
    def _because_of_setup(self) -> str:
        return f"; Setup is '{self.setup.label}'"

    def _broken_rules(self) -> Iterator[tuple[Place, str]]:
        for name in (*_ALWAYS_NEEDED, *filter(self._uses, ["item_field_reference"])):
            if getattr(self, name) is None:
                yield (name,), self._missing(name)
        if self.data_set_id and not self.data_set_id_scheme.takes(self.data_set_id):
            yield ("data_set_id",), _no_uid(self.data_set_id, "data_set_id_scheme")
        if self.delete_vanished and not self.only_changes:
            fault = (
                "is on, but Only changes is off: nothing remembers what DHIS2 has acknowledged. Set only_changes: true, or "
                "delete_vanished: false."
            )
            yield ("delete_vanished",), fault
        for index, row in enumerate(self.data_elements):
            if ("data_elements", index) not in self._misread:
                for name, fault in self._broken_rules_of_row(row):
                    yield ("data_elements", index, name), fault
        yield from self._broken_rules_of_all_rows()

    def _broken_rules_of_row(self, row: DataElementRow) -> Iterator[tuple[str, str]]:
        # Where it cannot be read whether a row is active, it is looked at as though it were.
        is_inactive = row.active is False
        for_active = () if is_inactive else ("interval", "basis", *filter(self._uses, _ROW_FIELDS_BY_SETUP))
        for name in ("metric", "active", *for_active):
            if getattr(row, name) is None:
                yield name, self._missing(name)
        if is_inactive:
            return
        option = self._uses("category_option_id") and row.category_option_id
        if option and not row.category_option_combo_id_scheme.takes(option):
            yield "category_option_id", _no_uid(option, "category_option_combo_id_scheme")
        if row.prefix and self.data_element_id_scheme is Scheme.UID:
            fault = (
                f"is {shown(row.prefix)}, but Data element ID scheme is 'uid', and a prefix and a UID together are no UID. "
                "Leave the prefix out, or set data_element_id_scheme: code."
            )
            yield "prefix", fault
        is_short = bool(self.period_format) and self.period.shorter_than_month
        if row.metric in FLOWS and row.basis is Basis.PREVIOUS_MONTH and is_short:
            fault = (
                f"is 'previous_month', but Period format '{self.period_format}' has periods shorter than a month, which "
                "cannot hold a whole month. Set basis: current_day, or period_format: YYYYMM."
            )
            yield "basis", fault

    def _broken_rules_of_all_rows(self) -> Iterator[tuple[Place, str]]:
        rows = self.data_elements
        active = [(index, row) for index, row in enumerate(rows) if row.active]
        if not active and not any(row.active is None for row in rows):
            fault = "has no active row, so there is nothing to send. Add a row for each metric, with active: true."
            yield ("data_elements",), fault
        if self.setup is Setup.SINGLE_DATA_ELEMENT and len(active) > 1:
            named = ", ".join(self.row_label(index) for index, _ in active)
            fault = f"has {len(active)} active rows ({named}), not one{self._because_of_setup}. Set active: false in the others."
            yield ("data_elements",), fault
        first: dict[tuple[str, ...], int] = {}
        for name in filter(self._uses, _ROW_FIELDS_BY_SETUP):
            for index, row in active:
                scheme = row.category_option_combo_id_scheme if name == "category_option_id" else ""
                sent = (
                    (row.prefix, scheme, identifier)
                    if (identifier := getattr(row, name)) and row.metric
                    else None
                )
                if sent and (same := first.setdefault(sent, index)) != index:
                    fault = (
                        f"sends the same as row {same + 1} ({rows[same].metric.label}), and would overwrite it in DHIS2. Change "
                        f"{_title(name)} or Prefix, or set active: false in one of the rows."
                    )
                    yield ("data_elements", index), fault

    def _missing(self, name: str) -> str:
        reason = self._because_of_setup if name in NEEDED_BY else ""
        field = _FIELDS[name]
        if isinstance(field.annotation, type) and issubclass(field.annotation, Choice):
            return f"is missing{reason}. Set {name} to one of: {', '.join(field.annotation)}."
        example = field.examples[0] if field.examples else "true"
        return f"is missing{reason}. Write it as in {name}: {example}."

    def _doubts(self) -> Iterator[str]:
        if self.sends_login_in_clear_text:
            yield PLAIN_HTTP_WARNING
        if self.items_per_payload > _SLOW_PAYLOAD:
            yield (
                f"No. of items per payload is {self.items_per_payload}: DHIS2 is slower with more than {_SLOW_PAYLOAD} values "
                "in a call. 1000 to 5000 suit it best."
            )
        is_restated = False
        for index, row in enumerate(self.data_elements):
            if row.active and row.basis is Basis.PREVIOUS_MONTH:
                is_restated |= row.interval is Interval.MONTHLY
                # What adds up over a month does not fit at all, which is a fault.
                if row.metric not in FLOWS and (doubt := self._doubt_of_label()):
                    yield self._sentence(
                        ("data_elements", index, "basis"), f"is 'previous_month', but {doubt}"
                    )
        if self.restate_months and not is_restated:
            yield (
                f"Restate months is {self.restate_months}, but no active row has the interval 'monthly' and the basis "
                "'previous_month': nothing is computed again."
            )
        of_rows = {name: any(getattr(row, name) for row in self.active_rows) for name in _ROW_FIELDS_BY_SETUP}
        given = {"item_field_reference": self.item_field_reference, **of_rows}
        unused = [_title(name) for name in given if given[name] and not self._uses(name)]
        if self.customers is Reporting.NONE and self.customer_field_reference:
            yield "Customer field reference: filled in but not used; Customers is 'none'."
        if self.setup and unused:
            yield f"{joined(unused)}: filled in but not used{self._because_of_setup}."

    def _doubt_of_label(self) -> str | None:
        named = f"Period format '{self.period_format}' has"
        if not self.period_format:
            return None
        if "YYYY" in self.period_format and self.period.longer_than_month:
            return f"{named} no month (MM): each month replaces the one before it in DHIS2."
        if self.period.shorter_than_month:
            return f"{named} periods shorter than a month: only the last of the month gets the value."
        return None

    def row_label(self, index: int) -> str:
        """Name a row by its metric, and where several have the same by its number too."""
        metric = self.data_elements[index].metric if index < len(self.data_elements) else None
        if metric is None:
            return f"row {index + 1}"
        is_only_one = sum(row.metric is metric for row in self.data_elements) == 1
        return metric.label if is_only_one else f"row {index + 1} ({metric.label})"

    def _sentences(self, faults: Mapping[Place, str]) -> dict[Place, str]:
        return {place: self._sentence(place, faults[place]) for place in sorted(faults, key=_order)}

    def _sentence(self, place: Place, fault: str) -> str:
        match place:
            case ("data_elements", int() as index, *names):
                of_field = "".join(f"{_title(str(name))} " for name in names)
                return f"{_title('data_elements')}, {self.row_label(index)}: {of_field}{fault}"
            case _:
                return f"{_title(str(place[0]))} {fault}"


_FIELDS = Settings.model_fields | DataElementRow.model_fields


def _no_uid(value: str, scheme: str) -> str:
    return (
        f"is {shown(value)}, which is not a UID, but {_title(scheme)} is 'uid': a UID has 11 letters and digits, the "
        f"first of them a letter. Copy the UID from DHIS2, or set {scheme}: code if it is a code."
    )


def _title(name: str) -> str:
    return str(_FIELDS[name].title) if name in _FIELDS else shown(name)


def _order(place: Place) -> list[int]:
    """Sort as the tab does: by field, by row and by the row's field; unknown fields last."""
    names = [*_FIELDS]
    return [
        part if isinstance(part, int) else names.index(part) if part in names else len(names)
        for part in place
    ]


def parse_settings(document: str, *, url: str | None = None) -> Settings:
    """Read the settings document, YAML or JSON; ``url`` is an address of DHIS2 instead of the document's.

    The settings are complete where Use DHIS2 is on, or ``SettingsError`` holds all faults. Where it is off, they are
    whatever could be used of the rest.
    """
    settings = read_tab(document, url=url)
    if settings.use_dhis2 is not False:
        settings.require_complete()
    return settings


def read_tab(document: str, *, url: str | None = None) -> Settings:
    """Read whatever can be used of the settings document; ``faults_by_place`` of the settings holds the faults.

    A SettingsError says that it is no document of fields.
    """
    values = written_fields(document)
    if url is not None:
        values["url"] = url
    misread: dict[Place, str] = {}
    if isinstance(rows := values.get("data_elements"), list):
        values["data_elements"] = [
            _read(DataElementRow, row, ("data_elements", index), misread) for index, row in enumerate(rows)
        ]
    settings = _read(Settings, values, (), misread)
    settings._misread.update(misread)  # noqa: SLF001 - the model cannot learn of it in another way
    return settings


def written_fields(document: str) -> dict[str, Any]:
    """Return the fields of the settings document as they are written, by their names."""
    values: dict[str, Any] = Settings.filled_in(read_document(document))
    if isinstance(rows := values.get("data_elements"), list):
        values["data_elements"] = [
            DataElementRow.filled_in(row) if isinstance(row, dict) else row for row in rows
        ]
    return values


def _read[F: Form](form: type[F], values: object, place: Place, misread: dict[Place, str]) -> F:
    """Read a form. What cannot be used is told and left out, so that the rules still see the rest."""
    try:
        return form.model_validate(values)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    misread |= {(*place, *fault["loc"][:1]): _misreading(form, fault) for fault in faults}
    kept = dict(values) if isinstance(values, dict) else {}
    for fault in faults:
        kept.pop(fault["loc"][0] if fault["loc"] else None, None)
    return _read(form, kept, place, misread)


def _misreading(form: type[Form], fault: ErrorDetails) -> str:
    said = what_is_wrong(fault, form)
    if fault["type"] in {"tuple_type", "model_type"}:
        return f"{said} Begin each row with '- metric: …'."
    if fault["type"] != "extra_forbidden":
        return said
    name = as_word(str(fault["loc"][0]))
    if _CREDENTIAL.fullmatch(name):
        return (
            "does not belong in the settings: credentials are kept in Secrets Manager only. "
            "Take it out, and run `make credentials`, which asks for them."
        )
    other, called = (
        (DataElementRow, "a row of data_elements") if form is Settings else (Settings, "the settings")
    )
    return f"is a field of {called}. Move it there." if name in other.model_fields else said
