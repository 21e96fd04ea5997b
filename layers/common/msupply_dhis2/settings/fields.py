"""How a single field of the tab is read: its value, or a sentence that says what is wrong with it and what to write."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator

from msupply_dhis2.domain.choices import PUBLIC_AUTHORITIES, Scheme
from msupply_dhis2.domain.lookalikes import closest
from msupply_dhis2.periods import PeriodFormat
from msupply_dhis2.settings.urls import is_forbidden

ITEM_FIELD_REFERENCES = ("universal_code", "user_field_1", "user_field_2", "user_field_3", "user_field_6")
_WORDS = MappingProxyType({True: ("true", "on", "yes"), False: ("false", "off", "no")})
_LONGEST_SHOWN = 60
_SCHEMES = MappingProxyType({"item code": Scheme.CODE, "name code": Scheme.CODE, "UUID": Scheme.UID})
"""The tab's words for them."""
_CHECKBOXES = ("user_field_4", "user_field_7")
_USER_FIELD = re.compile(r"user_field_\d+")


def shown(value: object) -> str:
    """Return what was given, for a sentence."""
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


def read_text(value: object) -> str:
    """Read a text without the blanks around it."""
    return read_written_text(value).strip()


def read_written_text(value: object) -> str:
    """Read a text as it is written."""
    if isinstance(value, str):
        # JSON can name halves of characters, which can be neither sent nor shown.
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("has a character that is no text. Type it anew.")
        return value
    if isinstance(value, bool):
        raise ValueError(  # noqa: TRY004 - pydantic tells of a ValueError only
            f"is read as {shown(value)}, not as text: YAML takes yes, no, on, off, true and false so. "
            "Put it in quotes if it is text, or leave the field out."
        )
    raise ValueError(f"is {shown(value)} where a text belongs. Write a single text in quotes.")


def read_switch(value: object) -> bool:
    """Read a switch."""
    if isinstance(value, bool):
        return value
    word = value.strip().casefold() if isinstance(value, str) else ""
    for meaning, words in _WORDS.items():
        if word in words:
            return meaning
    raise ValueError(f"is {shown(value)} where a switch belongs. Write true or false.")


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


def as_word(text: str) -> str:
    """Write words as names of fields and choices are written: ``Item code`` is ``item_code``."""
    return "_".join(re.split(r"[\s_-]+", text.strip().casefold()))


@dataclass(frozen=True, slots=True)
class OneOf[Choice: StrEnum]:
    """Reads a choice, by its name or in the tab's words."""

    choices: type[Choice]
    tab_words: Mapping[str, Choice] = field(default_factory=dict)

    def __call__(self, value: object) -> Choice:
        """Read it."""
        known = {choice.value: choice for choice in self.choices}
        known |= {as_word(words): choice for words, choice in self.tab_words.items()}
        if isinstance(value, str) and as_word(value) in known:
            return known[as_word(value)]
        nearest = closest(as_word(value), known) if isinstance(value, str) else None
        guess = f" Did you mean {known[nearest]}?" if nearest else ""
        raise ValueError(f"is {shown(value)}.{guess} It takes one of: {', '.join(self.choices)}.")


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


_USUAL_PORTS = {"http": ":80", "https": ":443"}


_PAGES = frozenset({"apps", "login", "login.html", "index.html", "index.action"})
_OF_THE_API = re.compile(r"api(?:/\d+)?(?:/(?:me|system|apps|data[A-Z]\w*|organisationUnits?)\b.*)?/?")


def read_base_url(url: str) -> str:
    """Read the address of DHIS2, without the page or the part of the API that was copied with it."""
    parts = _split_url(url)
    segments = parts.path.rstrip("/").split("/")
    copied = next(
        (
            index
            for index, segment in enumerate(segments)
            if segment.startswith("dhis-web-")
            or segment in _PAGES
            or _OF_THE_API.fullmatch("/".join(segments[index:]))
        ),
        None,
    )
    # The same server is remembered once, in whatever case and with or without the port that goes without saying.
    server = parts.netloc.lower().removesuffix(":").removesuffix(_USUAL_PORTS[parts.scheme])
    base = f"{parts.scheme}://{server}{'/'.join(segments[:copied])}".rstrip("/")
    if copied is None and (parts.query or parts.fragment or url.endswith(("?", "#"))):
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
    if text not in ITEM_FIELD_REFERENCES:
        raise ValueError(f"is {shown(text)}. It takes one of: {', '.join(ITEM_FIELD_REFERENCES)}.")
    return text


def read_checkbox(text: str) -> str | None:
    """Read which field of an item is its checkbox; ``None`` for "none"."""
    if text.casefold() == "none":
        return None
    if _USER_FIELD.fullmatch(text) and text not in _CHECKBOXES:
        raise ValueError(
            f"is {shown(text)}, which is no checkbox. It takes {' or '.join(_CHECKBOXES)}, a key of the items' "
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
            "is no certificate. Paste the whole PEM text, from '-----BEGIN CERTIFICATE-----' to "
            "'-----END CERTIFICATE-----', a line each."
        ) from error
    return text


Text = Annotated[str, BeforeValidator(read_text)]
Switch = Annotated[bool, BeforeValidator(read_switch)]
SchemeChoice = Annotated[Scheme, BeforeValidator(OneOf(Scheme, _SCHEMES))]
