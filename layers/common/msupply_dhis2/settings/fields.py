"""The tab's fields: how each is read, what it is when it is left out, and its words in mSupply and in the documents.

A reader returns the value, or raises ``ValueError`` with a sentence: what is wrong with it and what to write.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from msupply_dhis2.domain.choices import (
    PUBLIC_AUTHORITIES,
    ChannelBinding,
    CustomerReceived,
    OptionComboField,
    ReadBack,
    Reporting,
    Scheme,
    Setup,
)
from msupply_dhis2.domain.metric import METRIC_WORDS, Metric
from msupply_dhis2.domain.reading import (
    OneOf,
    as_word,
    read_switch,
    read_text,
    read_written_text,
    renamed,
    shown,
)
from msupply_dhis2.periods import Basis, Interval, PeriodFormat
from msupply_dhis2.settings.urls import is_forbidden

ITEM_FIELD_REFERENCES = ("universal_code", "user_field_1", "user_field_2", "user_field_3", "user_field_6")
_SCHEMES = {
    **dict.fromkeys(("item code", "item codes", "name code", "name codes"), Scheme.CODE),
    **dict.fromkeys(("UUID", "UUIDs"), Scheme.UID),
}
_SETUPS = {setup.label: setup for setup in Setup}
_INTERVALS = {
    "first day of the month": Interval.FIRST_DAY_OF_MONTH,
    "last day of the month": Interval.LAST_DAY_OF_MONTH,
}
"""The words of mSupply's DHIS2 tab for what they choose."""
_CHECKBOXES = ("user_field_4", "user_field_7")
_USER_FIELD = re.compile(r"user_field_\d+")


@dataclass(frozen=True, slots=True)
class WholeNumber:
    """Reads a whole number from ``least`` to ``most``."""

    least: int
    most: int

    def __call__(self, value: object) -> int:
        """Read it."""
        text = value.strip() if isinstance(value, str) else str(value)
        if not isinstance(value, bool) and re.fullmatch(r"0|[1-9]\d{0,8}", text, re.ASCII):
            number = int(text)
            if self.least <= number <= self.most:
                return number
        raise ValueError(f"is {shown(value)}. Write a whole number from {self.least} to {self.most}.")


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
        raise ValueError(f"is not a web address: its host or port cannot be read. {example}") from error
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"does not begin with http:// or https://. {example}")
    if not host or port == 0:
        raise ValueError(f"names no server, or port 0. {example}")
    if is_forbidden(host):
        raise ValueError(f"is an address of AWS or of the function itself, not of a DHIS2. {example}")
    return parts


_USUAL_PORTS = {"http": ":80", "https": ":443"}
_COPIED = re.compile(
    r"/(dhis-web-.*|(apps|login|login\.html|index\.html|index\.action)(/.*)?"
    r"|api(/\d+)?(/(me|system|apps|data[A-Z]\w*|organisationUnits?)\b.*)?)\Z"
)


def read_base_url(url: str) -> str:
    """Read the address of DHIS2, without the page or the part of the API that was copied with it."""
    parts = _split_url(url)
    path = parts.path.rstrip("/")
    copied = _COPIED.search(path)
    # The same server is remembered once, in whatever case and with or without the port that goes without saying.
    server = parts.netloc.lower().removesuffix(":").removesuffix(_USUAL_PORTS[parts.scheme])
    base = f"{parts.scheme}://{server}{path[: copied.start()] if copied else path}".rstrip("/")
    if not copied and (parts.query or parts.fragment or url.endswith(("?", "#"))):
        raise ValueError(f"goes on after a '?' or '#'. Write the address of DHIS2 only: {shown(base)}.")
    return base


def read_period_format(text: str) -> str:
    """Read a pattern of periods, or the name of a period type."""
    try:
        return PeriodFormat.parse(text).text
    except ValueError as error:
        raise ValueError(f"cannot be used. {error}") from error


def read_item_field(text: str) -> str:
    """Read which field of an item holds its identifier."""
    # In the tab "Custom field" is chosen, and its name is typed beside it.
    name = as_word(text).removeprefix("custom_field_")
    if name not in ITEM_FIELD_REFERENCES:
        raise ValueError(f"is {shown(text)}. It takes one of: {', '.join(ITEM_FIELD_REFERENCES)}.")
    return name


def read_checkbox(text: str) -> str | None:
    """Read which field of an item is its checkbox; ``None`` for "none"."""
    if text.casefold() == "none":
        return None
    if _USER_FIELD.fullmatch(text) and text not in _CHECKBOXES:
        raise ValueError(
            f"is {shown(text)}, which is not a checkbox. It takes {' or '.join(_CHECKBOXES)}, a key of the items' "
            "custom data, or nothing."
        )
    return text


def read_database_certificate(text: str) -> str:
    """Read certificates in PEM, or the words for the publicly known authorities."""
    folded = " ".join(text.replace("_", " ").split()).casefold()
    return PUBLIC_AUTHORITIES if folded == PUBLIC_AUTHORITIES else read_certificate(text)


def read_certificate(text: str) -> str:
    """Read certificates in PEM."""
    if "PRIVATE KEY" in text:
        raise ValueError("holds a private key. Take it out, and renew it: only certificates belong here.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise ValueError(
            "is not a certificate. Paste the whole PEM text, from '-----BEGIN CERTIFICATE-----' to "
            "'-----END CERTIFICATE-----', a line each."
        ) from error
    return text


Text = Annotated[str, BeforeValidator(read_text)]
Switch = Annotated[bool, BeforeValidator(read_switch)]
SchemeChoice = Annotated[Scheme, BeforeValidator(OneOf(Scheme, _SCHEMES))]

_ABSENT: Any = None
"""What a field holds that has no default and was not given: only ever where Use DHIS2 is off, and never
after ``Settings.require_complete``."""


class Form(BaseModel):
    """Fields of the tab."""

    model_config = ConfigDict(frozen=True, extra="forbid", field_title_generator=lambda name, _: _title(name))

    @classmethod
    def by_title(cls) -> dict[str, str]:
        """Return the fields' names by their titles, as words."""
        return {as_word(str(field.title)): name for name, field in cls.model_fields.items()}

    @classmethod
    def filled_in(cls, values: Mapping[str, object]) -> dict[str, object]:
        """Return the fields that are filled in, by their names; unknown ones as they are written."""
        by_title = cls.by_title()
        return {
            name: value
            for name, value in renamed(values, lambda name: by_title.get(as_word(name), name)).items()
            if name not in cls.model_fields or str("" if value is None else value).strip()
        }


_CAPITALS = {"dhis2": "DHIS2", "url": "URL", "id": "ID", "ca": "CA", "http": "HTTP"}


def _title(name: str) -> str:
    """Return the tab's words for a field, such as ``Data set ID`` for ``data_set_id``."""
    first, *others = (_CAPITALS.get(word, word) for word in name.split("_"))
    return " ".join((first[0].upper() + first[1:], *others))


class DataElementRow(Form):
    """A row of "Data elements to push": one metric, when it is sent and what identifies it.

    A metric may have several active rows, provided that they send something different.
    """

    metric: Annotated[Metric, BeforeValidator(OneOf(Metric, METRIC_WORDS))] = Field(
        default=_ABSENT, examples=["stock_on_hand"]
    )
    """Which of the twelve metrics the row sends."""
    active: Switch = Field(default=_ABSENT, examples=[True])
    """Whether the row is sent. An inactive row needs no other field."""
    category_option_id: Text | None = Field(default=None, examples=["HllvX50cXC0"])
    """The category option combo of the metric, by UID or code. Required for every active row when Setup is 'Using
    category option combo'."""
    category_option_combo_id_scheme: SchemeChoice = Scheme.UID
    """Whether the category option ID is a UID or a code."""
    custom_field_name: Text | None = Field(default=None, examples=["user_field_1"])
    """The item's field that holds the identifier of the metric's data element: a user field or a key of its custom
    data. Required for every active row when Setup is 'Different data elements per item'."""
    interval: Annotated[Interval, BeforeValidator(OneOf(Interval, _INTERVALS))] = Field(
        default=_ABSENT, examples=["monthly"]
    )
    """When the row is sent. Required for every active row."""
    basis: Annotated[Basis, BeforeValidator(OneOf(Basis))] = Field(
        default=_ABSENT, title="Push data basis", examples=["previous_month"]
    )
    """Whether the row is about the previous month or the current day. Required for every active row."""
    # Blanks are part of a prefix: "SOH " + code.
    prefix: Annotated[str, BeforeValidator(read_written_text)] = Field(default="", examples=["SOH_"])
    """Text before the item's identifier. Both together are the code of the data element. Only with codes."""


class Tab(Form):
    """The whole tab."""

    use_dhis2: Switch = Field(default=_ABSENT, examples=[True])
    """Off: no schedule sends anything. Connection tests and dry runs work."""
    basic_authentication: Switch = True
    """On: the login is a user name and password. Off: OAuth2 (user name, password, client and secret), up to DHIS2
    2.41. With a personal access token it makes no difference."""
    url: Annotated[Text, AfterValidator(read_base_url)] = Field(
        default=_ABSENT, examples=["https://dhis2.example.org/hmis"]
    )
    """The address of DHIS2, with port and path if it has them."""
    setup: Annotated[Setup, BeforeValidator(OneOf(Setup, _SETUPS))] = Field(
        default=_ABSENT, examples=["category_option_combo"]
    )
    """How metrics and items are told apart in DHIS2: by category option combo, by different data elements per item,
    or one metric in a single data element for each item."""
    data_elements: tuple[DataElementRow, ...] = Field(default=(), title="Data elements to push")
    """A row for each metric that is sent."""
    data_set_id: Text = Field(default=_ABSENT, examples=["lyLU2wR22tC"])
    """The data set of the values, by UID or code."""
    data_set_id_scheme: SchemeChoice = Scheme.UID
    """Whether the data set ID is a UID or a code."""
    period_format: Annotated[Text, AfterValidator(read_period_format)] = Field(
        default=_ABSENT, examples=["YYYYMM", "Monthly", "Weekly", "YYYY-MM-DD"]
    )
    """YYYYMM, YYYY-MM, YYYYMMDD, YYYY-MM-DD or YYYY, or the name of the data set's period type in DHIS2."""
    item_field_reference: Annotated[Text, AfterValidator(read_item_field)] | None = Field(
        default=None, examples=["universal_code"]
    )
    """The item's field that holds its identifier in DHIS2. Required unless Setup is 'Different data elements per
    item'."""
    data_element_id_scheme: SchemeChoice = Field(default=_ABSENT, examples=["code"])
    """Whether the items' fields hold codes or UIDs of data elements."""
    org_unit_scheme: SchemeChoice = Field(default=_ABSENT, examples=["code"])
    """Whether the stores' field holds codes or UIDs of org units."""
    store_field_reference: Text = "Dhis2Code"
    """The store's custom field that holds its identifier in DHIS2. Only stores with a value in it are sent."""
    round_off: Switch = False
    """Send whole numbers: 2.5 becomes 3."""
    items_per_payload: Annotated[int, BeforeValidator(WholeNumber(1, 999_999))] = Field(
        default=1000, title="No. of items per payload"
    )
    """The most values in one call to DHIS2."""
    include_field: Annotated[str | None, BeforeValidator(read_text), AfterValidator(read_checkbox)] = Field(
        default=None, title="Include in DHIS2 data push", examples=["user_field_4"]
    )
    """The field of the items' checkbox 'Include in DHIS2 data push': user_field_4, user_field_7 or a key of their
    custom data. None: every item with an identifier is sent."""
    test_server: Switch = False
    """DHIS2 is for trying things out: the console says Test on each page, and not Production."""
    option_combo_field: Annotated[OptionComboField, BeforeValidator(OneOf(OptionComboField))] = (
        OptionComboField.AUTO
    )
    """Whether the category option ID is an attribute option combo (of the data set) or a category option combo (of
    the data element). Auto: what DHIS2 says, and an attribute until that is known."""
    expiring_within_days: Annotated[int, BeforeValidator(WholeNumber(0, 36_500))] = 90
    """How many days ahead the metric 'expiring' looks."""
    include_returns: Switch = False
    """Count customer and supplier returns as adjustments."""
    customers: Annotated[Reporting, BeforeValidator(OneOf(Reporting))] = Reporting.NONE
    """Whether customers that are not stores are sent, by the requisitions, imprests and stock histories that their
    suppliers have typed in for them. Never where mSupply fetches these from DHIS2."""
    customer_field_reference: Text | None = Field(default=None, examples=["Dhis2Code"])
    """The customer's custom field that holds its identifier in DHIS2. None: the field of the stores."""
    customer_received: Annotated[CustomerReceived, BeforeValidator(OneOf(CustomerReceived))] = (
        CustomerReceived.REPORTED
    )
    """Whether what a customer received is what it reports, or what stores have issued to it in mSupply."""
    database_ca_certificate: Annotated[Text, AfterValidator(read_database_certificate)] | None = None
    """PEM text of the authority that signed the certificate of mSupply's database, or 'public authorities' for a
    publicly known one. Certificate and name of the server are then verified."""
    database_channel_binding: Annotated[ChannelBinding, BeforeValidator(OneOf(ChannelBinding))] = (
        ChannelBinding.REQUIRED
    )
    """Without a Database CA certificate the database must prove that it knows the password (SCRAM with channel
    binding). 'not_required' for a pooler that cannot do so, such as PgBouncer or RDS Proxy."""

    read_back: Annotated[ReadBack, BeforeValidator(OneOf(ReadBack))] = ReadBack.NONE
    """Which stored values are read from DHIS2 again and compared: none, a sample, or all."""
    dhis2_ca_certificate: Annotated[Text, AfterValidator(read_certificate)] | None = None
    """PEM text of the authority that signed the certificate of DHIS2, if it is not a publicly known one."""

    allow_plain_http: Switch = False
    """Send the login to a DHIS2 on the internet that has no https. Anybody on the way can read it."""
    restate_months: Annotated[int, BeforeValidator(WholeNumber(0, 24))] = 0
    """How many earlier months each monthly run computes again, because stores synchronise late."""
    only_changes: Switch = False
    """Do not send a value again while DHIS2 is known to hold it."""
    full_send_every_days: Annotated[int, BeforeValidator(WholeNumber(1, 366))] = 90
    """After how many days all values of a period are sent again, changed or not."""
    delete_vanished: Switch = Field(default=False, title="Delete vanished values")
    """Delete values in DHIS2 that it has acknowledged and that are no longer computed."""
