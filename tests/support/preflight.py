"""A DHIS2 set up for stock metrics, mSupply's stores and items to go with it, and the report of a connection test."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.domain.mapped import DatabaseAnswer, MappedItem, MappedNames, MappedStore
from msupply_dhis2.periods import Calendar
from msupply_dhis2.preflight import job
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.settings.credentials import Dhis2Credentials, parse_dhis2_credentials
from sandbox.dhis2 import Metadata, StandIn, User, Version, stock_metadata, uid
from sandbox.dhis2.metadata import Approval, DataElement, DataSet, OrgUnit, SystemSettings

NOW = datetime(2026, 2, 5, 1, 3, tzinfo=UTC)
"""Noon of 5 February in Auckland."""

TODAY = date(2026, 2, 5)
PUSHER = User(username="pusher", password=SecretStr("x"), authorities=("F_DATAVALUE_ADD",))
ORG_UNITS = [("KAMO", "Kamo Clinic"), ("OPUA", "Opua Health Centre"), ("PAIHIA", "Paihia Hospital")]
REFERENCES = [("368c74bf", "Amoxicillin 250mg tabs"), ("7a8e5b10", "Paracetamol 500mg tabs")]
STORES = (
    MappedStore("Kamo Clinic", "KAM", "KAMO"),
    MappedStore("Opua Health Centre", "OPU", "OPUA"),
    MappedStore("Paihia Hospital", "PAI", "PAIHIA"),
)
METRICS = ("stock_on_hand", "issued", "stocked_out")
ATTRIBUTE, CATEGORY, SINGLE, PER_ITEM = "STOCK_ATTRIBUTE", "STOCK_CATEGORY", "STOCK_SINGLE", "MSUPPLY_STOCK"

type Change = Callable[[Metadata], Metadata]
every_version = pytest.mark.parametrize("version", ["2.37", "2.40", "2.42", "2.43"])


def world(**changes: Any) -> Metadata:  # noqa: ANN401 - whatever stock_metadata takes
    return stock_metadata(ORG_UNITS, REFERENCES, METRICS, **changes)


def row(metric: str, **fields: object) -> dict[str, object]:
    return {
        "metric": metric,
        "active": True,
        "interval": "monthly",
        "basis": "previous_month",
        **fields,
    }


def row_with_combo(metric: str, **fields: object) -> dict[str, object]:
    combo = {"category_option_id": metric.upper(), "category_option_combo_id_scheme": "code"}
    return row(metric, **{**combo, **fields})


def items(*identifiers: tuple[str | None, ...]) -> tuple[MappedItem, ...]:
    named = zip(identifiers, REFERENCES, strict=True)
    return tuple(
        MappedItem(name, reference[:4].upper(), data_elements) for data_elements, (reference, name) in named
    )


def mapped(rows: int = 1, prefix: str = "", **changes: Any) -> MappedNames:  # noqa: ANN401 - any field
    names = MappedNames(
        stores=STORES, items=items(*((f"{prefix}{reference}",) * rows for reference, _ in REFERENCES))
    )
    return names.model_copy(update=changes)


def settings_text(url: str, **changes: object) -> str:
    """Return settings; by default stock on hand of last month in the data set of the single data element."""
    document = {
        "use_dhis2": True,
        "url": url,
        "setup": "single_data_element",
        "data_elements": [row("stock_on_hand")],
        "data_set_id": SINGLE,
        "data_set_id_scheme": "code",
        "period_format": "YYYYMM",
        "item_field_reference": "universal_code",
        "data_element_id_scheme": "code",
        "org_unit_scheme": "code",
        **changes,
    }
    return json.dumps({name: value for name, value in document.items() if value is not None})


def report_of(  # noqa: PLR0913 - all but the first have defaults
    metadata: Metadata,
    version: str = "2.42",
    *,
    user: User = PUSHER,
    names: MappedNames | None = None,
    database: Callable[[], DatabaseAnswer] | None = None,
    now: datetime = NOW,
    prepare: Callable[[StandIn], object] = lambda _: None,
    time_limit: float | None = None,
    login: dict[str, str] | None = None,
    client: type[Dhis2Client] = Dhis2Client,
    **changes: object,
) -> job.ConnectionReport:
    """Test the connection; by default stock on hand of last month in the data set of the single data element."""
    with StandIn(metadata, version=Version(version), users=[user], now=now.date()) as dhis2:
        prepare(dhis2)
        return report_by(
            lambda parsed, given: client(parsed.url, given, read_timeout=5),
            dhis2.url,
            user=user,
            names=names,
            database=database,
            now=now,
            time_limit=time_limit,
            login=login,
            **changes,
        )


def report_by(  # noqa: PLR0913 - all but the first have defaults
    client_factory: Callable[[Settings, Dhis2Credentials], Dhis2Client],
    url: str = "https://dhis2.example.org",
    *,
    user: User = PUSHER,
    names: MappedNames | None = None,
    database: Callable[[], DatabaseAnswer] | None = None,
    now: datetime = NOW,
    time_limit: float | None = None,
    login: dict[str, str] | None = None,
    **changes: object,
) -> job.ConnectionReport:
    """Test the connection by a client of one's own."""
    rows = changes.get("data_elements", [row("stock_on_hand")])
    assert isinstance(rows, list)

    def database_answers() -> DatabaseAnswer:
        answer = names or mapped(sum(bool(each["active"]) for each in rows))
        return DatabaseAnswer(message="mSupply's database answers.", mapped=answer)

    settings = settings_text(url, **changes)
    secret = json.dumps(login or {"username": user.username, "password": "x"})
    return job.test_connection(
        settings_reader=lambda: parse_settings(settings),
        credentials_reader=lambda parsed: parse_dhis2_credentials(secret, parsed),
        client_factory=client_factory,
        database_check=database or database_answers,
        table=None,
        calendar=Calendar(ZoneInfo("Pacific/Auckland")),
        clock=lambda: now,
        as_of=None,
        time_limit=time_limit,
    )


WITH_COMBOS: dict[str, Any] = {
    "setup": "category_option_combo",
    "data_set_id": ATTRIBUTE,
    "data_elements": [row_with_combo(metric) for metric in METRICS],
}
WITH_CATEGORIES: dict[str, Any] = {
    **WITH_COMBOS,
    "data_set_id": CATEGORY,
    "data_elements": [row_with_combo(metric, prefix="STOCK_") for metric in METRICS],
    "names": mapped(3, "STOCK_"),
}


def with_data_set(code: str, **changes: object) -> Change:
    def change(metadata: Metadata) -> Metadata:
        data_sets = tuple(
            DataSet.model_validate({**data_set.model_dump(), **changes})
            if data_set.code == code
            else data_set
            for data_set in metadata.data_sets
        )
        return metadata.model_copy(update={"data_sets": data_sets})

    return change


def with_data_elements(*codes: str, **changes: object) -> Change:
    def change(metadata: Metadata) -> Metadata:
        elements = tuple(
            DataElement.model_validate({**element.model_dump(), **changes})
            if element.code in codes
            else element
            for element in metadata.data_elements
        )
        return metadata.model_copy(update={"data_elements": elements})

    return change


def with_org_unit(code: str, **changes: object) -> Change:
    def change(metadata: Metadata) -> Metadata:
        units = tuple(
            OrgUnit.model_validate({**unit.model_dump(), **changes}) if unit.code == code else unit
            for unit in metadata.org_units
        )
        return metadata.model_copy(update={"org_units": units})

    return change


def with_option(code: str, **changes: object) -> Change:
    """Change a category option."""

    def change(metadata: Metadata) -> Metadata:
        options = tuple(
            option.model_copy(update=changes) if option.code == f"OPTION_{code}" else option
            for option in metadata.category_options
        )
        return metadata.model_copy(update={"category_options": options})

    return change


def approved(code: str, period: str) -> Change:
    """Return the data set an approval workflow, and approve the data of an org unit."""

    def change(metadata: Metadata) -> Metadata:
        approval = Approval(
            workflow_id="workflow001", org_unit_id=uid("organisationUnit", code), period=period
        )
        changed = with_data_set(SINGLE, workflow_id="workflow001")(metadata)
        return changed.model_copy(update={"approvals": (approval,)})

    return change


def requiring_combos(metadata: Metadata) -> Metadata:
    settings = SystemSettings(require_category_option_combo=True, require_attribute_option_combo=True)
    return metadata.model_copy(update={"system_settings": settings})


ELEMENTS = tuple(reference for reference, _ in REFERENCES)
