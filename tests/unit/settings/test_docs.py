"""docs/settings.md says what the program does: every table, example and message in it is held against the code."""

import json
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from msupply_dhis2.dhis2.import_request import SentValue, request_body
from msupply_dhis2.domain.batch import encode
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import MICRO, GroupHistory, Item, OrgUnit, PairHistory, Store
from msupply_dhis2.errors import SettingsError
from msupply_dhis2.mapping import Mapper, group_items
from msupply_dhis2.metrics.calculate import GroupValues
from msupply_dhis2.periods import Basis, Calendar, window
from msupply_dhis2.push.job import schemes_of
from msupply_dhis2.settings import DataElementRow, Settings, Setup, parse_settings
from tests.support.paths import PROJECT

DOCUMENT = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
FIELDS = [(form, name) for form in (Settings, DataElementRow) for name in form.model_fields]
BASE = """
use_dhis2: true
url: https://dhis2.example.org
data_set_id: STOCK
data_set_id_scheme: code
period_format: YYYYMM
data_element_id_scheme: code
org_unit_scheme: code
"""


def section(title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize(("form", "name"), FIELDS, ids=lambda part: part if isinstance(part, str) else "")
def test_lines_of_fields(form: type[BaseModel], name: str) -> None:
    table = section("The fields" if form is Settings else 'The rows of "Data elements to push"')
    (line,) = [line for line in table.splitlines() if re.match(rf"\| [^|]*\| `{name}` \|", line)]
    _, label, _, values, without, _ = line.split("|")
    field = form.model_fields[name]
    assert label.strip() in {"", field.title, "Include in DHIS2 data push"}
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            assert set(re.findall(r"`(\w+)`", values)) >= set(kind)
    if field.default is not None and field.default not in ((), ""):
        default = json.dumps(field.default) if isinstance(field.default, bool) else str(field.default)
        assert without.strip() == f"`{default}`"


def test_no_unknown_field() -> None:
    documented = re.findall(r"^\| [^|]*\| `(\w+)` \|", DOCUMENT, re.MULTILINE)
    assert documented == [name for _, name in FIELDS]


@pytest.mark.parametrize("setup", Setup)
def test_setup_examples(setup: Setup) -> None:
    example = section(setup.label.capitalize())
    (written,), (sent,) = blocks(example, "yaml"), blocks(example, "json")
    settings = parse_settings(BASE + written)
    assert settings.setup is setup
    kamo = Store("s", "KAM", "Kamo", "OU_KAMO")
    amoxicillin = Item("i", "amox", "Amoxicillin", {"universal_code": "368c74bf", "user_field_1": "AMOX250"})
    (group,), _ = group_items([amoxicillin], settings.active_rows, settings)
    as_of = datetime(2026, 2, 5, tzinfo=UTC)
    time = window(Basis.PREVIOUS_MONTH, as_of, Calendar(ZoneInfo("UTC")), settings.period)
    mapper = Mapper(settings, tuple((row, row.basis) for row in settings.active_rows), {time.basis: time})
    values = mapper.data_values(
        GroupHistory(OrgUnit("OU_KAMO", (kamo,)), group, [PairHistory(kamo, amoxicillin, [], [], None, 0)]),
        {time.basis: GroupValues({Metric.STOCK_ON_HAND: 12 * MICRO, Metric.RECEIVED: 50 * MICRO})},
    )
    batch = encode(list(values), run_id="run", as_of=as_of, destination=settings.destination)
    rows = [SentValue(value.key, value.value) for value in batch.values]
    assert request_body(batch.data_set_id, rows, schemes_of(batch))["dataValues"] == [
        json.loads(line) for line in sent.splitlines()
    ]


def test_faulty_example() -> None:
    example = section("Messages about a faulty document")
    (written,) = blocks(example, "yaml")
    with pytest.raises(SettingsError) as caught:
        parse_settings(written)
    assert f"{caught.value}\n" == blocks(example, "text")[0]


def test_aws_lines() -> None:
    lines = "".join(blocks(section("Putting the settings there"), "console"))
    assert (
        "aws ssm put-parameter --name /msupply-dhis2/settings --type String --tier Intelligent-Tiering "
        "--overwrite --value file://settings.yaml\n"
    ) in lines
    for secret in ("dhis2", "database"):
        assert f"aws secretsmanager put-secret-value --secret-id msupply-dhis2/{secret} " in lines
