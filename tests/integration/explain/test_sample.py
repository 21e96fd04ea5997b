"""Values of a sample with everything unusual: those of stores and of customers are explained as they are computed."""

import pytest

from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.explain.job import Question, explain
from msupply_dhis2.settings.credentials import parse_database_address
from msupply_dhis2.source import open_source
from sandbox.postgres import TemporaryPostgres
from sandbox.sample import SampleKind, generate
from tests.support.customer_world import compute, settings_of
from tests.support.open_msupply_database import CALENDAR

AS_OF = "2026-11-01"
EVERY_OF_STORES, EVERY_OF_CUSTOMERS = 37, 3
"""One in so many is explained."""


@pytest.fixture(scope="module", params=[SampleKind.OPEN_MSUPPLY, SampleKind.MIRROR])
def sample(
    request: pytest.FixtureRequest, postgres: TemporaryPostgres, tmp_path_factory: pytest.TempPathFactory
) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('explained_sample')}/msupply.sqlite"
    if request.param is SampleKind.MIRROR:
        url = postgres.new_database("explained_sample")
    generate(
        url,
        stores=2,
        items=6,
        movements=300,
        edge_cases=True,
        kind=request.param,
        time_zone=CALENDAR.time_zone,
    )
    return url


@pytest.mark.slow
@pytest.mark.parametrize("received", ["reported", "supplied"])
def test_same_as_computed(sample: str, received: str) -> None:
    address, settings = parse_database_address(sample), settings_of(customer_received=received)
    values = compute(address, settings, AS_OF).values
    of_customers = [value for value in values if value.origin.kind is Kind.CUSTOMER]
    of_stores = [value for value in values if value.origin.kind is Kind.STORE]
    assert of_customers
    with open_source(address, calendar=CALENDAR) as source:
        for value in (*of_stores[::EVERY_OF_STORES], *of_customers[::EVERY_OF_CUSTOMERS]):
            place = "customer" if value.origin.kind is Kind.CUSTOMER else "store"
            question = Question.model_validate(
                {place: value.org_unit, "item": value.data_element, "metric": value.metric, "as_of": AS_OF}
            )
            explained = explain(
                question,
                settings=settings,
                calendar=CALENDAR,
                source=source,
                now=CALENDAR.parse_instant(AS_OF),
            )
            assert explained.data_value == value.by_name()
            assert explained.formula
            assert bool(explained.reports) is (value.origin.kind is Kind.CUSTOMER) or received == "supplied"
