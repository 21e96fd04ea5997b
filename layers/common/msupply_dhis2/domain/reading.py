"""How a field of the settings or of an event is read as a person writes it.

A reader returns the value, or raises ``ValueError`` with a sentence: what is wrong with it and what to write.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from msupply_dhis2.domain.metric import METRIC_WORDS, Metric
from msupply_dhis2.errors import EventError
from msupply_dhis2.periods import Period, find_period
from msupply_dhis2.text import closest

_SWITCH = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
_LONGEST_SHOWN = 60


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


def read_text(value: object) -> str:
    """Read a text without the blanks around it."""
    return read_written_text(value).strip()


def read_written_text(value: object) -> str:
    """Read a text as it is written."""
    if isinstance(value, str):
        # JSON can name halves of characters, which can be neither sent nor shown.
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("has a character that is not text. Type it again.")
        return value
    if isinstance(value, bool):
        raise ValueError(  # noqa: TRY004 - pydantic tells of a ValueError only
            f"is read as {shown(value)}, not as text: YAML takes yes, no, on, off, true and false so. "
            "Put it in quotes if it is text, or leave the field out."
        )
    raise ValueError(f"is {shown(value)}, but must be a text. Write a single text in quotes.")


def read_switch(value: object) -> bool:
    """Read a switch."""
    if isinstance(value, bool):
        return value
    word = value.strip().casefold() if isinstance(value, str) else ""
    if word in _SWITCH:
        return _SWITCH[word]
    raise ValueError(f"is {shown(value)}. Write true or false.")


def as_word(text: str) -> str:
    """Write words as names of fields and choices are written: ``Item code`` is ``item_code``."""
    return "_".join(re.split(r"[\s_-]+", text.strip().casefold()))


def renamed(fields: Mapping[Any, object], rename: Callable[[str], str]) -> Mapping[Any, object]:
    """Return fields under the names that are meant; as they were written where one is given twice.

    Of a field that is given twice none is chosen: it is refused under its other name.
    """
    named = {rename(str(name)): value for name, value in fields.items()}
    return named if len(named) == len(fields) else fields


_WORDS_OF_A_CHOICE = re.compile(r"[\w .,'-]{0,60}")


@dataclass(frozen=True, slots=True)
class OneOf[Choice: StrEnum]:
    """Reads a choice, by its name or in the tab's words."""

    choices: type[Choice]
    tab_words: Mapping[str, Choice] = field(default_factory=dict)

    def __call__(self, value: object) -> Choice:
        """Read it."""
        known = {choice.value: choice for choice in self.choices}
        known |= {as_word(words): choice for words, choice in self.tab_words.items()}
        word = as_word(value) if isinstance(value, str) else ""
        if word in known:
            return known[word]
        nearest = closest(word, known)
        guess = f" Did you mean {known[nearest]}?" if nearest else ""
        # What does not look like a choice may be a password at the wrong place, and is not repeated.
        may_be_shown = not isinstance(value, str) or _WORDS_OF_A_CHOICE.fullmatch(value)
        said = shown(value) if may_be_shown else "no choice"
        raise ValueError(f"is {said}.{guess} It takes one of: {', '.join(self.choices)}.")


_LONGEST_FIELD = 100
_MOST_FAULTS = 20
_read_metric = OneOf(Metric, METRIC_WORDS)


def _read_names(value: object) -> tuple[str, ...]:
    """Take ``"KAMO"`` for ``["KAMO"]``: a list of one is easily written without its brackets."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        said = f'is {shown(value)}, but must be names. Write one, "KAMO", or a list, ["KAMO", "OPUA"].'
        raise ValueError(said)  # noqa: TRY004 - pydantic tells of a ValueError only
    read = tuple(read_text(name) for name in names)
    if not all(read) or not read:
        raise ValueError("is empty, or has an empty name. Write the names, or leave the field out.")
    return read


def _read_metrics(value: object) -> tuple[Metric, ...]:
    return tuple(_read_metric(name) for name in _read_names(value))


Names = Annotated[tuple[str, ...], BeforeValidator(_read_names)]
MetricName = Annotated[Metric, BeforeValidator(_read_metric)]
MetricNames = Annotated[tuple[Metric, ...], BeforeValidator(_read_metrics)]
Words = Annotated[str, BeforeValidator(read_text), Field(min_length=1)]
Switch = Annotated[bool, BeforeValidator(read_switch)]


def with_names(event: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Return an event with its fields' names as they are known, however their capitals and blanks were written."""
    return renamed(event, as_word) if isinstance(event, Mapping) else event


class Event(BaseModel):
    """What a person or a schedule asks of a function."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


def parse_event[Asked: BaseModel](
    model: type[Asked], event: object, example: str, groups: Mapping[str, type[BaseModel]] | None = None
) -> Asked:
    """Read what a person asks of a function; an EventError says what is wrong with each field, and then shows an example."""
    try:
        return model.model_validate(event)
    except ValidationError as error:
        faults = fault_sentences(error, model, groups)
    # Outside the except clause: pydantic's error shows what the event holds.
    raise EventError("\n".join((*faults, f"Write {example}.")))


def fault_sentences(
    error: ValidationError, model: type[BaseModel], groups: Mapping[str, type[BaseModel]] | None = None
) -> list[str]:
    """Return what is wrong with each field, of very many of the first.

    Where a field is unknown those of the model are told, or of the one among the groups in which it stands.
    """
    faults = error.errors(include_url=False)
    sentences = [_sentence(fault, model, groups or {}) for fault in faults[:_MOST_FAULTS]]
    more = len(faults) - len(sentences)
    return [*sentences, f"And {more:,} more."] if more else sentences


def _sentence(fault: ErrorDetails, model: type[BaseModel], groups: Mapping[str, type[BaseModel]]) -> str:
    location = fault["loc"]
    name = ".".join(str(part) for part in location)
    # It goes where control characters may not (an attribute of a message), and may be as long as a message.
    field = "".join(character for character in name if character.isprintable())[:_LONGEST_FIELD]
    match fault["type"]:
        case "value_error":
            said = str(fault["ctx"]["error"])
        case "extra_forbidden":
            of_group = next((part for part in reversed(location[:-1]) if part in groups), None)
            known = (groups[str(of_group)] if of_group else model).model_fields
            nearest = closest(as_word(str(location[-1])), known)
            guess = f". Did you mean {nearest}?" if nearest else ""
            said = f"there is no such field. The fields are {', '.join(known)}{guess}"
        case "missing":
            said = "is missing"
        case "too_short" | "string_too_short":
            said = "is empty. Write it, or leave the field out"
        case "too_long" | "string_too_long":
            said = f"is longer than {fault['ctx']['max_length']:,} characters"
        # From here on what stands there is not repeated: of a message on a queue nobody knows what it holds.
        case kind if kind.startswith(("datetime", "timezone")):
            said = "is not a time. Write a date and a time with its offset, as in 2026-02-01T01:00:00Z"
        case "model_type" | "model_attributes_type":
            said = "is a single value, but must be a group of fields"
        case _:
            said = "this is not what belongs here" if location else fault["msg"]
    said = said if said.endswith((".", "?")) else f"{said}."
    if not field:
        return said
    return f"{field} {said}" if said.startswith(("is ", "has ")) else f"{field}: {said}"
