"""Time that passes while a function runs: its calls of AWS take some, what is hidden on queues is seen again, and Lambda ends it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.client import BaseClient
from moto.backends import get_backend

from sandbox.handlers import Context
from tests.support.breaking_off import BreaksOffError


@dataclass
class Clock:
    """How many seconds a function has left."""

    left: float


@contextmanager
def passing(seconds: float, takes: Mapping[str, float]) -> Iterator[Clock]:
    """Yield what is invoked here so much time, of which each call of AWS takes as much as is said; others take none."""
    clock = Clock(seconds)
    call = BaseClient._make_api_call  # type: ignore[attr-defined]  # noqa: SLF001 - where all calls come by

    def make_api_call(client: BaseClient, name: str, arguments: dict[str, Any]) -> object:
        answer = call(client, name, arguments)
        if name in takes:
            clock.left -= takes[name]
            _let_pass(takes[name])
        if clock.left <= 0:
            raise BreaksOffError
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", make_api_call)
        patch.setattr(Context, "get_remaining_time_in_millis", lambda _: int(1000 * clock.left))
        yield clock


def _let_pass(seconds: float) -> None:
    for queue in get_backend("sqs")["123456789012"]["us-east-1"].queues.values():
        for message in queue._messages:  # noqa: SLF001 - a queue cannot be told the time
            message.visible_at -= 1000 * seconds
