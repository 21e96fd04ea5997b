"""How a field of the settings or of an event is read as a person writes it, and what is said where it cannot be."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import EventError
from msupply_dhis2.periods import Period, find_period
from msupply_dhis2.text import Choice, as_word, closest

_LONGEST_SHOWN = 60
_LONGEST_FIELD = 100
_MOST_FAULTS = 20
_MAY_BE_A_CHOICE = re.compile(r"[\w .,'-]*")


def _as_list(value: object) -> object:
    """Take ``"KAMO"`` for ``["KAMO"]``: a list of one is easily written without its brackets."""
    return value if isinstance(value, list | tuple) else [value]


Text = Annotated[str, StringConstraints(strip_whitespace=True)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Names = Annotated[tuple[Words, ...], BeforeValidator(_as_list), Field(min_length=1)]
MetricNames = Annotated[tuple[Metric, ...], BeforeValidator(_as_list), Field(min_length=1)]


def renamed(fields: Mapping[Any, object], rename: Callable[[str], str]) -> Mapping[Any, object]:
    """Return fields under the names that are meant; as they were written where one is given twice.

    Of a field that is given twice none is chosen: it is refused under its other name.
    """
    named = {rename(str(name)): value for name, value in fields.items()}
    return named if len(named) == len(fields) else fields


def with_names(event: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Return an event with its fields' names as they are known, however their capitals and blanks were written."""
    return renamed(event, as_word) if isinstance(event, Mapping) else event


class Event(BaseModel):
    """What a person or a schedule asks of a function."""

    # Each function builds its own only.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _name_fields(cls, values: object) -> object:
        return with_names(values)


def folded(name: str) -> str:
    """Return a name as names are compared: without regard to capitals."""
    return name.strip().casefold()


def require_period(label: str, name: str) -> Period:
    """Return the period that a field of an event names; an EventError shows what periods look like."""
    if (period := find_period(label)) is None:
        raise EventError(f"{name}: '{label}' is not a period of DHIS2. Write 202601, 2026W5 or 2026Q1.")
    return period


def parse_event[Asked: BaseModel](model: type[Asked], event: object, example: str) -> Asked:
    """Read what a person asks of a function; an EventError says what is wrong with each field, and then shows an example."""
    try:
        return model.model_validate(event)
    except ValidationError as error:
        faults = fault_sentences(error.errors(include_url=False), model)
    # Outside the except clause: pydantic's error shows what the event holds.
    raise EventError("\n".join((*faults, f"Write {example}.")))


def fault_sentences(faults: Sequence[ErrorDetails], model: type[BaseModel]) -> list[str]:
    """Return what is wrong with each field, of very many of the first."""
    sentences = [_sentence(fault, model) for fault in faults[:_MOST_FAULTS]]
    more = len(faults) - len(sentences)
    return [*sentences, f"And {more:,} more."] if more else sentences


def _sentence(fault: ErrorDetails, model: type[BaseModel]) -> str:
    place = fault["loc"]
    # Of a list people write one name, or do not count from 0; what is wrong in it is shown.
    is_in_list = bool(place) and isinstance(place[-1], int)
    name = f"one of {'.'.join(map(str, place[:-1]))}" if is_in_list else ".".join(map(str, place))
    # It goes where control characters may not (an attribute of a message), and may be as long as a message.
    field = "".join(filter(str.isprintable, name))[:_LONGEST_FIELD]
    said = what_is_wrong(fault, model)
    said = said if said.endswith((".", "?")) else f"{said}."
    return f"{field}{' ' if said.startswith(('is ', 'has ')) else ': '}{said}" if field else said


_SAID = {
    "missing": "is missing",
    **dict.fromkeys(("bool_type", "bool_parsing"), "{given}. Write true or false."),
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size"), "{given}. Write a whole number."),
    "greater_than_equal": "{given}. Write a whole number, {ge} or more.",
    "less_than_equal": "{given}. Write a whole number, {le} or less.",
    "string_type": "{given}, but must be a text. Write a single text in quotes.",
    # JSON can name halves of characters, which can be neither sent nor shown.
    "string_unicode": "has a character that is not text. Type it again.",
    "tuple_type": "{given}, but must be a list.",
    **dict.fromkeys(("model_type", "model_attributes_type"), "{given}, but must be a group of fields."),
    **dict.fromkeys(("too_short", "string_too_short"), "is empty. Write it, or leave the field out."),
    **dict.fromkeys(("too_long", "string_too_long"), "is longer than {max_length:,} characters."),
    **dict.fromkeys(
        ("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "timezone_aware"),
        "is not a time. Write a date and a time with its offset, as in 2026-02-01T01:00:00Z.",
    ),
}
"""What is said of pydantic's kinds of errors."""


def what_is_wrong(fault: ErrorDetails, model: type[BaseModel]) -> str:
    """Return what is wrong with a field of a model and what to write, in words that follow the field's name.

    What stands there is repeated only where the fault has an input.
    """
    value = fault.get("input")
    given = f"is {shown(value)}" if "input" in fault else "is not what belongs here"
    match fault["type"]:
        case "value_error":
            return str(fault["ctx"]["error"])
        case "extra_forbidden":
            return _unknown(str(fault["loc"][-1]), _form_at(fault["loc"][:-1], model))
        case "enum":
            choices = _choices_at(fault["loc"], model)
            words = {as_word(word): each for each in choices for word in (each.value, *each.words)}
            nearest = closest(as_word(str(value)), words)
            # What does not look like a choice may be a password at the wrong place.
            said = given if _MAY_BE_A_CHOICE.fullmatch(shown(value)) else "is no choice"
            return f"{said}.{_guess(nearest and words[nearest])} It takes one of: {', '.join(choices)}."
        case "string_type" if isinstance(value, bool):
            return (
                f"is read as {shown(value)}, not as text: YAML takes yes, no, on, off, true and false so. "
                "Put it in quotes if it is text, or leave the field out."
            )
        case kind:
            otherwise = "is not what belongs here" if fault["loc"] else fault["msg"]
            return _SAID[kind].format(given=given, **fault.get("ctx", {})) if kind in _SAID else otherwise


def shown(value: object) -> str:
    """Return what was given, for a sentence."""
    match value:
        case bool():
            return str(value).lower()
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


def kind_within[Kind](annotation: object, kind: type[Kind]) -> type[Kind] | None:
    """Return the subclass of a kind that a field takes, also in a list or where it may be left out."""
    if isinstance(annotation, type) and issubclass(annotation, kind):
        return annotation
    return next(filter(None, (kind_within(each, kind) for each in get_args(annotation))), None)


def _form_at(location: Sequence[str | int], model: type[BaseModel]) -> type[BaseModel]:
    """Return the model that stands at a place within another."""
    for part in location:
        if field := model.model_fields.get(str(part)):
            model = kind_within(field.annotation, BaseModel) or model
    return model


def _choices_at(location: Sequence[str | int], model: type[BaseModel]) -> list[Choice]:
    """Return what a field takes that takes a choice, or a list of choices."""
    fields = _form_at(location, model).model_fields
    field = next(fields[part] for part in map(str, reversed(location)) if part in fields)
    return [*(kind_within(field.annotation, Choice) or ())]


def words_of_fields(model: type[BaseModel]) -> dict[str, str]:
    """Return the names of a model's fields by what people may write for them: the name, and the title."""
    titles = {as_word(field.title or name): name for name, field in model.model_fields.items()}
    return titles | {name: name for name in model.model_fields}


def _unknown(name: str, model: type[BaseModel]) -> str:
    known = words_of_fields(model)
    if nearest := closest(as_word(name), known):
        return f"is not a field.{_guess(known[nearest])}"
    return (
        f"is not a field. The fields are: {', '.join(model.model_fields)}. Correct its name, or take it out."
    )


def _guess(nearest: str | None) -> str:
    return f" Did you mean {nearest}?" if nearest else ""
