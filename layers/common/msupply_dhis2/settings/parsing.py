"""Reading the settings document: all that can be used of it, and a sentence for each fault."""

import difflib
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from msupply_dhis2.settings.document import Place, read_document
from msupply_dhis2.settings.fields import as_word, shown
from msupply_dhis2.settings.model import COLLECTING, Settings
from msupply_dhis2.settings.tab import DataElementRow, Form

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


def parse_settings(document: str, *, url: str | None = None) -> Settings:
    """Read the settings document, YAML or JSON; ``url`` is an address of DHIS2 instead of the document's.

    The settings are complete where Use DHIS2 is on; where it is off, they are whatever could be used of the rest.

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
            settings = Settings.model_validate(values, context=COLLECTING)
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
            return f"is {shown(details['input'])} where a list belongs. Begin each row with '- metric: …'."
        case _:
            return f"is {shown(details['input'])} where a row of fields belongs. Begin it with '- metric: …'."


def _unknown(name: str, form: type[Form]) -> str:
    if as_word(name) in _CREDENTIALS:
        return (
            "does not belong in the settings: credentials are kept in Secrets Manager only. "
            "Take it out, and run `make credentials`, which asks for them."
        )
    known = {known: known for known in form.model_fields}
    known |= {as_word(str(field.title)): field_name for field_name, field in form.model_fields.items()}
    nearest = difflib.get_close_matches(as_word(name), known, n=1)
    if nearest:
        return f"is not a field of {_form_name(form)}. Did you mean {known[nearest[0]]}?"
    other = DataElementRow if form is Settings else Settings
    if as_word(name) in other.model_fields:
        return f"is not a field of {_form_name(form)}, but of {_form_name(other)}. Move it there."
    return (
        f"is not a field of {_form_name(form)}. Take it out; its fields are: {', '.join(form.model_fields)}."
    )


def _form_name(form: type[Form]) -> str:
    return "the settings" if form is Settings else "a row of data_elements"


def _repeated(lines: tuple[int, ...]) -> str:
    where = f" (lines {', '.join(map(str, lines))})" if lines else ""
    return f"is written more than once{where}. Keep one of them."
