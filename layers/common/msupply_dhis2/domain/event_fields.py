"""Fields that the events of several functions have, and what is wrong with an event, in sentences."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import EventError

_LONGEST_FIELD = 100
_MOST_FAULTS = 20


def _tuple_of_text(value: object) -> object:
    """Take ``"KAMO"`` for ``["KAMO"]``: a list of one is easily written without its brackets."""
    return [value] if isinstance(value, str) else value


def _metrics(value: object) -> object:
    """Take a metric by its name as well as by its code."""
    listed = _tuple_of_text(value)
    if not isinstance(listed, list):
        return listed
    codes = [str(name).strip().casefold().replace(" ", "_") for name in listed]
    unknown = [str(name) for name, code in zip(listed, codes, strict=True) if code not in set(Metric)]
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is no metric. The metrics are {', '.join(Metric)}")
    return codes


Names = Annotated[tuple[str, ...], BeforeValidator(_tuple_of_text), Field(min_length=1)]
MetricNames = Annotated[tuple[Metric, ...], BeforeValidator(_metrics)]


def folded(name: str) -> str:
    """Return a name as names are compared: without regard to capitals."""
    return name.strip().casefold()


def parse_event[Event: BaseModel](
    model: type[Event], event: object, example: str, groups: Mapping[str, type[BaseModel]] | None = None
) -> Event:
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
    faults = error.errors()
    sentences = [
        _sentence(fault["loc"], fault["msg"], model, groups or {}) for fault in faults[:_MOST_FAULTS]
    ]
    more = len(faults) - len(sentences)
    return [*sentences, f"And {more:,} more."] if more else sentences


def _sentence(
    location: tuple[int | str, ...],
    message: str,
    model: type[BaseModel],
    groups: Mapping[str, type[BaseModel]],
) -> str:
    said = message.removeprefix("Value error, ")
    if not said.endswith("?"):
        said += "."
    if not location:
        return said
    name = ".".join(str(part) for part in location)
    # It goes where control characters may not (an attribute of a message), and may be as long as a message.
    field = "".join(character for character in name if character.isprintable())[:_LONGEST_FIELD]
    if message.startswith("Extra inputs"):
        of_group = next((part for part in reversed(location[:-1]) if part in groups), None)
        known = ", ".join((groups[str(of_group)] if of_group else model).model_fields)
        return f"{field}: there is no such field. The fields are {known}."
    return f"{field}: {said}"
