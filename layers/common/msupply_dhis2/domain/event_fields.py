"""What the events of several functions have in common, and what is wrong with an event, in sentences."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from msupply_dhis2.domain.metric import METRIC_WORDS, Metric
from msupply_dhis2.domain.reading import OneOf, as_word, read_switch, read_text, renamed, shown
from msupply_dhis2.errors import EventError
from msupply_dhis2.text import closest

_LONGEST_FIELD = 100
_MOST_FAULTS = 20
_read_metric = OneOf(Metric, METRIC_WORDS)


def _read_names(value: object) -> tuple[str, ...]:
    """Take ``"KAMO"`` for ``["KAMO"]``: a list of one is easily written without its brackets."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        said = f'is {shown(value)} where names belong. Write one, "KAMO", or a list, ["KAMO", "OPUA"].'
        raise ValueError(said)  # noqa: TRY004 - pydantic tells of a ValueError only
    read = tuple(read_text(name) for name in names)
    if not all(read) or not read:
        raise ValueError("is empty, or has an empty name. Write the names, or leave the field out.")
    return read


def _read_metrics(value: object) -> tuple[Metric, ...]:
    return tuple(_read_metric(name) for name in _read_names(value))


Names = Annotated[tuple[str, ...], BeforeValidator(_read_names)]
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


def parse_event[Asked: BaseModel](
    model: type[Asked], event: object, example: str, groups: Mapping[str, type[BaseModel]] | None = None
) -> Asked:
    """Read what a person asks of a function; an EventError shows an example, and says what is wrong with each field."""
    try:
        return model.model_validate(event)
    except ValidationError as error:
        faults = fault_sentences(error, model, groups)
    # Outside the except clause: pydantic's error shows what the event holds.
    raise EventError("\n".join((f"The event is not understood. Write {example}.", *faults)))


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
            said = "is no time. Write a date and a time with its offset, as in 2026-02-01T01:00:00Z"
        case "model_type" | "model_attributes_type":
            said = "is a single value where a group of fields belongs"
        case _:
            said = "this is not what belongs here" if location else fault["msg"]
    said = said if said.endswith((".", "?")) else f"{said}."
    if not field:
        return said
    return f"{field} {said}" if said.startswith(("is ", "has ")) else f"{field}: {said}"
