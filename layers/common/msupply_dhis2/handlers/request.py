"""Reading what a person asks of push."""

from pydantic import BaseModel, ValidationError

from msupply_dhis2.errors import EventError


def parse_request[Request: BaseModel](model: type[Request], event: object, examples: str) -> Request:
    """Read an event; an EventError names the fields that are wrong, and shows what it may be."""
    try:
        return model.model_validate(event)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    # Outside the except clause: pydantic's error shows what the event holds.
    raise EventError(f"Push cannot do what the event asks for: {faults}. It may be {examples}.")
