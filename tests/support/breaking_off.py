"""AWS that fails, or a process that ends, at one call among many."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError


class BreaksOffError(BaseException):
    """The process ends: no code of its own runs any more."""


_READS = ("Get", "BatchGet", "Query", "List")


class Harm(StrEnum):
    """What happens at a call."""

    REFUSED = "AWS answers with a fault, and has done nothing"
    UNHEARD = "AWS does it, and the answer is a fault"
    DEATH = "AWS does it, and the process ends before it hears so"


@dataclass
class Harmed:
    """Whether a call came to harm."""

    changes: int = 0
    has_happened: bool = False
    is_dead: bool = False


@contextmanager
def harm(how: Harm, at: int) -> Iterator[Harmed]:
    """Let one of the calls by which AWS is changed here come to harm: the first is 1; 0 is none.

    A call that only reads is not counted: to break off after it is to break off after the change before. Of a process that has ended no later call goes out either, whatever its code still tries while it unwinds.
    """
    harmed = Harmed()
    call = BaseClient._make_api_call  # type: ignore[attr-defined]  # noqa: SLF001 - where all calls come by

    def make_api_call(client: BaseClient, name: str, arguments: dict[str, Any]) -> object:
        if harmed.is_dead:
            raise BreaksOffError
        if name.startswith(_READS):
            return call(client, name, arguments)
        harmed.changes += 1
        if harmed.changes != at:
            return call(client, name, arguments)
        harmed.has_happened = True
        if how is not Harm.REFUSED:
            call(client, name, arguments)
        if how is Harm.DEATH:
            harmed.is_dead = True
            raise BreaksOffError
        raise ClientError({"Error": {"Code": "InternalServerError", "Message": "Try again"}}, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", make_api_call)
        yield harmed
