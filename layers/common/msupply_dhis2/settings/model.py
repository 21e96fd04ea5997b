"""The tab's fields, and its rules: what must be filled in together, and what may not be meant."""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from msupply_dhis2.domain.batch import Destination
from msupply_dhis2.domain.choices import (
    ChannelBinding,
    DatabaseTrust,
    OptionComboField,
    ReadBack,
    Scheme,
    Setup,
)
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import SettingsError
from msupply_dhis2.periods import Basis, Interval, PeriodFormat
from msupply_dhis2.settings.document import Place
from msupply_dhis2.settings.fields import (
    ITEM_FIELD_REFERENCES,
    SchemeChoice,
    Switch,
    Text,
    choices_of,
    one_of,
    read_base_url,
    read_certificate,
    read_checkbox,
    read_database_certificate,
    read_item_field,
    read_period_format,
    read_text,
    read_written_text,
    shown,
    whole_number,
)
from msupply_dhis2.settings.urls import is_this_machine

COLLECTING = object()
"""The context in which a document is read to collect its faults: the rules are looked at afterwards."""

_ABSENT: Any = None
"""What a field holds that has no default and was not given: only ever where Use DHIS2 is off, and never
after :meth:`Settings.require_complete`."""

_UID = re.compile(r"[A-Za-z][A-Za-z0-9]{10}")
_UID_SHAPE = "a UID has 11 letters and digits, the first of them a letter"
_OF_A_WHOLE_PERIOD = frozenset(
    {Metric.ADJUSTMENTS, Metric.RECEIVED, Metric.ISSUED, Metric.DAYS_OUT_OF_STOCK},
)
_SLOW_PAYLOAD = 5_000
PLAIN_HTTP_WARNING = (
    "NOT SAFE: URL begins with http://, so anybody on the way to DHIS2 can read user name and password. Begin it with "
    "https://; if that DHIS2 has none, ask whoever runs it for a certificate."
)


class Form(BaseModel):
    """Fields of the tab. A blank field is one that was not filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_blanks(cls, values: object) -> object:
        if not isinstance(values, Mapping):
            return values
        return {
            name: value
            for name, value in values.items()
            if name not in cls.model_fields
            or not (value is None or (isinstance(value, str) and not value.strip()))
        }


class DataElementRow(Form):
    """A row of "Data elements to push": one metric, when it is sent and what identifies it.

    A metric may have several active rows, provided that they send something different.
    """

    metric: Annotated[Metric, BeforeValidator(one_of(Metric)), choices_of(*Metric)] = Field(
        default=_ABSENT,
        title="Metric",
        description="Which of the twelve metrics the row sends.",
        examples=["stock_on_hand"],
    )
    active: Switch = Field(
        default=_ABSENT,
        title="Active",
        description="Whether the row is sent. An inactive row needs no other field.",
        examples=[True],
    )
    category_option_id: Text | None = Field(
        default=None,
        title="Category option ID",
        description="The category option combo of the metric, by UID or code. "
        "Required for every active row when Setup is 'using category option combo'.",
        examples=["HllvX50cXC0"],
    )
    category_option_combo_id_scheme: SchemeChoice = Field(
        default=Scheme.UID,
        title="Category option combo ID scheme",
        description="Whether the category option ID is a UID or a code.",
    )
    custom_field_name: Text | None = Field(
        default=None,
        title="Custom field name",
        description="The item's field that holds the identifier of the metric's data element: a user field or a "
        "key of its custom data. "
        "Required for every active row when Setup is 'using different data elements per item'.",
        examples=["user_field_1"],
    )
    interval: Annotated[Interval, BeforeValidator(one_of(Interval)), choices_of(*Interval)] = Field(
        default=_ABSENT,
        title="Interval",
        description="When the row is sent. Required for every active row.",
        examples=["monthly"],
    )
    basis: Annotated[Basis, BeforeValidator(one_of(Basis)), choices_of(*Basis)] = Field(
        default=_ABSENT,
        title="Basis",
        description="Whether the row is about the previous month or the current day. "
        "Required for every active row.",
        examples=["previous_month"],
    )
    # Blanks are part of a prefix: "SOH " + code.
    prefix: Annotated[str, BeforeValidator(read_written_text)] = Field(
        default="",
        title="Prefix",
        description="What is put before the item's identifier to make that of the data element. "
        "Only where data elements are identified by code.",
        examples=["SOH_"],
    )


class Settings(Form):
    """The whole tab. Made by :func:`parse_settings`.

    While Use DHIS2 is on, all fields that it needs are there and the tab's rules hold. While it is off they
    need not: :meth:`require_complete` says whether they do.
    """

    use_dhis2: Switch = Field(
        default=_ABSENT,
        title="Use DHIS2",
        description="Off: nothing is computed or sent. Dry runs and connection tests still work.",
        examples=[True],
    )
    basic_authentication: Switch = Field(
        default=True,
        title="Basic authentication",
        description="On: DHIS2 is asked with a user name and password. "
        "Off: with OAuth2 (user name, password, client and secret), which DHIS2 has up to 2.41. "
        "With a personal access token it makes no difference.",
    )
    url: Annotated[str, BeforeValidator(read_text), AfterValidator(read_base_url)] = Field(
        default=_ABSENT,
        title="URL",
        description="The address of DHIS2, with port and path if any.",
        examples=["https://dhis2.example.org/hmis"],
    )
    setup: Annotated[Setup, BeforeValidator(one_of(Setup)), choices_of(*Setup)] = Field(
        default=_ABSENT,
        title="Setup",
        description="How metrics and items are told apart in DHIS2: by category option combo, by different data "
        "elements per item, or one metric in a single data element for each item.",
        examples=["category_option_combo"],
    )
    data_elements: tuple[DataElementRow, ...] = Field(
        default=(),
        title="Data elements to push",
        description="A row for each metric that is sent.",
    )
    data_set_id: Text = Field(
        default=_ABSENT,
        title="Data set ID",
        description="The data set that the values belong to, by UID or code.",
        examples=["lyLU2wR22tC"],
    )
    data_set_id_scheme: SchemeChoice = Field(
        default=Scheme.UID,
        title="Data set ID scheme",
        description="Whether the data set ID is a UID or a code.",
    )
    period_format: Annotated[str, BeforeValidator(read_text), AfterValidator(read_period_format)] = Field(
        default=_ABSENT,
        title="Period format",
        description="A pattern of YYYY, MM and DD, or the name of the data set's period type in DHIS2.",
        examples=["YYYYMM", "Monthly", "Weekly", "YYYY-MM-DD"],
    )
    item_field_reference: (
        Annotated[
            str,
            BeforeValidator(read_text),
            AfterValidator(read_item_field),
            choices_of(*ITEM_FIELD_REFERENCES),
        ]
        | None
    ) = Field(
        default=None,
        title="Item field reference",
        description="The item's field that holds its identifier in DHIS2. "
        "Required unless Setup is 'using different data elements per item'.",
        examples=["universal_code"],
    )
    data_element_id_scheme: SchemeChoice = Field(
        default=_ABSENT,
        title="Data element ID scheme",
        description="Whether the items' fields hold codes or UIDs of data elements.",
        examples=["code"],
    )
    org_unit_scheme: SchemeChoice = Field(
        default=_ABSENT,
        title="Org unit scheme",
        description="Whether the stores' field holds codes or UIDs of org units.",
        examples=["code"],
    )
    store_field_reference: Text = Field(
        default="Dhis2Code",
        title="Store field reference",
        description="The store's custom field that holds its identifier in DHIS2. "
        "Only stores with a value there are sent.",
    )
    round_off: Switch = Field(
        default=False,
        title="Round off",
        description="Send whole numbers: 2.5 becomes 3.",
    )
    items_per_payload: Annotated[
        int,
        BeforeValidator(whole_number(1, 999_999)),
        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 999_999}),
    ] = Field(
        default=1000,
        title="No. of items per payload",
        description="The most values in one call to DHIS2.",
    )
    include_field: Annotated[str | None, BeforeValidator(read_text), AfterValidator(read_checkbox)] = Field(
        default=None,
        title="Include field",
        description="Where the items' checkbox 'Include in DHIS2 data push' is kept: user_field_4, user_field_7 "
        "or a key of their custom data. None: every item with an identifier is sent.",
        examples=["user_field_4"],
    )
    option_combo_field: Annotated[
        OptionComboField, BeforeValidator(one_of(OptionComboField)), choices_of(*OptionComboField)
    ] = Field(
        default=OptionComboField.AUTO,
        title="Option combo field",
        description="Whether the category option ID is an attribute option combo (of the data set) or a category "
        "option combo (of the data element). Auto: as DHIS2 has it, and as an attribute until that is known.",
    )
    expiring_within_days: Annotated[
        int,
        BeforeValidator(whole_number(0, 36_500)),
        WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 36_500}),
    ] = Field(
        default=90,
        title="Expiring within days",
        description="How many days ahead the metric 'expiring' looks.",
    )
    include_returns: Switch = Field(
        default=False,
        title="Include returns",
        description="Count customer and supplier returns as adjustments.",
    )
    database_ca_certificate: (
        Annotated[str, BeforeValidator(read_text), AfterValidator(read_database_certificate)] | None
    ) = Field(
        default=None,
        title="Database CA certificate",
        description="The certificate, as PEM text, of the authority that signed that of mSupply's database, or 'public "
        "authorities' where a publicly known one did. With it, certificate and name of the server are verified.",
    )
    database_channel_binding: Annotated[
        ChannelBinding, BeforeValidator(one_of(ChannelBinding)), choices_of(*ChannelBinding)
    ] = Field(
        default=ChannelBinding.REQUIRED,
        title="Database channel binding",
        description="Without a Database CA certificate the database must prove that it knows the password (SCRAM with "
        "channel binding). 'not_required' for a pooler that cannot, such as PgBouncer or RDS Proxy.",
    )

    read_back: Annotated[ReadBack, BeforeValidator(one_of(ReadBack)), choices_of(*ReadBack)] = Field(
        default=ReadBack.NONE,
        title="Read back",
        description="Whether stored values are read from DHIS2 again and compared: none, a sample, or all.",
    )
    dhis2_ca_certificate: (
        Annotated[str, BeforeValidator(read_text), AfterValidator(read_certificate)] | None
    ) = Field(
        default=None,
        title="DHIS2 CA certificate",
        description="The certificate, as PEM text, of the authority that signed that of DHIS2. "
        "Only where it is not a publicly known one.",
    )

    allow_plain_http: Switch = Field(
        default=False,
        title="Allow plain HTTP",
        description="Send the login to a DHIS2 on the internet that has no https. Anybody on the way can read it then.",
    )
    restate_months: Annotated[
        int,
        BeforeValidator(whole_number(0, 24)),
        WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 24}),
    ] = Field(
        default=0,
        title="Restate months",
        description="How many earlier months each monthly run computes again, since stores synchronise late.",
    )
    only_changes: Switch = Field(
        default=False,
        title="Only changes",
        description="Leave out values that DHIS2 has acknowledged as they are now.",
    )
    full_send_every_days: Annotated[
        int,
        BeforeValidator(whole_number(1, 366)),
        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 366}),
    ] = Field(
        default=90,
        title="Full send every days",
        description="After how many days all values of a period are sent again, changed or not.",
    )
    delete_vanished: Switch = Field(
        default=False,
        title="Delete vanished values",
        description="Delete in DHIS2 what it has acknowledged and what is no longer computed.",
    )

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
        """Make sure that the settings can be used, whether Use DHIS2 is on or off.

        Raises
        ------
        SettingsError
            They have faults; it holds all of them.
        """
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
        names = (
            "use_dhis2",
            "url",
            "setup",
            "data_set_id",
            "period_format",
            "data_element_id_scheme",
            "org_unit_scheme",
        )
        for name in names:
            if getattr(self, name) is None:
                yield (name,), _missing(Settings, name)
        if self.item_field_reference is None and self.setup in {
            Setup.CATEGORY_OPTION_COMBO,
            Setup.SINGLE_DATA_ELEMENT,
        }:
            yield (
                ("item_field_reference",),
                _missing(Settings, "item_field_reference", self._because_of_setup),
            )
        if (
            self.data_set_id_scheme is Scheme.UID
            and self.data_set_id
            and not _UID.fullmatch(self.data_set_id)
        ):
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
            elif row.category_option_combo_id_scheme is Scheme.UID and not _UID.fullmatch(option):
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
