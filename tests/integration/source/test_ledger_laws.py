"""Random ledgers in real databases of either kind, held against the slow, day-by-day reference."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC

import pytest
from hypothesis import event, given

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import ConsumptionPreferences, Item, Store
from msupply_dhis2.metrics.calculate import Rules, calculate, floor
from msupply_dhis2.metrics.quantity import Quantity
from msupply_dhis2.periods import Calendar, PeriodFormat, window
from msupply_dhis2.source.base import Source
from sandbox.postgres import TemporaryPostgres
from tests.support.laws import tried
from tests.support.ledgers import (
    KINDS_OF_DATABASE,
    STORES,
    Case,
    Database,
    cases,
    empty_database,
    expected,
    fill,
)
from tests.support.mirror_database import MirrorDatabase
from tests.support.open_msupply_database import read_catalogue, scope_of


def computed(opened: AbstractContextManager[Source], case: Case) -> dict[str, dict[Metric, Quantity]]:
    question = case.question
    as_of = question.as_of.replace(tzinfo=UTC)
    run = window(question.basis, as_of, Calendar(question.zone), PeriodFormat.parse(question.period_format))
    rules = Rules(
        question.expiring_within_days,
        question.include_returns,
        ConsumptionPreferences(question.days_in_month, question.adjust),
    )
    with opened as source:
        scope = scope_of(read_catalogue(source))
        stores = [store for org_unit in scope.org_units for store in org_unit.stores]
        return {
            history.org_unit.stores[0].code: calculate(history, run, rules, tuple(Metric)).values
            for history in source.histories(scope, floor([run], stores, rules))
        }


@pytest.fixture(scope="module", params=KINDS_OF_DATABASE)
def database(
    request: pytest.FixtureRequest, postgres: TemporaryPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Database:
    return empty_database(request.param, postgres, tmp_path_factory.mktemp("laws"), "laws")


@pytest.mark.slow
@tried(30)
@given(case=cases())
def test_slow_reference(database: Database, case: Case) -> None:
    is_mirror = isinstance(database, MirrorDatabase)
    fill(database, case)
    calendar = Calendar(case.question.zone)

    values = computed(database.open(calendar, began=case.read_at), case)

    for code in STORES:
        store = Store(f"store-{code}", code, f"{code} clinic", f"OU_{code}")
        item = Item("item-amoxicillin", "amoxicillin", "amoxicillin tabs")
        right = expected(case, store, item, to_the_second=is_mirror)
        if code in values:
            assert values[code] == right
        else:
            # It has neither a stock line nor a movement.
            assert not any(right[metric] for metric in right if metric is not Metric.STOCKED_OUT)
    event(
        f"later than the reading: {_some(row.moved is not None and row.moved > case.read_at for row in case.rows)}"
    )
    event(f"cancels another: {_some(row.is_cancellation and row.linked is not None for row in case.rows)}")


def _some(of: Iterator[bool] | Sequence[bool]) -> str:
    return "some" if any(of) else "none"
