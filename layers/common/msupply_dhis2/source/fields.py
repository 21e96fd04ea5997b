"""Values inside the JSON that mSupply keeps of its items, stores and preferences.

All of it was typed in or synchronised by somebody: what cannot be read is never a crash.
"""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction

UNIVERSAL_CODE = "universal_code"
USER_FIELDS = frozenset(f"user_field_{number}" for number in range(1, 8))

_NUMBER_FIELD = "user_field_5"
_NOTHING: Mapping[str, object] = {}
_LONGEST_LOOK_BACK = 1200
"""Months: a century. Beyond it, a number is a slip of the keyboard."""
_MOST_DAYS = 366
_DECIMALS = 20
"""Less than this many places behind the point is 0."""


def read_object(value: object) -> Mapping[str, object] | None:
    """Read a JSON object; ``None`` where it is something else, or broken.

    It is JSON text, JSON text within JSON text (so custom data can be stored), or what was inside another JSON
    document. ``None``, empty text and ``null`` are an object without keys.
    """
    for _ in range(2):
        if isinstance(value, str):
            if not value.strip():
                return _NOTHING
            value = _loads(value)
            if value is None:
                return _NOTHING
    if value is None:
        return _NOTHING
    return value if isinstance(value, dict) else None


def _loads(text: str) -> object:
    """Parse JSON; a broken text comes back as the text itself, which is no object."""
    try:
        # Decimal keeps a code that was typed as a number as it was typed: 12.50 stays 12.50.
        parsed: object = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return text
    return parsed


def field_value(value: object) -> object:
    """Unwrap a custom field: mSupply keeps it plain or as ``{"data": …}``."""
    return value.get("data") if isinstance(value, dict) else value


def field_text(value: object) -> str | None:
    """Return a field's text, stripped; ``None`` where it is blank or neither text nor a number."""
    match field_value(value):
        case str(text):
            return text.strip() or None
        case bool():
            return None
        case int() | Decimal() as number:
            return str(number)
        case _:
            return None


def is_ticked(value: object) -> bool:
    """Return whether a checkbox field is on: true, 1, "true" or "True" (docs/msupply.md)."""
    return field_value(value) in (True, "true", "True")


def has_value(value: object) -> bool:
    """Return whether somebody has filled a field in: with text, a number, true or false."""
    return field_text(value) is not None or isinstance(field_value(value), bool)


def first_value(places: Iterable[Mapping[str, object]], name: str) -> object:
    """Return the value of a field in the first place that has one; ``None`` where none has."""
    return next((value for place in places if has_value(value := place.get(name))), None)


def item_fields(user_fields: Mapping[str, object], others: Mapping[str, object]) -> Mapping[str, object]:
    """Return the fields of an item by their names: its user fields, and the other fields that a country has."""
    fields = {name: value for name, value in others.items() if name not in USER_FIELDS}
    fields |= {name: user_fields[name] for name in USER_FIELDS & user_fields.keys()}
    # mSupply keeps 0 in the number field of every item where nobody has entered anything.
    if fields.get(_NUMBER_FIELD) == 0:
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
    value = _loads(preference)
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")  # noqa: TRY004 - the text is wrong, not the type of an argument
    return value


def _above_zero(text: str, *, most: int) -> Fraction | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError("not a number") from None
    # Compared before it becomes a fraction: 1e999999 as one would fill the memory.
    if not number.is_finite() or number > most:
        raise ValueError("not a believable number")
    return Fraction(number) if number > 0 and number.adjusted() > -_DECIMALS else None
