"""What mSupply has for the tests of DHIS2's metadata."""

import json
from collections.abc import Sequence

from cli.metadata.objects import Brief
from cli.metadata.shape import Shape, settings_for
from cli.metadata.subjects import PlannedItem, PlannedStore, Subjects
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.settings import Settings, parse_settings
from tests.support.metadata_server import MetadataServer

ITEMS = (
    ("Acetylsalicylic Acid 100mg tabs", "368c74bf"),
    ("Amoxicillin 250mg tabs", "14ef8a9c"),
    ("Paracetamol 500mg tabs", "12a0bf21"),
)
STORES = (("Kamo", "KAM", "OU_KAMO"), ("Opua", "OPU", "OU_OPUA"))


def settings(
    metrics: Sequence[str] = tuple(Metric), basis: str = "previous_month", **fields: object
) -> Settings:
    rows = [
        {"metric": metric, "active": True, "interval": "monthly", "basis": basis,
         "category_option_id": metric.upper(), "category_option_combo_id_scheme": "code"}
        for metric in metrics
    ]  # fmt: skip
    document = {
        "use_dhis2": False,
        "url": "https://dhis2.example.org/hmis",
        "data_set_id": "MSUPPLY_STOCK",
        "data_set_id_scheme": "code",
        "period_format": "YYYYMM",
        "item_field_reference": "universal_code",
        "data_element_id_scheme": "code",
        "org_unit_scheme": "code",
        "setup": "category_option_combo",
        "data_elements": rows,
        **fields,
    }
    return parse_settings(json.dumps(document))


def brief(
    items: Sequence[tuple[str, str]] = ITEMS,
    stores: Sequence[tuple[str, str, str]] = STORES,
    *,
    shape: Shape = Shape.ITEMS,
    given: Settings | None = None,
    access: bool = False,
    blank: Sequence[tuple[str, str]] = (),
) -> Brief:
    planned = settings_for(given or settings(), shape)
    rows = len(planned.active_rows)
    subjects = Subjects(
        tuple(PlannedItem(name, f"C{code[:4]}", (code,) * rows) for name, code in items),
        tuple(PlannedStore(*store) for store in stores),
        tuple(PlannedStore(*store) for store in blank),
    )
    return Brief(subjects, planned, shape, access)


def server(stores: Sequence[tuple[str, str, str]] = STORES, version: str = "2.42.5.2") -> MetadataServer:
    """Return a server that has the org units of the stores, and nothing else."""
    made = MetadataServer(version=version)
    for place, (name, _, code) in enumerate(stores):
        identifier = f"OrgUnit{place:04}"
        made.put(
            "organisationUnits",
            {"id": identifier, "code": code, "name": name, "path": f"/Root0000001/District001/{identifier}"},
        )
    return made
