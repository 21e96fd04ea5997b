import csv
import json
import re

import pytest

from sandbox.sample.clinics import clinics, unusual_clinics
from sandbox.sample.edge_cases import unusual_items
from sandbox.sample.medicines import medicines
from tests.support.paths import SHARED


def test_medicines_are_distinct() -> None:
    sample = medicines(1_500, seed=1)
    assert len({medicine.id for medicine in sample}) == 1_500
    assert len({medicine.name for medicine in sample}) == 1_500
    assert len({medicine.code for medicine in sample}) == 1_500
    assert len({medicine.universal_code for medicine in sample}) == 1_500
    assert all(re.fullmatch("[0-9a-f]{8}", medicine.universal_code or "") for medicine in sample)


def test_universal_codes_without_seed() -> None:
    first = {medicine.name: medicine.universal_code for medicine in medicines(339, seed=1)}
    second = {medicine.name: medicine.universal_code for medicine in medicines(339, seed=2)}
    assert first == second
    assert list(first) != list(second)


def test_larger_begins_with_smaller() -> None:
    assert medicines(40, seed=3)[:10] == medicines(10, seed=3)
    assert clinics(40, seed=3)[:10] == clinics(10, seed=3)


def test_legacy_record() -> None:
    medicine = medicines(1, seed=1)[0]
    record = json.loads(medicine.legacy_record)
    assert record["universalcodes_code"] == medicine.universal_code
    assert record["user_field_1"] == medicine.code
    assert isinstance(record["user_field_4"], bool)
    assert record["custom_data"]["dhis2_code"] == {"data": f"DE_{medicine.universal_code}"}


def test_org_unit_per_store() -> None:
    nation = clinics(1_289, seed=1)
    assert len({clinic.org_unit for clinic in nation}) == 1_289
    assert len({clinic.id for clinic in nation}) == 1_289
    assert all(re.fullmatch("[A-Z0-9_]{1,50}", clinic.org_unit or "") for clinic in nation)


def test_unusual_stores() -> None:
    first = clinics(1, seed=1)[0]
    org_units = [clinic.org_unit for clinic in unusual_clinics(first, seed=1)]
    assert org_units.count(first.org_unit) == 1
    assert org_units.count(None) == 1


def test_unusual_items() -> None:
    ordinary = {medicine.id for medicine in medicines(20, seed=1)}
    assert not ordinary & {item.medicine.id for item in unusual_items(20, seed=1)}


@pytest.mark.skipif(not SHARED.exists(), reason="the folder with real data is not here")
def test_no_real_universal_code() -> None:
    with (SHARED / "real" / "universal_codes.csv").open(newline="") as file:
        real = {cell.strip().lower() for row in csv.reader(file) for cell in row}
    assert len(real) > 1_000
    assert not real & {medicine.universal_code for medicine in medicines(1_500, seed=1)}
