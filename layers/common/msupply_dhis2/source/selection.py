"""Choosing which stores, customers and items are sent, and saying why not; the same for every kind of mSupply database.

The fields that decide are JSON that somebody typed in or that was synchronised: what cannot be read is never a crash.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from operator import attrgetter
from typing import NamedTuple

from msupply_dhis2.domain.lookalikes import LookAlikes, difference
from msupply_dhis2.domain.stock import Item, Kind, Skipped, Store
from msupply_dhis2.errors import SourceError
from msupply_dhis2.text import listed

LOOK_BACK_FIELD = "monthlyConsumptionLookBackPeriod"
"""The custom field of stores that holds the look-back for average monthly consumption, in months."""

UNIVERSAL_CODE = "universal_code"
USER_FIELDS = frozenset(f"user_field_{number}" for number in range(1, 8))
CHECKBOXES = frozenset({"user_field_4", "user_field_7"})
_NUMBER_FIELD = "user_field_5"

_TICKS = (True, "true", "True")
_LONGEST_LOOK_BACK = 1200
"""Months: a century. Beyond it, a number is a slip of the keyboard."""
_MOST_DAYS = 366
_DECIMALS = 20
"""Less than this many places behind the point is 0."""

type Fields = Mapping[str, object]


class Named(NamedTuple):
    """A store, customer or item as mSupply has it."""

    id: str
    code: str
    name: str

    def __str__(self) -> str:
        """Name it so that it can be found in mSupply: ``Kamo (KAMO)``."""
        return f"{self.name} ({self.code})"


@dataclass(slots=True)
class _Selection[Thing: (Store, Item)]:
    """Chooses what is sent, and notes what is not and why."""

    sent: list[Thing] = field(default_factory=list, init=False)
    skipped: list[Skipped] = field(default_factory=list, init=False)
    not_meant: list[Skipped] = field(default_factory=list, init=False)
    other_fields: set[str] = field(default_factory=set, init=False)
    """Fields with a value, of stores or items that have none in the fields that are asked for."""
    broken: dict[str, None] = field(default_factory=dict, init=False)
    """By name and code, in order."""

    @property
    def by_code(self) -> tuple[Thing, ...]:
        """What is sent, in order."""
        return tuple(sorted(self.sent, key=attrgetter("code", "id")))

    def read(self, value: object, of: Named) -> Fields:
        """Read an object of JSON with fields (see ``read_object``); broken JSON has none."""
        read = read_object(value)
        if read is None:
            self.broken[str(of)] = None
        return read or {}

    def note_others(self, places: Sequence[Fields]) -> None:
        """Note which fields have a value where those that are asked for have none."""
        self.other_fields |= {name for place in places for name, value in place.items() if has_value(value)}

    def hint(self, *fields: str) -> str:
        """Return which of them look like fields that are asked for, to follow a sentence."""
        known = LookAlikes(sorted(self.other_fields))
        alike = [(each, found) for each in fields if (found := known.to(each)) is not None]
        return "".join(
            f" There is a field '{found}' that looks like it. "
            f"{difference(each, found, here='the settings', there='mSupply')}"
            for each, found in alike
        )


@dataclass(slots=True)
class StoreSelection(_Selection[Store]):
    """Chooses the stores, or customers, with a value in the field for org units, unless there is a reason against them."""

    store_field: str
    kind: Kind = Kind.STORE
    lacking: str = field(default="", init=False)
    unreadable_look_backs: list[str] = field(default_factory=list, init=False)

    @property
    def described(self) -> str:
        """The field, for sentences."""
        return f"the custom field '{self.store_field}' ({self.kind.capitalize()} field reference)"

    def add(self, it: Named, places: Sequence[Fields], why_not: str | None, months: Sequence[object]) -> None:
        """Take a store up, or note why not.

        Of the places where custom fields are kept the first in which a field is not blank decides, and of the months
        to look back the first above 0. ``why_not`` is against sending it, to be told where it has a value in the store field.
        """
        org_unit = field_text(first_value(places, self.store_field))
        if org_unit is None:
            self.note_others(places)
            reason = why_not or f"it has no value in {self.described}"
            self.not_meant.append(Skipped(self.kind, it.code, it.name, reason, is_blank=why_not is None))
        elif why_not is not None:
            self.skipped.append(Skipped(self.kind, it.code, it.name, why_not))
        else:
            look_back = None
            for value in months:
                try:
                    look_back = look_back or look_back_months(value)
                except ValueError:
                    self.unreadable_look_backs.append(it.code)
            self.sent.append(Store(*it, org_unit, look_back, self.kind))

    def check(self) -> None:
        """Raise ``SourceError`` where none is sent."""
        if not self.sent:
            reasons = " or ".join(dict.fromkeys(each.reason for each in self.skipped))
            skipped = f" Of {len(self.skipped):,} with a value: {reasons}." if self.skipped else ""
            raise SourceError(
                f"No store in mSupply has a value in {self.described} and can be sent.{skipped}{self.hint(self.store_field)}"
                f"{self.lacking and f' {self.lacking}'} In mSupply, enable each store that is to be sent, and fill in this field "
                "with the code or UID of its org unit in DHIS2; it must be spelt exactly so."
            )

    def warnings(self) -> Iterator[str]:
        """Yield what could not be read."""
        if self.lacking:
            yield self.lacking
        if self.broken:
            yield (
                f"{self.kind.capitalize()}s whose custom fields cannot be read (broken JSON), so they count as empty: "
                f"{listed([*self.broken])}."
            )
        if self.unreadable_look_backs:
            yield (
                "Stores whose look-back for average monthly consumption cannot be read, so the default is used: "
                f"{listed(self.unreadable_look_backs)}. Enter a number of months in mSupply."
            )


@dataclass(slots=True)
class ItemSelection(_Selection[Item]):
    """Chooses the items that are included and have a value in one of the fields, unless there is a reason against them."""

    fields: Sequence[str]
    include_field: str | None
    broken_place: str
    not_included: int = field(default=0, init=False)
    ticks: Counter[str] = field(default_factory=Counter, init=False)

    @property
    def described(self) -> str:
        """The fields, as mSupply calls them."""
        names = {UNIVERSAL_CODE: "the universal code"} | {
            each: each.replace("_", " ") for each in USER_FIELDS
        }
        return " or ".join(names.get(each, f"'{each}' of the custom data") for each in self.fields)

    def add(self, it: Named, places: Sequence[Fields], why_not: str | None, universal_code: object) -> None:
        """Take an item up, or note why not, which is told where it has a value and is included.

        Of the places where its fields are kept (see ``item_fields``) the first in which a field has a value decides.
        """
        texts = {
            each: field_text(universal_code if each == UNIVERSAL_CODE else first_value(places, each))
            for each in self.fields
        }
        fields = {each: text for each, text in texts.items() if text is not None}
        included = self.include_field is None or is_ticked(first_value(places, self.include_field))
        if not fields:
            self.note_others(places)
            reason = why_not or f"it has no value in {self.described}"
            is_blank = included and why_not is None
            self.not_meant.append(Skipped(Kind.ITEM, it.code, it.name, reason, is_blank=is_blank))
        elif not included:
            self.not_included += 1
            reason = why_not or f"it is not ticked in {self.include_field} (Include in DHIS2 data push)"
            self.not_meant.append(Skipped(Kind.ITEM, it.code, it.name, reason))
        elif why_not is not None:
            self.skipped.append(Skipped(Kind.ITEM, it.code, it.name, why_not))
        else:
            self.sent.append(Item(*it, fields))
            if self.include_field is None:
                # A 1 says so of mSupply's two checkboxes only.
                self.ticks.update(
                    {
                        name
                        for place in places
                        for name, value in place.items()
                        if is_ticked(value)
                        and (name in CHECKBOXES or isinstance(field_value(value), bool | str))
                    }
                )

    def check(self) -> None:
        """Raise ``SourceError`` where none is sent."""
        if not self.sent:
            counts = {
                f"not ticked in {self.include_field}": self.not_included,
                "inactive or not of type stock": len(self.skipped),
            }
            why = "; ".join(f"{reason}: {number:,}" for reason, number in counts.items() if number)
            tick = f", and tick {self.include_field}" if self.include_field else ""
            raise SourceError(
                f"No item in mSupply has a value in {self.described} and can be sent.{why and f' With a value, but {why}.'}"
                f"{self.hint(*self.fields)} In mSupply, open each item that is to be sent: fill in its identifier of DHIS2"
                f"{tick}. Or name another field in the settings (Item field reference; with different data elements per item the "
                "custom field names)."
            )

    def warnings(self) -> Iterator[str]:
        """Yield what could not be read."""
        if self.broken:
            yield (
                f"Items whose fields cannot be read (broken JSON in {self.broken_place}), so they count as empty: "
                f"{listed([*self.broken])}."
            )


def read_object(value: object) -> Fields | None:
    """Read a JSON object; ``None`` where it is something else, or broken.

    It is JSON text, JSON text within JSON text (so custom data can be stored), or what was inside another JSON
    document. ``None``, empty text and ``null`` are an object without keys.
    """
    for _ in range(2):
        if isinstance(value, str):
            try:
                # Decimal keeps a code that was typed as a number as it was typed: 12.50 stays 12.50.
                value = json.loads(value, parse_float=Decimal) if value.strip() else None
            except (ValueError, RecursionError):
                return None
    if value is None:
        return {}
    return value if isinstance(value, dict) else None


def field_value(value: object) -> object:
    """Unwrap a custom field: mSupply keeps it plain or as ``{"data": …}``."""
    return value.get("data") if isinstance(value, dict) else value


def field_text(value: object) -> str | None:
    """Return a field's text, stripped; ``None`` where it is blank or neither text nor a number."""
    value = field_value(value)
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


def is_ticked(value: object) -> bool:
    """Return whether a checkbox field is on: true, 1, "true" or "True" (docs/msupply.md)."""
    return field_value(value) in _TICKS


def has_value(value: object) -> bool:
    """Return whether somebody has filled a field in: with text, a number, true or false."""
    if isinstance(value, dict):
        value = value.get("data")
    return bool(value.strip()) if isinstance(value, str) else isinstance(value, int | Decimal)


def first_value(places: Sequence[Fields], name: str) -> object:
    """Return the value of a field in the first place that has one; ``None`` where none has."""
    for place in places:
        if has_value(value := place.get(name)):
            return value
    return None


def item_fields(user_fields: Fields, others: Fields) -> Fields:
    """Return the fields of an item by their names: its user fields, and the other fields that a country has."""
    fields = {name: value for name, value in others.items() if name not in USER_FIELDS}
    fields |= {name: user_fields[name] for name in USER_FIELDS & user_fields.keys()}
    # mSupply keeps 0 in the number field of every item where nobody has entered anything; a mirror may have it as text.
    with suppress(InvalidOperation):
        if not Decimal(field_text(fields.get(_NUMBER_FIELD)) or "none"):
            del fields[_NUMBER_FIELD]
    return fields


def look_back_months(value: object) -> Fraction | None:
    """Return a look-back in months, ``None`` where it is not above 0; ``ValueError``: no number, or over a century."""
    text = str(value) if isinstance(value, float) else field_text(value)
    return None if text is None else _above_zero(text, most=_LONGEST_LOOK_BACK)


def days_in_month(preference: str) -> Fraction | None:
    """Read a preference, a JSON text; ``None`` where it is not above 0; ``ValueError``: no number, or over a year."""
    return _above_zero(preference, most=_MOST_DAYS)


def flag(preference: str) -> bool:
    """Read a preference that is on or off, a JSON text; ``ValueError`` where it is neither."""
    if preference.strip() not in {"true", "false"}:
        raise ValueError("neither true nor false")
    return preference.strip() == "true"


def _above_zero(text: str, *, most: int) -> Fraction | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError("not a number") from None
    # Compared before it becomes a fraction: 1e999999 as one would fill the memory.
    if not number.is_finite() or number > most:
        raise ValueError("not a believable number")
    return Fraction(number) if number > 0 and number.adjusted() > -_DECIMALS else None
