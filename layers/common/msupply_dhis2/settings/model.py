"""The settings as the functions use them, and the tab's rules: what must be filled in together, what may not be meant."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit

from pydantic import PrivateAttr, ValidationInfo, model_validator

from msupply_dhis2.domain.batch import Destination
from msupply_dhis2.domain.choices import DatabaseTrust, Scheme, Setup
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import SettingsError
from msupply_dhis2.periods import Basis, Interval, PeriodFormat
from msupply_dhis2.settings.document import Place
from msupply_dhis2.settings.fields import shown
from msupply_dhis2.settings.tab import DataElementRow, Form, Tab
from msupply_dhis2.settings.urls import is_this_machine

COLLECTING = object()
"""The context in which a document is read to collect its faults: the rules are looked at afterwards."""

_UID_SHAPE = "a UID has 11 letters and digits, the first of them a letter"
_OF_A_WHOLE_PERIOD = frozenset(
    {Metric.ADJUSTMENTS, Metric.RECEIVED, Metric.ISSUED, Metric.DAYS_OUT_OF_STOCK},
)
_SLOW_PAYLOAD = 5_000
_ALWAYS_NEEDED = (
    *("use_dhis2", "url", "setup", "data_set_id", "period_format"),
    *("data_element_id_scheme", "org_unit_scheme"),
)
PLAIN_HTTP_WARNING = (
    "NOT SAFE: URL begins with http://, so anybody on the way to DHIS2 can read user name and password. Begin it with "
    "https://; if that DHIS2 has none, ask whoever runs it for a certificate."
)


class Settings(Tab):
    """The whole tab. Made by :func:`parse_settings`.

    While Use DHIS2 is on, all fields that it needs are there and the tab's rules hold. While it is off they
    need not: :meth:`require_complete` says whether they do.
    """

    _misread: dict[Place, str] = PrivateAttr(default_factory=dict)
    """What was given but could not be used, by its place."""

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
        if self.setup is Setup.DATA_ELEMENT_PER_ITEM:
            names = [row.custom_field_name for row in self.active_rows]
        else:
            names = [self.item_field_reference]
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @property
    def misread(self) -> tuple[str, ...]:
        """What was given but could not be used, a sentence each: never any while Use DHIS2 is on."""
        return self._sentences(self._misread)

    def complete_faults(self) -> tuple[str, ...]:
        """Return what keeps these settings from being used, as though Use DHIS2 were on: a sentence each."""
        faults = dict(self._misread)
        for place, fault in self._broken_rules():
            faults.setdefault(place, fault)
        return self._sentences(faults)

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

    @model_validator(mode="after")
    def _keep_the_rules(self, info: ValidationInfo) -> Self:
        if (
            self.use_dhis2 is not False
            and info.context is not COLLECTING
            and (faults := self.complete_faults())
        ):
            raise ValueError("\n".join(faults))
        return self

    def _broken_rules(self) -> Iterator[tuple[Place, str]]:
        for name in _ALWAYS_NEEDED:
            if getattr(self, name) is None:
                yield (name,), _missing(Settings, name)
        if self.item_field_reference is None and self.setup not in {None, Setup.DATA_ELEMENT_PER_ITEM}:
            missing = _missing(Settings, "item_field_reference", self._because_of_setup)
            yield ("item_field_reference",), missing
        if self.data_set_id and not self.data_set_id_scheme.takes(self.data_set_id):
            yield ("data_set_id",), _no_uid(self.data_set_id, "Data set ID scheme", "data_set_id_scheme")
        if self.delete_vanished and not self.only_changes:
            yield (
                ("delete_vanished",),
                (
                    "is on, but Only changes (only_changes) is off: what DHIS2 has acknowledged is not remembered "
                    "then. Switch Only changes on as well, or Delete vanished values off."
                ),
            )
        yield from self._broken_rules_of_rows()
        yield from self._broken_rules_of_all_rows()

    @property
    def _because_of_setup(self) -> str:
        return f"; Setup is '{self.setup.label}'"

    def _broken_rules_of_rows(self) -> Iterator[tuple[Place, str]]:
        for index, row in enumerate(self.data_elements):
            place = ("data_elements", index)
            if place in self._misread:
                continue
            for name in ("metric", "active"):
                if getattr(row, name) is None:
                    yield (*place, name), _missing(DataElementRow, name)
            # Where it cannot be read whether a row is active, it is looked at as though it were.
            if row.active is not False:
                for name, fault in self._broken_rules_of_row(row):
                    yield (*place, name), fault

    def _broken_rules_of_row(self, row: DataElementRow) -> Iterator[tuple[str, str]]:
        for name in ("interval", "basis"):
            if getattr(row, name) is None:
                yield name, _missing(DataElementRow, name)
        if self.setup is Setup.CATEGORY_OPTION_COMBO:
            option = row.category_option_id
            if option is None:
                yield (
                    "category_option_id",
                    _missing(DataElementRow, "category_option_id", self._because_of_setup),
                )
            elif not row.category_option_combo_id_scheme.takes(option):
                yield (
                    "category_option_id",
                    _no_uid(option, "Category option combo ID scheme", "category_option_combo_id_scheme"),
                )
        if self.setup is Setup.DATA_ELEMENT_PER_ITEM and row.custom_field_name is None:
            yield "custom_field_name", _missing(DataElementRow, "custom_field_name", self._because_of_setup)
        if row.prefix and self.data_element_id_scheme is Scheme.UID:
            yield (
                "prefix",
                (
                    f"is {shown(row.prefix)}, but Data element ID scheme is 'uid', and a prefix before a UID makes no "
                    "UID. Leave the prefix out, or set data_element_id_scheme: code."
                ),
            )
        if row.metric in _OF_A_WHOLE_PERIOD and self._label_is_too_short(row):
            yield (
                "basis",
                (
                    f"is 'previous_month', but Period format '{self.period_format}' has periods shorter than a month, "
                    "and one of them cannot hold what a whole month adds up to. Set basis: current_day, or "
                    "period_format: YYYYMM."
                ),
            )

    def _label_is_too_short(self, row: DataElementRow) -> bool:
        return bool(
            row.basis is Basis.PREVIOUS_MONTH and self.period_format and self.period.shorter_than_month
        )

    def _broken_rules_of_all_rows(self) -> Iterator[tuple[Place, str]]:
        everything: Place = ("data_elements",)
        active = [(index, row) for index, row in enumerate(self.data_elements) if row.active]
        unclear = any(row.active is None for row in self.data_elements)
        if not active and not unclear:
            yield (
                everything,
                "has no active row, so there is nothing to send. Add a row for each metric, with active: true.",
            )
        if self.setup is Setup.SINGLE_DATA_ELEMENT:
            if len(active) > 1:
                yield (
                    everything,
                    (
                        f"has {len(active)} active rows ({', '.join(self._row_label(index) for index, _ in active)}), and "
                        f"exactly one can be{self._because_of_setup}. Set active: false in the others."
                    ),
                )
            return
        first: dict[tuple[str, ...], int] = {}
        for index, row in active:
            what = self._what_it_sends(row)
            if what is None:
                continue
            same = first.setdefault(what, index)
            if same != index:
                difference = (
                    "Category option ID" if self.setup is Setup.CATEGORY_OPTION_COMBO else "Custom field name"
                )
                yield (
                    (*everything, index),
                    (
                        f"sends the same as row {same + 1} ({self.data_elements[same].metric.label}): Prefix and "
                        f"{difference} are equal, so that one would overwrite the other in DHIS2. Change one of them, "
                        "or set active: false in one of the rows."
                    ),
                )

    def _what_it_sends(self, row: DataElementRow) -> tuple[str, ...] | None:
        match self.setup:
            case Setup.CATEGORY_OPTION_COMBO if row.metric and row.category_option_id:
                return row.prefix, row.category_option_combo_id_scheme, row.category_option_id
            case Setup.DATA_ELEMENT_PER_ITEM if row.metric and row.custom_field_name:
                return row.prefix, row.custom_field_name
            case _:
                return None

    def _doubts(self) -> Iterator[str]:
        if self.sends_login_in_clear_text:
            yield PLAIN_HTTP_WARNING
        if self.items_per_payload > _SLOW_PAYLOAD:
            yield (
                f"No. of items per payload is {self.items_per_payload}: DHIS2 is slower with more than "
                f"{_SLOW_PAYLOAD} values in a call. 1000 to 5000 suit it best."
            )
        yield from self._doubts_about_periods()
        if self.restate_months and not any(
            row.interval is Interval.MONTHLY and row.basis is Basis.PREVIOUS_MONTH for row in self.active_rows
        ):
            yield (
                f"{_title(Settings, 'restate_months')} is {self.restate_months}, but no active row has the interval "
                "'monthly' and the basis 'previous_month': nothing is computed again."
            )
        yield from self._unused()

    def _doubts_about_periods(self) -> Iterator[str]:
        without_month = (
            bool(self.period_format) and "YYYY" in self.period_format and self.period.longer_than_month
        )
        for index, row in enumerate(self.data_elements):
            if not row.active or row.basis is not Basis.PREVIOUS_MONTH:
                continue
            where = f"{_title(Settings, 'data_elements')}, {self._row_label(index)}"
            if without_month and row.metric not in _OF_A_WHOLE_PERIOD:
                yield (
                    f"{where}: Basis is 'previous_month', but Period format '{self.period_format}' has no month (MM): "
                    "each month replaces the one before it in DHIS2."
                )
            elif row.metric not in _OF_A_WHOLE_PERIOD and self._label_is_too_short(row):
                yield (
                    f"{where}: Basis is 'previous_month', but Period format '{self.period_format}' has periods shorter "
                    "than a month: the value goes to the last period of the month only."
                )

    def _unused(self) -> Iterator[str]:
        unused = []
        if self.setup is Setup.DATA_ELEMENT_PER_ITEM and self.item_field_reference:
            unused.append(_title(Settings, "item_field_reference"))
        if self.setup in {Setup.DATA_ELEMENT_PER_ITEM, Setup.SINGLE_DATA_ELEMENT} and any(
            row.category_option_id for row in self.active_rows
        ):
            unused.append(_title(DataElementRow, "category_option_id"))
        if self.setup in {Setup.CATEGORY_OPTION_COMBO, Setup.SINGLE_DATA_ELEMENT} and any(
            row.custom_field_name for row in self.active_rows
        ):
            unused.append(_title(DataElementRow, "custom_field_name"))
        if unused:
            yield f"{' and '.join(unused)}: filled in but not used{self._because_of_setup}."

    def _row_label(self, index: int) -> str:
        metric = self.data_elements[index].metric if index < len(self.data_elements) else None
        if metric is None:
            return f"row {index + 1}"
        if sum(row.metric is metric for row in self.data_elements) > 1:
            return f"row {index + 1} ({metric.label})"
        return metric.label

    def _sentences(self, faults: Mapping[Place, str]) -> tuple[str, ...]:
        return tuple(self._sentence(place, faults[place]) for place in sorted(faults, key=_order))

    def _sentence(self, place: Place, fault: str) -> str:
        match place:
            case (str() as name,):
                return f"{_title(Settings, name)} {fault}"
            case ("data_elements", int() as index):
                return f"{_title(Settings, 'data_elements')}, {self._row_label(index)}: {fault}"
            case ("data_elements", int() as index, name, *_):
                row = f"{_title(Settings, 'data_elements')}, {self._row_label(index)}"
                return f"{row}: {_title(DataElementRow, str(name))} {fault}"
            case _:
                return f"{_title(Settings, str(place[0]))} {fault}"


def _missing(form: type[Form], name: str, reason: str = "") -> str:
    field = form.model_fields[name]
    if isinstance(field.annotation, type) and issubclass(field.annotation, StrEnum):
        cure = f"Set {name} to one of: {', '.join(field.annotation)}."
    else:
        example = (field.examples or [""])[0]
        cure = f"Write it as in {name}: {example if isinstance(example, str) else shown(example)}."
    return f"is missing{reason}. {cure}"


def _no_uid(value: str, scheme: str, scheme_name: str) -> str:
    return (
        f"is {shown(value)}, which is no UID, but {scheme} is 'uid': {_UID_SHAPE}. "
        f"Copy the UID from DHIS2, or set {scheme_name}: code if it is a code."
    )


def _title(form: type[Form], name: str) -> str:
    field = form.model_fields.get(name)
    return str(field.title) if field else shown(name)


def _order(place: Place) -> tuple[tuple[int, str], ...]:
    """Sort as the tab does: by field, by row and by the row's field; unknown fields last."""
    forms = (Settings, None, DataElementRow)
    order: list[tuple[int, str]] = []
    for part, form in zip(place, forms, strict=False):
        if isinstance(part, int):
            order.append((part, ""))
        else:
            names = list(form.model_fields) if form else []
            order.append((names.index(part) if part in names else len(names), part))
    return tuple(order)
