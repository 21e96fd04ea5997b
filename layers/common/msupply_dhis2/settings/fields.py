"""The tab's fields: how each is read, what it is when it is left out, and its words in mSupply.

What each is for stands in docs/settings.md. A function that reads one raises ``ValueError`` with a sentence: what is wrong
with it and what to write.
"""

import re
import ssl
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from msupply_dhis2.domain.choices import (
    PUBLIC_AUTHORITIES,
    ChannelBinding,
    CustomerReceived,
    ItemField,
    OptionComboField,
    ReadBack,
    Reporting,
    Scheme,
    Setup,
)
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.reading import Text, renamed, shown, words_of_fields
from msupply_dhis2.periods import Basis, Interval, PeriodFormat
from msupply_dhis2.settings.document import Repeated
from msupply_dhis2.settings.urls import is_forbidden
from msupply_dhis2.text import as_word

_CHECKBOXES = ("user_field_4", "user_field_7")
_USER_FIELD = re.compile(r"user_field_\d+")


_USUAL_PORTS = {"http": ":80", "https": ":443"}
_COPIED = re.compile(
    r"/(dhis-web-.*|(apps|login|login\.html|index\.html|index\.action)(/.*)?"
    r"|api(/\d+)?(/(me|system|apps|data[A-Z]\w*|organisationUnits?)\b.*)?)\Z"
)


def read_base_url(url: str) -> str:
    """Read the address of DHIS2, without the page or the part of the API that was copied with it."""
    # No sentence shows the address: with a typing error in it, credentials may stand anywhere in it.
    if "@" in url:
        raise ValueError(
            "has a user name or a password before an '@'. Take them out: credentials are kept in Secrets Manager "
            "only; `make credentials` asks for them."
        )
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in _USUAL_PORTS and parts.hostname and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or not url.isprintable() or " " in url:
        raise ValueError(
            "is not a web address. Write http:// or https:// and a server's name, without blanks, as in "
            "https://dhis2.example.org/hmis."
        )
    if is_forbidden(parts.hostname or ""):
        raise ValueError("is an address of AWS or of the function itself. Write that of DHIS2.")
    path = parts.path.rstrip("/")
    copied = _COPIED.search(path)
    # The same server is remembered once, in whatever case and with or without the port that goes without saying.
    server = parts.netloc.lower().removesuffix(":").removesuffix(_USUAL_PORTS[parts.scheme])
    base = f"{parts.scheme}://{server}{path[: copied.start()] if copied else path}".rstrip("/")
    if not copied and (parts.query or parts.fragment or url.endswith(("?", "#"))):
        raise ValueError(f"goes on after a '?' or '#'. Write the address of DHIS2 only: {shown(base)}.")
    return base


def read_checkbox(text: str) -> str | None:
    """Read which field of an item is its checkbox; ``None`` for "none"."""
    if text.casefold() == "none":
        return None
    if _USER_FIELD.fullmatch(text) and text not in _CHECKBOXES:
        raise ValueError(
            f"is {shown(text)}, which is not a checkbox. Write {' or '.join(_CHECKBOXES)}, or a key of the custom data."
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
            "is not a certificate. Paste the whole text, from '-----BEGIN CERTIFICATE-----' to the end, line by line."
        ) from error
    return text


# As a word, of which pydantic makes no number, as it does of a switch.
Number = Annotated[int, BeforeValidator(lambda value: shown(value) if isinstance(value, bool) else value)]

_ABSENT: Any = None
"""What a field holds that has no default and was not given: only ever where Use DHIS2 is off, and never
after ``Settings.require_complete``."""


class Form(BaseModel):
    """Fields of the tab."""

    # Built as part of the settings, once.
    model_config = ConfigDict(
        frozen=True, extra="forbid", defer_build=True, field_title_generator=lambda name, _: _title(name)
    )

    @field_validator("*", mode="before")
    @classmethod
    def _written_once(cls, value: object) -> object:
        if isinstance(value, Repeated):
            raise ValueError(str(value))  # noqa: TRY004 - pydantic tells of a ValueError only
        return value

    @classmethod
    def filled_in(cls, values: Mapping[str, object]) -> dict[str, object]:
        """Return the fields that are filled in, by their names; unknown ones as they are written."""
        names = words_of_fields(cls)
        return {
            name: value
            for name, value in renamed(values, lambda name: names.get(as_word(name), name)).items()
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

    metric: Metric = _ABSENT
    active: bool = _ABSENT
    category_option_id: Text | None = Field(default=None, examples=["HllvX50cXC0"])
    category_option_combo_id_scheme: Scheme = Scheme.UID
    custom_field_name: Text | None = Field(default=None, examples=["user_field_1"])
    interval: Interval = _ABSENT
    basis: Basis = Field(default=_ABSENT, title="Push data basis")
    # Blanks are part of a prefix: "SOH " + code.
    prefix: str = Field(default="", examples=["SOH_"])


class Tab(Form):
    """The whole tab."""

    use_dhis2: bool = _ABSENT
    basic_authentication: bool = True
    url: Annotated[Text, AfterValidator(read_base_url)] = Field(
        default=_ABSENT, examples=["https://dhis2.example.org/hmis"]
    )
    setup: Setup = _ABSENT
    data_elements: tuple[DataElementRow, ...] = Field(default=(), title="Data elements to push")
    data_set_id: Text = Field(default=_ABSENT, examples=["lyLU2wR22tC"])
    data_set_id_scheme: Scheme = Scheme.UID
    period_format: Annotated[Text, AfterValidator(lambda text: PeriodFormat.parse(text).text)] = Field(
        default=_ABSENT, examples=["YYYYMM", "Monthly", "Weekly", "YYYY-MM-DD"]
    )
    item_field_reference: ItemField | None = Field(default=None, examples=["universal_code"])
    data_element_id_scheme: Scheme = _ABSENT
    org_unit_scheme: Scheme = _ABSENT
    store_field_reference: Text = "Dhis2Code"
    round_off: bool = False
    items_per_payload: Number = Field(default=1000, ge=1, le=999_999, title="No. of items per payload")
    include_field: Annotated[Text, AfterValidator(read_checkbox)] | None = Field(
        default=None, title="Include in DHIS2 data push", examples=["user_field_4"]
    )

    # What mSupply's tab has not.
    test_server: bool = False
    option_combo_field: OptionComboField = OptionComboField.AUTO
    expiring_within_days: Number = Field(default=90, ge=0, le=36_500)
    include_returns: bool = False
    customers: Reporting = Reporting.NONE
    customer_field_reference: Text | None = Field(default=None, examples=["Dhis2Code"])
    customer_received: CustomerReceived = CustomerReceived.REPORTED
    database_ca_certificate: Annotated[Text, AfterValidator(read_database_certificate)] | None = None
    database_channel_binding: ChannelBinding = ChannelBinding.REQUIRED
    read_back: ReadBack = ReadBack.NONE
    dhis2_ca_certificate: Annotated[Text, AfterValidator(read_certificate)] | None = None
    allow_plain_http: bool = False
    restate_months: Number = Field(default=0, ge=0, le=24)
    only_changes: bool = False
    full_send_every_days: Number = Field(default=90, ge=1, le=366)
    delete_vanished: bool = Field(default=False, title="Delete vanished values")
