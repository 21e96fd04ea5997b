"""Batches and settings for pushes to the stand-in."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from msupply_dhis2.domain.batch import Batch, Operation, encode
from msupply_dhis2.domain.data_value import Column, DataValue, Origin
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.push.outcome import BatchResult
from msupply_dhis2.settings import Scheme, Settings, parse_settings

AS_OF = datetime(2026, 2, 10, tzinfo=UTC)


def settings_of(url: str = "https://dhis2.example.org", **changes: object) -> Settings:
    """Return settings for the data set with a data element for each item and metric."""
    return parse_settings(
        json.dumps(
            {
                "use_dhis2": True,
                "url": url,
                "setup": "data_element_per_item",
                "data_elements": [
                    {
                        "metric": "stock_on_hand",
                        "active": True,
                        "custom_field_name": "user_field_1",
                        "interval": "monthly",
                        "basis": "previous_month",
                    }
                ],
                "data_set_id": "MSUPPLY_STOCK",
                "data_set_id_scheme": "code",
                "period_format": "YYYYMM",
                "data_element_id_scheme": "code",
                "org_unit_scheme": "code",
            }
            | changes
        )
    )


def value_of(  # noqa: PLR0913 - each has its default
    data_element: str,
    number: str = "12",
    *,
    org_unit: str = "OU_0",
    period: str = "202601",
    metric: Metric = Metric.STOCK_ON_HAND,
    category_option_combo: str | None = None,
    attribute_option_combo: str | None = None,
    scheme: Scheme = Scheme.UID,
    store: str | None = None,
    item: str | None = None,
    kind: Kind = Kind.STORE,
    document: str = "",
) -> DataValue:
    """Return a value; its item and store are called after its identifiers, where they have no names."""
    return DataValue(
        Column(
            (data_element, category_option_combo, attribute_option_combo),
            period,
            scheme,
            metric,
            f"item {data_element}" if item is None else item,
        ),
        Origin(org_unit, f"store {org_unit}" if store is None else store, kind, document),
        number,
    )


def batch_of(
    values: Sequence[DataValue], settings: Settings, operation: Operation = Operation.IMPORT
) -> Batch:
    """Return the batch that compute would make of the values."""
    return encode(values, run_id="run-1", as_of=AS_OF, destination=settings.destination, operation=operation)


def outcomes_in_the_log(result: BatchResult) -> list[tuple[object, ...]]:
    """Return item, store and outcome of each value that has a line of its own in the log."""
    return sorted(
        (line.fields["item"], line.fields["store"], line.fields["outcome"])
        for line in result.lines
        if "item" in line.fields
    )


def outcomes_in_the_file(result: BatchResult) -> list[tuple[object, ...]]:
    """Return item, store and outcome of each value that the file of refused values names."""
    return sorted((row.value.item, row.value.store, row.outcome) for row in result.rejected_rows)
