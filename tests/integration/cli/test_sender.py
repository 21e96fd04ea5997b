"""Batches over two connections at once, and what becomes of them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import date
from itertools import batched
from threading import Barrier, Lock

import pytest

from cli.sender import Sender
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.push.job import Dhis2Session
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import parse_dhis2_credentials
from sandbox.dhis2 import ADMIN, FaultKind, StandIn, stock_metadata
from tests.support.batches import batch_of, settings_of, value_of

NOW = date(2026, 2, 10)
ORG_UNITS = [(f"OU_{number}", f"Clinic {number}") for number in range(4)]
ITEMS = [(f"item{number}", f"Item {number}") for number in range(4)]
PATIENCE = 60
"""Seconds after which two calls that have to meet never will."""


def batches_of(period: str, settings: Settings) -> list[Batch]:
    values = [
        value_of(f"SOH_{item}", org_unit=org_unit, period=period)
        for item, _ in ITEMS
        for org_unit, _ in ORG_UNITS
    ]
    return [batch_of(some, settings) for some in batched(values, 4, strict=True)]


@contextmanager
def sender_to(dhis2: StandIn, settings: Settings) -> Iterator[Sender]:
    login = f'{{"username": "{ADMIN.username}", "password": "{ADMIN.password.get_secret_value()}"}}'
    credentials = parse_dhis2_credentials(login, settings)
    with ExitStack() as opened:

        def connect() -> Dhis2Session:
            return Dhis2Session(opened.enter_context(Dhis2Client(dhis2.url, credentials)))

        sender = Sender(connect, settings, lambda _, __: None)
        with sender:
            yield sender


@pytest.mark.parametrize("version", ["2.42", "2.43"])
def test_new_period_alone_then_two_at_once(version: str) -> None:
    both, counting = Barrier(2), Lock()
    at_work: list[int] = []
    calls = 0

    def work(_: float) -> bool:
        nonlocal calls
        with counting:
            calls += 1
            is_alone = calls in {1, 6}
            at_work.append(sum(request.method == "POST" for request in dhis2.requests) + 1 - calls)
        if not is_alone:
            both.wait(PATIENCE)
        return False

    with StandIn(stock_metadata(ORG_UNITS, ITEMS, ["stock_on_hand"]), version=version, now=NOW) as dhis2:
        dhis2.faults.next(FaultKind.SLOW_IMPORT, times=None, seconds=1)
        dhis2.pause = work
        settings = settings_of(dhis2.url)
        with sender_to(dhis2, settings) as sender:
            for period in ("202601", "202512"):
                first, *others = batches_of(period, settings)
                for batch in (first, *others, first):
                    sender.send(batch)
        assert len(dhis2.values) == 32
    assert (sender.counts.stored + sender.counts.unchanged, sender.given_up) == (40, 0)
    # The first call of either period met no other.
    assert (at_work[0], at_work[5]) == (0, 0)


def test_what_is_under_way_is_counted() -> None:
    with StandIn(stock_metadata(ORG_UNITS, ITEMS, ["stock_on_hand"]), now=NOW) as dhis2:
        settings = settings_of(dhis2.url)
        with suppress(KeyboardInterrupt), sender_to(dhis2, settings) as sender:
            for batch in batches_of("202601", settings):
                sender.send(batch)
            raise KeyboardInterrupt
        assert sender.counts.stored == len(dhis2.values) == 16
