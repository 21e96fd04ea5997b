"""Whatever goes wrong on the way: every value ends stored or named, none twice in the counts, none lost."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
from pydantic import SecretStr

from msupply_dhis2.dhis2.client import Answer, Dhis2Client
from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.outcome import Counts
from msupply_dhis2.errors import Dhis2AuthenticationError
from msupply_dhis2.push.job import Dhis2Session, push
from msupply_dhis2.settings import Scheme, Settings
from msupply_dhis2.settings.credentials import Dhis2Credentials, parse_dhis2_credentials
from sandbox.dhis2 import Fault, FaultKind, Metadata, StandIn, User, stock_metadata
from tests.support.batches import batch_of, settings_of, value_of
from tests.support.pairs import in_pairs

VERSIONS = ("2.40", "2.42", "2.43")
NOW = date(2026, 2, 10)
ORG_UNITS = [(f"OU_{number}", f"Clinic {number}") for number in range(6)]
ITEMS = [(f"item{number}", f"Item {number}") for number in range(4)]
METRICS = (Metric.STOCK_ON_HAND, Metric.RECEIVED)
DELIVERIES = 12
PATIENCE = 0.25
"""Seconds that the client waits for an answer that does not come."""

USER = "pusher"
OLD, NEW = "old-password", "new-password"


@dataclass(frozen=True)
class Setup:
    """One of the ways in which metrics and items are told apart."""

    data_set: str
    prefix: str = ""
    option_combos: bool = False
    option_combo_field: str = "auto"

    def values(self, period: str) -> list[DataValue]:
        """Return a value of each item, org unit and metric; one has no org unit in DHIS2, one no data element."""
        metrics = METRICS if self.option_combos else METRICS[:1]
        good = [
            self.value(item, org_unit, metric, str(1 + place), period)
            for item, _ in ITEMS
            for place, (org_unit, _) in enumerate(ORG_UNITS)
            for metric in metrics
        ]
        bad = [
            self.value(ITEMS[0][0], "OU_nowhere", METRICS[0], "7", period),
            self.value("nothing", ORG_UNITS[0][0], METRICS[0], "8", period),
        ]
        return [*good[:5], bad[0], *good[5:9], bad[1], *good[9:]]

    def value(self, item: str, org_unit: str, metric: Metric, number: str, period: str) -> DataValue:
        option_combo = metric.value.upper() if self.option_combos else None
        return value_of(
            f"{self.prefix}{item}",
            number,
            org_unit=org_unit,
            period=period,
            metric=metric,
            attribute_option_combo=option_combo if self.option_combo_field == "auto" else None,
            category_option_combo=option_combo if self.option_combo_field == "category" else None,
            scheme=Scheme.CODE,
        )

    def settings(self, url: str) -> Settings:
        return settings_of(url, data_set_id=self.data_set, option_combo_field=self.option_combo_field)


SETUPS = {
    "attribute option combo": Setup("STOCK_ATTRIBUTE", option_combos=True),
    "category option combo": Setup(
        "STOCK_CATEGORY", "STOCK_", option_combos=True, option_combo_field="category"
    ),
    "data element per item": Setup("MSUPPLY_STOCK", "SOH_"),
    "single data element": Setup("STOCK_SINGLE"),
}


def on_push(kind: FaultKind, **fields: object) -> Fault:
    return Fault.model_validate({"kind": kind, "path": "dataValueSets", "method": "POST", **fields})


PASSING = {
    "500": on_push(FaultKind.STATUS, status=500),
    "500 twice": on_push(FaultKind.STATUS, status=500, times=2),
    "502": on_push(FaultKind.STATUS, status=502),
    "503 three times": on_push(FaultKind.STATUS, status=503, times=3),
    "504": on_push(FaultKind.STATUS, status=504),
    "page of a firewall": on_push(FaultKind.STATUS, status=403, times=3),
    "page of a firewall with 200": on_push(FaultKind.LOGIN_PAGE, times=3),
    "page of a firewall with 404": on_push(FaultKind.STATUS, status=404),
    "sent elsewhere": on_push(FaultKind.REDIRECT, status=302, location="https://maintenance.example/"),
    "504 after the import": on_push(FaultKind.STATUS, status=504, after_import=True),
    "429": on_push(FaultKind.TOO_MANY_REQUESTS, seconds=1),
    "413 above 900 bytes": on_push(FaultKind.TOO_LARGE, size=900, times=None),
    "no answer, before the import": on_push(FaultKind.DELAY, seconds=2 * PATIENCE),
    "no answer, after the import": on_push(FaultKind.DELAY, seconds=2 * PATIENCE, after_import=True),
    "cut": on_push(FaultKind.CUT),
    "cut after the import": on_push(FaultKind.CUT, after_import=True),
    "import broken off": on_push(FaultKind.TRANSIENT_CONFLICT),
    "deadlock with half of it stored": on_push(FaultKind.DEADLOCK),
    "race for a new period": on_push(FaultKind.PERIOD_RACE),
    "right periods refused after an import of metadata": on_push(FaultKind.STALE_CACHE, times=3),
    "new periods refused after an import of metadata": on_push(
        FaultKind.STALE_CACHE, error_code="E7644", times=3
    ),
    "gzip refused": on_push(FaultKind.GZIP_REFUSED, times=None),
    "gzip damaged": on_push(FaultKind.GZIP_DAMAGED, times=None),
    "restart": on_push(FaultKind.RESTART, times=3),
    "password refused once": on_push(FaultKind.UNAUTHORIZED),
    "the metadata cannot be read just now": Fault(kind=FaultKind.STATUS, status=503, method="GET", times=2),
    "a firewall keeps the metadata": Fault(
        kind=FaultKind.STATUS, status=403, method="GET", path="dataSets", times=None
    ),
    "the metadata are slow to come": Fault(kind=FaultKind.DELAY, seconds=0.05, method="GET", times=2),
}
"""After these all good values are in DHIS2 in the end."""

REFUSING = {
    "redirect": on_push(FaultKind.REDIRECT, times=3),
}
"""These do not pass by trying again: what was in the call is named."""


class Impatient(Dhis2Client):
    """Waits less long where no answer is to come, so that a test need not either."""

    def __init__(self, dhis2: StandIn, settings: Settings, password: str) -> None:
        super().__init__(dhis2.url, credentials_of(settings, password))
        self._faults = dhis2.faults

    def post_data_values(self, *arguments: Any, **options: Any) -> Answer:  # noqa: ANN401 - handed on
        if any(fault.kind is FaultKind.DELAY for fault in self._faults.planned):
            options["read_timeout"] = PATIENCE
        return super().post_data_values(*arguments, **options)


@dataclass
class Delivered:
    """What was told of the batches, delivery after delivery."""

    counts: Counts = field(default_factory=Counts)
    named: Counter[tuple[object, ...]] = field(default_factory=Counter)
    """How often a log line was about a value."""


def credentials_of(settings: Settings, password: str) -> Dhis2Credentials:
    return parse_dhis2_credentials(f'{{"username": "{USER}", "password": "{password}"}}', settings)


def deliver(dhis2: StandIn, batches: list[Batch], settings: Settings) -> Delivered:
    """Push each batch as often as the queue would deliver it; a new password is entered once it is needed."""
    delivered = Delivered()
    password = OLD
    client = Impatient(dhis2, settings, password)
    session = Dhis2Session(client, pause=lambda _: None)
    for batch in batches:
        done: frozenset[int] = frozenset()
        for _ in range(DELIVERIES):
            result = push(batch, session, settings=settings, done=done)
            assert done <= result.settled
            assert result.counts.sent == len(result.settled) - len(done)
            done = result.settled
            delivered.counts += result.counts
            for line in result.lines:
                if "data_element" in line.fields:
                    names = ("data_element", "org_unit", "metric", "period")
                    delivered.named[tuple(line.fields[name] for name in names)] += 1
            if isinstance(result.failure, Dhis2AuthenticationError):
                client.close()
                password = NEW if dhis2.users[USER].password.get_secret_value() == NEW else password
                client = Impatient(dhis2, settings, password)
                session = Dhis2Session(client, session.batch_size, session.pause)
            if result.failure is None:
                break
        assert len(done) == len(batch.values)
    client.close()
    return delivered


def set_up() -> Metadata:
    return stock_metadata(ORG_UNITS, ITEMS, [metric.value for metric in METRICS])


def name_of(value: DataValue) -> tuple[object, ...]:
    return value.data_element, value.org_unit, value.metric.value, value.period


def is_bad(value: DataValue) -> bool:
    return value.org_unit == "OU_nowhere" or value.data_element.endswith("nothing")


def stored_in(dhis2: StandIn, value: DataValue) -> str | None:
    return dhis2.value(
        value.data_element,
        value.org_unit,
        value.period,
        value.key.category_option_combo,
        value.key.attribute_option_combo,
    )


# The setup, and whether its first or its second call meets the fault.
MET = {name: (setup, 0) for name, setup in SETUPS.items()} | {
    "data element per item, second call": (SETUPS["data element per item"], 1)
}


@pytest.mark.parametrize(("fault", "met", "version"), in_pairs(PASSING, MET, VERSIONS))
def test_passing_fault(fault: str, met: str, version: str) -> None:
    with StandIn(
        set_up(), version=version, users=[User(username=USER, password=SecretStr(OLD))], now=NOW
    ) as dhis2:
        setup, when = MET[met]
        settings = setup.settings(dhis2.url)
        values = [setup.values("202512"), setup.values("202601")]
        dhis2.faults.plan(PASSING[fault].model_copy(update={"after": when}))
        delivered = deliver(dhis2, [batch_of(of_batch, settings) for of_batch in values], settings)
        everything = [value for of_batch in values for value in of_batch]
        good = [value for value in everything if not is_bad(value)]
        assert [stored_in(dhis2, value) for value in good] == [value.value for value in good]
        assert len(dhis2.values) == len(good)
    counts = delivered.counts
    assert counts.sent == len(everything)
    assert (counts.stored + counts.unchanged, counts.rejected, counts.unaccounted) == (len(good), 4, 0)
    assert delivered.named == Counter(name_of(value) for value in everything if is_bad(value))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
@pytest.mark.parametrize("fault", REFUSING.values(), ids=REFUSING)
def test_final_refusal(version: str, setup: Setup, fault: Fault) -> None:
    with StandIn(
        set_up(), version=version, users=[User(username=USER, password=SecretStr(OLD))], now=NOW
    ) as dhis2:
        settings = setup.settings(dhis2.url)
        values = [setup.values("202512"), setup.values("202601")]
        dhis2.faults.plan(fault)
        delivered = deliver(dhis2, [batch_of(of_batch, settings) for of_batch in values], settings)
        everything = [value for of_batch in values for value in of_batch]
        stored = [value for value in everything if not is_bad(value) and stored_in(dhis2, value) is not None]
        assert len(stored) == len(dhis2.values)
    assert delivered.counts.sent == len(everything)
    assert delivered.counts.stored == len(stored)
    assert delivered.counts.rejected == len(everything) - len(stored)
    not_stored = Counter(name_of(value) for value in everything) - Counter(map(name_of, stored))
    assert delivered.named == not_stored


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_changed_password(version: str, setup: Setup) -> None:
    user = User(username=USER, password=SecretStr(OLD))
    with StandIn(set_up(), version=version, users=[user], now=NOW) as dhis2:
        settings = setup.settings(dhis2.url)
        first, second = setup.values("202512"), setup.values("202601")
        before = deliver(dhis2, [batch_of(first, settings)], settings)
        dhis2.users[USER] = user.model_copy(update={"password": SecretStr(NEW)})
        dhis2.forget_sessions()
        after = deliver(dhis2, [batch_of(second, settings)], settings)
        good = [value for value in (*first, *second) if not is_bad(value)]
        assert [stored_in(dhis2, value) for value in good] == [value.value for value in good]
        assert [request.status for request in dhis2.requests].count(401) == 1
    assert (before.counts + after.counts).sent == len(first) + len(second)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_poisonous_value(version: str, setup: Setup) -> None:
    with StandIn(
        set_up(), version=version, users=[User(username=USER, password=SecretStr(OLD))], now=NOW
    ) as dhis2:
        settings = setup.settings(dhis2.url)
        poisoned = f"{setup.prefix}{ITEMS[2][0]}"
        dhis2.faults.plan(Fault(kind=FaultKind.POISON, holds=poisoned, times=None))
        values = setup.values("202601")
        delivered = deliver(dhis2, [batch_of(values, settings)], settings)
        bad = [value for value in values if is_bad(value) or value.data_element == poisoned]
        assert len(dhis2.values) == len(values) - len(bad)
    assert delivered.counts.stored == len(values) - len(bad)
    assert delivered.named == Counter(map(name_of, bad))
