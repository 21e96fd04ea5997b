"""What is explained is what is computed, and its parts add up: for random ledgers in real databases of either kind."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Item, Store
from msupply_dhis2.explain.explanation import Explanation, Term
from msupply_dhis2.explain.job import Question, explain
from msupply_dhis2.metrics.quantity import format_value
from msupply_dhis2.periods import Calendar
from msupply_dhis2.settings import Settings
from sandbox.postgres import TemporaryPostgres
from tests.support.customer_world import settings_of
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

ADDED_UP = set(Metric) - {
    Metric.AVERAGE_MONTHLY_CONSUMPTION,
    Metric.MONTHS_OF_STOCK,
    Metric.DAYS_OUT_OF_STOCK,
    Metric.STOCKED_OUT,
}


@pytest.fixture(scope="module", params=KINDS_OF_DATABASE)
def database(
    request: pytest.FixtureRequest, postgres: TemporaryPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Database:
    return empty_database(request.param, postgres, tmp_path_factory.mktemp("explained"), "explained")


def settings_for(case: Case) -> Settings:
    basis, returns = case.question.basis.value, case.question.include_returns
    return settings_of(dict.fromkeys(Metric, basis), customers="none", include_returns=returns)


def total(numbers: Sequence[str]) -> Decimal:
    return sum(map(Decimal, numbers), Decimal())


def units_of(terms: Sequence[Term]) -> list[str]:
    return [term.units for term in terms]


def assert_parts_add_up(explained: Explanation) -> None:
    stock_now = total([line.units_now for line in explained.stock_lines])
    if explained.movements:
        assert Decimal(explained.movements[-1].stock_after) == stock_now
        assert explained.earlier is not None
        stock = Decimal(explained.earlier.stock_after)
        for movement in explained.movements:
            stock += Decimal(movement.units)
            assert Decimal(movement.stock_after) == stock
    if explained.metric in ADDED_UP:
        assert explained.exact is not None
        assert total(units_of(explained.terms)) == Decimal(explained.exact)
    if explained.metric is Metric.DAYS_OUT_OF_STOCK and explained.exact is not None:
        spans = explained.days_without_stock
        assert sum(span.days for span in spans) == int(explained.exact)
        assert all((span.last - span.first).days + 1 >= span.days for span in spans)


@pytest.mark.slow
@tried(30)
@given(case=cases(), metrics=st.sets(st.sampled_from(Metric), min_size=2, max_size=2))
def test_parts_add_up(database: Database, case: Case, metrics: set[Metric]) -> None:
    case = replace(case, question=replace(case.question, adjust=False))
    fill(database, case)
    calendar, settings = Calendar(case.question.zone), settings_for(case)
    as_of = case.question.as_of.replace(tzinfo=UTC)
    with database.open(calendar, began=case.read_at) as source:
        for code in STORES:
            store = Store(f"store-{code}", code, f"{code} clinic", f"OU_{code}")
            item = Item("item-amoxicillin", "amoxicillin", "amoxicillin tabs")
            right = expected(case, store, item, to_the_second=isinstance(database, MirrorDatabase))
            for metric in metrics:
                question = Question(store=code, item="amoxicillin", metric=metric)
                explained = explain(question, settings=settings, calendar=calendar, source=source, now=as_of)
                assert explained.basis is case.question.basis
                if explained.formula is None:
                    # It has neither a stock line nor a movement.
                    assert explained.value is None
                    assert not right.get(metric) or metric is Metric.STOCKED_OUT
                    continue
                computed = right.get(metric)
                assert explained.value == (
                    None if computed is None else format_value(computed, round_off=False)
                )
                assert_parts_add_up(explained)
