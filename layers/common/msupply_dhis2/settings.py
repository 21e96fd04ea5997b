"""The DHIS2 tab of mSupply's preferences, as a model that explains its own faults.

One document, YAML or JSON, has the tab's fields by name; ``docs/settings.md`` describes them. Each fault is
a sentence in the tab's words that says where it is and what to do, and all of them are told at once.
"""

import difflib
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, core_schema

from msupply_dhis2.addresses import is_forbidden
from msupply_dhis2.document import Place, read_document
from msupply_dhis2.errors import SettingsError
from msupply_dhis2.metrics.metric import Metric
from msupply_dhis2.periods import Basis, Interval, PeriodFormat


class Setup(StrEnum):
    """How a metric of an item becomes something that DHIS2 has an identifier for."""

    CATEGORY_OPTION_COMBO = "category_option_combo"
    DATA_ELEMENT_PER_ITEM = "data_element_per_item"
    SINGLE_DATA_ELEMENT = "single_data_element"

    @property
    def label(self) -> str:
        """The tab's words for it."""
        match self:
            case Setup.CATEGORY_OPTION_COMBO:
                return "using category option combo"
            case Setup.DATA_ELEMENT_PER_ITEM:
                return "using different data elements per item"
            case Setup.SINGLE_DATA_ELEMENT:
                return "using single data element"


class Scheme(StrEnum):
    """What DHIS2 is to recognise something by."""

    UID = "uid"
    CODE = "code"


class OptionComboField(StrEnum):
    """Which of the two places for an option combo the category option ID goes to."""

    AUTO = "auto"
    ATTRIBUTE = "attribute"
    CATEGORY = "category"


class ReadBack(StrEnum):
    """How much of what was stored is read again and compared."""

    NONE = "none"
    SAMPLE = "sample"
    ALL = "all"


_ABSENT: Any = None
"""What a field holds that has no default and was not given: only ever where Use DHIS2 is off, and never
after :meth:`Settings.require_complete`."""

_UID = re.compile(r"[A-Za-z][A-Za-z0-9]{10}")
_UID_SHAPE = "a UID has 11 letters and digits, the first of them a letter"
_WORDS = MappingProxyType({True: ("true", "on", "yes"), False: ("false", "off", "no")})
_LONGEST_SHOWN = 60
_SCHEMES = MappingProxyType(
    {"item_code": Scheme.CODE, "name_code": Scheme.CODE, "uuid": Scheme.UID},
)
_ITEM_FIELD_REFERENCES = ("universal_code", "user_field_1", "user_field_2", "user_field_3", "user_field_6")
_CHECKBOXES = ("user_field_4", "user_field_7")
_USER_FIELD = re.compile(r"user_field_\d+")
_OF_A_WHOLE_PERIOD = frozenset(
    {Metric.ADJUSTMENTS, Metric.RECEIVED, Metric.ISSUED, Metric.DAYS_OUT_OF_STOCK},
)
_SLOW_PAYLOAD = 5_000
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
_CREDENTIALS = frozenset(
    {
        "username",
        "user",
        "password",
        "client",
        "client_id",
        "secret",
        "client_secret",
        "token",
        "access_token",
    }
)


def _shown(value: object) -> str:
    match value:
        case bool():
            return _WORDS[value][0]
        case None:
            return "empty"
        case list() | tuple():
            return "a list"
        case dict():
            return "a group of fields"
        case str() if len(value) > _LONGEST_SHOWN:
            return repr(value[:_LONGEST_SHOWN] + "…")
        case _:
            return repr(value)


def _text(value: object) -> str:
    return _written_text(value).strip()


def _written_text(value: object) -> str:
    if isinstance(value, str):
        # JSON can name halves of characters, which can be neither sent nor shown.
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("has a character that is no text. Type it anew.")
        return value
    if isinstance(value, bool):
        raise ValueError(  # noqa: TRY004 - pydantic tells of a ValueError only
            f"is read as {_shown(value)}, not as text: YAML takes yes, no, on, off, true and false so. "
            "Put it in quotes if it is text, or leave the field out."
        )
    raise ValueError(f"is {_shown(value)} where a text belongs. Write a single text in quotes.")


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().casefold() if isinstance(value, str) else ""
    for meaning, words in _WORDS.items():
        if word in words:
            return meaning
    raise ValueError(f"is {_shown(value)} where a switch belongs. Write true or false.")


def _whole_number(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        text = value.strip() if isinstance(value, str) else str(value)
        if not isinstance(value, bool) and re.fullmatch(r"0|[1-9]\d{0,8}", text, re.ASCII):
            number = int(text)
            if least <= number <= most:
                return number
        raise ValueError(f"is {_shown(value)}. Write a whole number from {least} to {most}.")

    return read


def _word(text: str) -> str:
    return "_".join(re.split(r"[\s_-]+", text.strip().casefold()))


def _one_of[Choice: StrEnum](
    choices: type[Choice], tab_words: Mapping[str, Choice] | None = None
) -> Callable[[object], Choice]:
    known = {choice.value: choice for choice in choices} | dict(tab_words or {})

    def read(value: object) -> Choice:
        if isinstance(value, str) and _word(value) in known:
            return known[_word(value)]
        nearest = difflib.get_close_matches(_word(value), known, n=1) if isinstance(value, str) else []
        guess = f" Did you mean {known[nearest[0]]}?" if nearest else ""
        raise ValueError(f"is {_shown(value)}.{guess} It takes one of: {', '.join(choices)}.")

    return read


def _choices(*words: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(words)})


def _split_url(url: str) -> SplitResult:
    # No sentence shows the address: with a typing error in it, credentials may stand anywhere in it.
    example = "Write it as in https://dhis2.example.org/hmis."
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError(f"has a blank or an unprintable character in it. {example}")
    if "@" in url:
        raise ValueError(
            "has a user name or a password before an '@'. Take them out: credentials are kept in Secrets Manager "
            "only; `make credentials` asks for them."
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is no web address: its host or port cannot be read. {example}") from error
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"does not begin with http:// or https://. {example}")
    if not host or port == 0:
        raise ValueError(f"names no server, or port 0. {example}")
    if is_forbidden(host):
        raise ValueError(f"is an address of AWS or of the function itself, not of a DHIS2. {example}")
    return parts


def _base_url(url: str) -> str:
    parts = _split_url(url)
    segments = parts.path.split("/")
    # What a browser shows once one is logged in, and what the documentation of DHIS2 shows.
    for index, segment in enumerate(segments):
        if segment.startswith("dhis-web-"):
            segments = segments[:index]
            break
    while segments and segments[-1] == "":
        segments.pop()
    if segments and segments[-1] == "api":
        segments.pop()
    base = f"{parts.scheme}://{parts.netloc.removesuffix(':')}{'/'.join(segments)}".rstrip("/")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError(f"goes on after a '?' or '#'. Write the address of DHIS2 only: {_shown(base)}.")
    return base


def _period_format(text: str) -> str:
    try:
        return PeriodFormat.parse(text).text
    except ValueError as error:
        raise ValueError(f"cannot be used. {error}") from error


def _item_field(text: str) -> str:
    if text not in _ITEM_FIELD_REFERENCES:
        raise ValueError(f"is {_shown(text)}. It takes one of: {', '.join(_ITEM_FIELD_REFERENCES)}.")
    return text


def _checkbox(text: str) -> str | None:
    if text.casefold() == "none":
        return None
    if _USER_FIELD.fullmatch(text) and text not in _CHECKBOXES:
        raise ValueError(
            f"is {_shown(text)}, which is no checkbox. It takes {' or '.join(_CHECKBOXES)}, a key of the items' "
            "custom data, or nothing."
        )
    return text


def _ca_certificate(text: str) -> str:
    if "PRIVATE KEY" in text:
        raise ValueError("holds a private key. Take it out, and renew it: only certificates belong here.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise ValueError(
            "is no certificate. Paste the whole PEM text, from '-----BEGIN CERTIFICATE-----' to "
            "'-----END CERTIFICATE-----', a line each."
        ) from error
    return text


_Text = Annotated[str, BeforeValidator(_text)]
_Switch = Annotated[bool, BeforeValidator(_switch)]
_SchemeChoice = Annotated[
    Scheme,
    BeforeValidator(_one_of(Scheme, _SCHEMES)),
    _choices(*Scheme, "item code", "name code", "UUID"),
]


class _Form(BaseModel):
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


class DataElementRow(_Form):
    """A row of "Data elements to push": one metric, when it is sent and what identifies it.

    A metric may have several active rows, provided that they send something different.
    """

    metric: Annotated[Metric, BeforeValidator(_one_of(Metric)), _choices(*Metric)] = Field(
        default=_ABSENT,
        title="Metric",
        description="Which of the twelve metrics the row sends.",
        examples=["stock_on_hand"],
    )
    active: _Switch = Field(
        default=_ABSENT,
        title="Active",
        description="Whether the row is sent. An inactive row needs no other field.",
        examples=[True],
    )
    category_option_id: _Text | None = Field(
        default=None,
        title="Category option ID",
        description="The category option combo of the metric, by UID or code. "
        "Required for every active row when Setup is 'using category option combo'.",
        examples=["HllvX50cXC0"],
    )
    category_option_combo_id_scheme: _SchemeChoice = Field(
        default=Scheme.UID,
        title="Category option combo ID scheme",
        description="Whether the category option ID is a UID or a code.",
    )
    custom_field_name: _Text | None = Field(
        default=None,
        title="Custom field name",
        description="The item's field that holds the identifier of the metric's data element: a user field or a "
        "key of its custom data. "
        "Required for every active row when Setup is 'using different data elements per item'.",
        examples=["user_field_1"],
    )
    interval: Annotated[Interval, BeforeValidator(_one_of(Interval)), _choices(*Interval)] = Field(
        default=_ABSENT,
        title="Interval",
        description="When the row is sent. Required for every active row.",
        examples=["monthly"],
    )
    basis: Annotated[Basis, BeforeValidator(_one_of(Basis)), _choices(*Basis)] = Field(
        default=_ABSENT,
        title="Basis",
        description="Whether the row is about the previous month or the current day. "
        "Required for every active row.",
        examples=["previous_month"],
    )
    # Blanks are part of a prefix: "SOH " + code.
    prefix: Annotated[str, BeforeValidator(_written_text)] = Field(
        default="",
        title="Prefix",
        description="What is put before the item's identifier to make that of the data element. "
        "Only where data elements are identified by code.",
        examples=["SOH_"],
    )


class Settings(_Form):
    """The whole tab. Made by :func:`parse_settings`.

    While Use DHIS2 is on, all fields that it needs are there and the tab's rules hold. While it is off they
    need not: :meth:`require_complete` says whether they do.
    """

    use_dhis2: _Switch = Field(
        default=_ABSENT,
        title="Use DHIS2",
        description="Off: nothing is computed or sent. Dry runs and connection tests still work.",
        examples=[True],
    )
    basic_authentication: _Switch = Field(
        default=True,
        title="Basic authentication",
        description="On: DHIS2 is asked with a user name and password. "
        "Off: with OAuth2 (user name, password, client and secret), which DHIS2 has up to 2.41. "
        "With a personal access token it makes no difference.",
    )
    url: Annotated[str, BeforeValidator(_text), AfterValidator(_base_url)] = Field(
        default=_ABSENT,
        title="URL",
        description="The address of DHIS2, with port and path if any.",
        examples=["https://dhis2.example.org/hmis"],
    )
    setup: Annotated[Setup, BeforeValidator(_one_of(Setup)), _choices(*Setup)] = Field(
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
    data_set_id: _Text = Field(
        default=_ABSENT,
        title="Data set ID",
        description="The data set that the values belong to, by UID or code.",
        examples=["lyLU2wR22tC"],
    )
    data_set_id_scheme: _SchemeChoice = Field(
        default=Scheme.UID,
        title="Data set ID scheme",
        description="Whether the data set ID is a UID or a code.",
    )
    period_format: Annotated[str, BeforeValidator(_text), AfterValidator(_period_format)] = Field(
        default=_ABSENT,
        title="Period format",
        description="A pattern of YYYY, MM and DD, or the name of the data set's period type in DHIS2.",
        examples=["YYYYMM", "Monthly", "Weekly", "YYYY-MM-DD"],
    )
    item_field_reference: (
        Annotated[str, BeforeValidator(_text), AfterValidator(_item_field), _choices(*_ITEM_FIELD_REFERENCES)]
        | None
    ) = Field(
        default=None,
        title="Item field reference",
        description="The item's field that holds its identifier in DHIS2. "
        "Required unless Setup is 'using different data elements per item'.",
        examples=["universal_code"],
    )
    data_element_id_scheme: _SchemeChoice = Field(
        default=_ABSENT,
        title="Data element ID scheme",
        description="Whether the items' fields hold codes or UIDs of data elements.",
        examples=["code"],
    )
    org_unit_scheme: _SchemeChoice = Field(
        default=_ABSENT,
        title="Org unit scheme",
        description="Whether the stores' field holds codes or UIDs of org units.",
        examples=["code"],
    )
    store_field_reference: _Text = Field(
        default="Dhis2Code",
        title="Store field reference",
        description="The store's custom field that holds its identifier in DHIS2. "
        "Only stores with a value there are sent.",
    )
    round_off: _Switch = Field(
        default=False,
        title="Round off",
        description="Send whole numbers: 2.5 becomes 3.",
    )
    items_per_payload: Annotated[
        int,
        BeforeValidator(_whole_number(1, 999_999)),
        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 999_999}),
    ] = Field(
        default=1000,
        title="No. of items per payload",
        description="The most values in one call to DHIS2.",
    )
    include_field: Annotated[str | None, BeforeValidator(_text), AfterValidator(_checkbox)] = Field(
        default=None,
        title="Include field",
        description="Where the items' checkbox 'Include in DHIS2 data push' is kept: user_field_4, user_field_7 "
        "or a key of their custom data. None: every item with an identifier is sent.",
        examples=["user_field_4"],
    )
    option_combo_field: Annotated[
        OptionComboField, BeforeValidator(_one_of(OptionComboField)), _choices(*OptionComboField)
    ] = Field(
        default=OptionComboField.AUTO,
        title="Option combo field",
        description="Whether the category option ID is an attribute option combo (of the data set) or a category "
        "option combo (of the data element). Auto: as DHIS2 has it, and as an attribute until that is known.",
    )
    expiring_within_days: Annotated[
        int,
        BeforeValidator(_whole_number(0, 36_500)),
        WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 36_500}),
    ] = Field(
        default=90,
        title="Expiring within days",
        description="How many days ahead the metric 'expiring' looks.",
    )
    include_returns: _Switch = Field(
        default=False,
        title="Include returns",
        description="Count customer and supplier returns as adjustments.",
    )
    database_ca_certificate: (
        Annotated[str, BeforeValidator(_text), AfterValidator(_ca_certificate)] | None
    ) = Field(
        default=None,
        title="Database CA certificate",
        description="The certificate, as PEM text, of the authority that signed that of mSupply's database. "
        "Only where it is not a publicly known one.",
    )

    read_back: Annotated[ReadBack, BeforeValidator(_one_of(ReadBack)), _choices(*ReadBack)] = Field(
        default=ReadBack.NONE,
        title="Read back",
        description="Whether stored values are read from DHIS2 again and compared: none, a sample, or all.",
    )
    dhis2_ca_certificate: Annotated[str, BeforeValidator(_text), AfterValidator(_ca_certificate)] | None = (
        Field(
            default=None,
            title="DHIS2 CA certificate",
            description="The certificate, as PEM text, of the authority that signed that of DHIS2. "
            "Only where it is not a publicly known one.",
        )
    )

    restate_months: Annotated[
        int,
        BeforeValidator(_whole_number(0, 24)),
        WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 24}),
    ] = Field(
        default=0,
        title="Restate months",
        description="How many earlier months each monthly run computes again, since stores synchronise late.",
    )
    only_changes: _Switch = Field(
        default=False,
        title="Only changes",
        description="Leave out values that DHIS2 has acknowledged as they are now.",
    )
    full_send_every_days: Annotated[
        int,
        BeforeValidator(_whole_number(1, 366)),
        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 366}),
    ] = Field(
        default=90,
        title="Full send every days",
        description="After how many days all values of a period are sent again, changed or not.",
    )
    delete_vanished: _Switch = Field(
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
        """Say what keeps these settings from being used, as though Use DHIS2 were on: a sentence each."""
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
        """Give the document as short as it gets: JSON without what is left at its default."""
        return self.model_dump_json(exclude_defaults=True)

    def warnings(self) -> tuple[str, ...]:
        """Say what is allowed but may not be meant: a sentence each."""
        return tuple(self._doubts())

    @model_validator(mode="after")
    def _keep_the_rules(self, info: ValidationInfo) -> Self:
        if (
            self.use_dhis2 is not False
            and info.context is not _COLLECTING
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
                    f"is {_shown(row.prefix)}, but Data element ID scheme is 'uid', and a prefix before a UID makes no "
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
        if (
            self.url
            and urlsplit(self.url).scheme == "http"
            and urlsplit(self.url).hostname not in _THIS_MACHINE
        ):
            yield "URL begins with http://: user name and password travel unencrypted. Use https:// if DHIS2 has it."
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


_COLLECTING = object()
"""The context in which a document is read to collect its faults: the rules are looked at afterwards."""


def parse_settings(document: str, *, url: str | None = None) -> Settings:
    """Read the settings document.

    Parameters
    ----------
    document
        YAML or JSON.
    url
        An address of DHIS2 instead of the document's.

    Returns
    -------
    Settings
        Complete where Use DHIS2 is on; where it is off, whatever could be used of the rest.

    Raises
    ------
    SettingsError
        It cannot be read at all, or Use DHIS2 is not off and there are faults; it holds all of them.
    """
    read = read_document(document)
    misread = {
        # Where a single value belongs, a group of fields is a fault already, whatever is in it.
        place: _repeated(lines)
        for place, lines in read.repeated.items()
        if len(place) == 1 or _is_field_of_row(place)
    }
    values: Any = read.values if url is None else {**read.values, "url": url}
    while True:
        try:
            settings = Settings.model_validate(values, context=_COLLECTING)
        except ValidationError as error:
            # What cannot be used is told and left out, so that the rules still see the rest.
            for details in error.errors(include_url=False):
                place = _place(details["loc"])
                misread.setdefault(place, _misreading(place, details))
                values = _without(values, place)
        else:
            break
    settings._misread.update(misread)  # noqa: SLF001 - the model cannot learn of it in another way
    if settings.use_dhis2 is not False:
        settings.require_complete()
    return settings


def _is_field_of_row(place: Place) -> bool:
    match place:
        case ("data_elements", int(), str()):
            return True
        case _:
            return False


def _place(location: tuple[int | str, ...]) -> Place:
    """Cut a place to what can be left out on its own: a field, a row, or a field of a row."""
    return location[:3] if location[0] == "data_elements" else location[:1]


def _without(values: Any, place: Place) -> Any:  # noqa: ANN401 - whatever YAML can hold
    first, *rest = place
    if isinstance(first, int):
        # A row keeps its number, so that the rows after it keep theirs.
        return [
            (_without(row, tuple(rest)) if rest else {}) if index == first else row
            for index, row in enumerate(values)
        ]
    if rest:
        return values | {first: _without(values[first], tuple(rest))}
    return {name: value for name, value in values.items() if name != first}


def _misreading(place: Place, details: ErrorDetails) -> str:
    match details["type"]:
        case "value_error":
            return str(details["ctx"]["error"])
        case "extra_forbidden":
            return _unknown(str(place[-1]), Settings if len(place) == 1 else DataElementRow)
        case "tuple_type":
            return f"is {_shown(details['input'])} where a list belongs. Begin each row with '- metric: …'."
        case _:
            return (
                f"is {_shown(details['input'])} where a row of fields belongs. Begin it with '- metric: …'."
            )


def _unknown(name: str, form: type[_Form]) -> str:
    if _word(name) in _CREDENTIALS:
        return (
            "does not belong in the settings: credentials are kept in Secrets Manager only. "
            "Take it out, and run `make credentials`, which asks for them."
        )
    known = {known: known for known in form.model_fields}
    known |= {_word(str(field.title)): field_name for field_name, field in form.model_fields.items()}
    nearest = difflib.get_close_matches(_word(name), known, n=1)
    if nearest:
        return f"is not a field of {_form_name(form)}. Did you mean {known[nearest[0]]}?"
    other = DataElementRow if form is Settings else Settings
    if _word(name) in other.model_fields:
        return f"is not a field of {_form_name(form)}, but of {_form_name(other)}. Move it there."
    return (
        f"is not a field of {_form_name(form)}. Take it out; its fields are: {', '.join(form.model_fields)}."
    )


def _form_name(form: type[_Form]) -> str:
    return "the settings" if form is Settings else "a row of data_elements"


def _repeated(lines: tuple[int, ...]) -> str:
    where = f" (lines {', '.join(map(str, lines))})" if lines else ""
    return f"is written more than once{where}. Keep one of them."


def _missing(form: type[_Form], name: str, reason: str = "") -> str:
    field = form.model_fields[name]
    if isinstance(field.annotation, type) and issubclass(field.annotation, StrEnum):
        cure = f"Set {name} to one of: {', '.join(field.annotation)}."
    else:
        example = (field.examples or [""])[0]
        cure = f"Write it as in {name}: {example if isinstance(example, str) else _shown(example)}."
    return f"is missing{reason}. {cure}"


def _no_uid(value: str, scheme: str, scheme_name: str) -> str:
    return (
        f"is {_shown(value)}, which is no UID, but {scheme} is 'uid': {_UID_SHAPE}. "
        f"Copy the UID from DHIS2, or set {scheme_name}: code if it is a code."
    )


def _title(form: type[_Form], name: str) -> str:
    field = form.model_fields.get(name)
    return str(field.title) if field else _shown(name)


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


class _SchemaWithoutNulls(GenerateJsonSchema):
    """A field is given or left out; null as a value or as a default would be offered by editors."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def json_schema() -> dict[str, Any]:
    """Give the JSON Schema of the settings document, for editors: fields, choices and most of the rules."""
    schema = Settings.model_json_schema(schema_generator=_SchemaWithoutNulls)
    row = schema["$defs"]["DataElementRow"]
    row["required"] = ["metric", "active"]
    row |= _when("active", value=True, then={"required": ["interval", "basis"]})
    row["title"] = "Row"
    row["description"] = "One metric: when it is sent and what identifies it in DHIS2."
    schema["description"] = "The DHIS2 tab of mSupply's preferences."
    schema["title"] = "Settings of msupply-dhis2"
    schema["required"] = ["use_dhis2"]
    schema |= _when(
        "use_dhis2",
        value=True,
        then={
            "required": [
                "url",
                "setup",
                "data_elements",
                "data_set_id",
                "period_format",
                "data_element_id_scheme",
                "org_unit_scheme",
            ],
            "allOf": [_when("setup", value=setup, then=_needs(setup)) for setup in Setup],
        },
    )
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema}


def _when(name: str, *, value: object, then: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": {name: {"const": value}}, "required": [name]}, "then": then}


def _needs(setup: Setup) -> dict[str, Any]:
    of_setup = {
        Setup.CATEGORY_OPTION_COMBO: (["item_field_reference"], ["category_option_id"]),
        Setup.DATA_ELEMENT_PER_ITEM: ([], ["custom_field_name"]),
        Setup.SINGLE_DATA_ELEMENT: (["item_field_reference"], []),
    }
    fields, row_fields = of_setup[setup]
    rows = {"items": _when("active", value=True, then={"required": row_fields})}
    return {"required": fields, "properties": {"data_elements": rows}}
