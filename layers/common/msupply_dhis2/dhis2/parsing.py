"""What DHIS2 answers to a GET, as models; what is of another shape is told in words."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from msupply_dhis2.errors import Dhis2PermanentError

type Query = Mapping[str, str | Sequence[str]]
"""The parameters of an address; a list stands for a parameter that is there several times."""


class ReadsDhis2(Protocol):
    """What reading needs of a DHIS2 client."""

    def get(self, path: str, params: Query | None = None) -> object:
        """Read something below the address of DHIS2."""


class Answered(BaseModel):
    """An object in an answer, its fields named as in Python; fields that are not of interest are left out."""

    # A model is built when the first answer is read by it: one invocation reads few of them.
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, defer_build=True)


def parse[Model: Answered](model: type[Model], answer: object, path: str) -> Model:
    """Read an answer; raise ``Dhis2PermanentError`` where it has not the shape that it should have."""
    try:
        # What the parts of an answer share is kept in the context.
        return model.model_validate(answer, context={})
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the answer"
    # Outside the except clause: what pydantic says shows the whole answer.
    raise _not_understood(path, place, fault["msg"])


def parse_list[Model: Answered](model: type[Model], answer: object, path: str) -> tuple[Model, ...]:
    """Read a list, which stands in the answer under the last part of the path; what answers without it is not DHIS2's."""
    name = path.rpartition("/")[2]
    things = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(things, list):
        raise _not_understood(path, name, "There is no such list")
    return tuple(parse(model, thing, path) for thing in things)


def _not_understood(path: str, place: str, said: str) -> Dhis2PermanentError:
    return Dhis2PermanentError(
        f"DHIS2 answered {path} in a way that is not understood: {place} is not what it should be "
        f"({said}). Check URL, and that no proxy changes what DHIS2 answers."
    )
