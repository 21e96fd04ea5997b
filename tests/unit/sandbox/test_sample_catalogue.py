import csv
import json
import re

import pytest

from sandbox.sample.clinics import clinics, unusual_clinics
from sandbox.sample.edge_cases import unusual_items
from sandbox.sample.medicines import medicines
from tests.support.paths import SHARED


def test_every_medicine_has_a_name_a_code_and_a_universal_code_of_its_own() -> None:
    sample = medicines(1_500, seed=1)
    assert len({medicine.id for medicine in sample}) == 1_500
    assert len({medicine.name for medicine in sample}) == 1_500
    assert len({medicine.code for medicine in sample}) == 1_500
    assert len({medicine.universal_code for medicine in sample}) == 1_500
    assert all(re.fullmatch("[0-9a-f]{8}", medicine.universal_code or "") for medicine in sample)


def test_a_product_has_the_same_universal_code_whatever_the_seed() -> None:
    first = {medicine.name: medicine.universal_code for medicine in medicines(339, seed=1)}
    second = {medicine.name: medicine.universal_code for medicine in medicines(339, seed=2)}
    assert first == second
    assert list(first) != list(second)


def test_a_larger_sample_begins_with_the_smaller_one() -> None:
    assert medicines(40, seed=3)[:10] == medicines(10, seed=3)
    assert clinics(40, seed=3)[:10] == clinics(10, seed=3)


def test_the_legacy_record_holds_the_user_fields_and_the_universal_code() -> None:
    medicine = medicines(1, seed=1)[0]
    record = json.loads(medicine.legacy_record)
    assert record["universalcodes_code"] == medicine.universal_code
    assert record["user_field_1"] == medicine.code
    assert isinstance(record["user_field_4"], bool)
    assert record["custom_data"]["dhis2_code"] == {"data": f"DE_{medicine.universal_code}"}


def test_a_nation_of_stores_has_an_org_unit_each() -> None:
    nation = clinics(1_289, seed=1)
    assert len({clinic.org_unit for clinic in nation}) == 1_289
    assert len({clinic.id for clinic in nation}) == 1_289
    assert all(re.fullmatch("[A-Z0-9_]{1,50}", clinic.org_unit or "") for clinic in nation)


def test_unusual_stores_share_an_org_unit_or_have_none() -> None:
    first = clinics(1, seed=1)[0]
    org_units = [clinic.org_unit for clinic in unusual_clinics(first, seed=1)]
    assert org_units.count(first.org_unit) == 1
    assert org_units.count(None) == 1


def test_unusual_items_come_beside_the_ordinary_ones() -> None:
    ordinary = {medicine.id for medicine in medicines(20, seed=1)}
    assert not ordinary & {item.medicine.id for item in unusual_items(20, seed=1)}


@pytest.mark.skipif(not SHARED.exists(), reason="the folder with real data is not here")
def test_no_real_universal_code_is_used() -> None:
    with (SHARED / "real" / "universal_codes.csv").open(newline="") as file:
        real = {cell.strip().lower() for row in csv.reader(file) for cell in row}
    assert len(real) > 1_000
    assert not real & {medicine.universal_code for medicine in medicines(1_500, seed=1)}
