"""Compute on a sample mSupply database, and the way of its values through queue and push into DHIS2."""

import csv
import io
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from cli.__main__ import main as local_main
from msupply_dhis2.aws import clients
from msupply_dhis2.domain.batch import Batch, decode
from msupply_dhis2.domain.mapped import MappedNames
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import AwsBusyError, AwsError, SettingsError, SourceUnreachableError
from msupply_dhis2.handlers import push as push_on_aws
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.state.runs import Runs
from sandbox.dhis2 import StandIn, User
from sandbox.dhis2.stock import PREFIXES
from sandbox.sample.generate import generate
from sandbox.sample_world import catalogue_of, metadata_for
from tests.conftest import Aws
from tests.support.functions import Invocation, deliver, invoke
from tests.support.refusing import refusing

AS_OF = "2026-10-31T22:30"
SCHEDULED = {"interval": "monthly", "scheduled_time": "2026-10-31T09:30:00Z"}
NOW = date(2026, 11, 1)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small mSupply database with every edge case, as a URL."""
    path = tmp_path_factory.mktemp("sample") / "omsupply.sqlite"
    url = f"sqlite:///{path}"
    generate(url, stores=4, items=8, seed=7, as_of=date(2026, 10, 31), edge_cases=True)
    return url


@pytest.fixture
def dhis2(sample: str) -> Any:  # noqa: ANN401 a generator of a stand-in
    metadata = metadata_for(catalogue_of(sample, parse_settings(document())))
    with StandIn(
        metadata, version="2.42", users=[User(username="pusher", password="mark3d")], now=NOW
    ) as server:
        yield server


def rows(setup: str) -> list[dict[str, object]]:
    common: dict[str, object] = {"active": True, "interval": "monthly"}
    bases = {metric: "previous_month" if metric is Metric.ISSUED else "current_day" for metric in Metric}
    if setup == "category_option_combo":
        combo = {"category_option_combo_id_scheme": "code"}
        return [
            {
                "metric": metric.value,
                "basis": bases[metric],
                "category_option_id": metric.value.upper(),
                **combo,
                **common,
            }
            for metric in Metric
        ]
    if setup == "data_element_per_item":
        return [
            {
                "metric": metric.value,
                "basis": bases[metric],
                "prefix": f"{PREFIXES[metric.value]}_",
                "custom_field_name": "universal_code",
                **common,
            }
            for metric in Metric
        ]
    return [{"metric": "stock_on_hand", "basis": "current_day", **common}]


DATA_SETS = {
    "category_option_combo": "STOCK_ATTRIBUTE",
    "data_element_per_item": "MSUPPLY_STOCK",
    "single_data_element": "STOCK_SINGLE",
}


def document(
    setup: str = "category_option_combo", url: str = "https://dhis2.example.org", **changes: object
) -> str:
    settings: dict[str, object] = {
        "use_dhis2": True,
        "basic_authentication": True,
        "url": url,
        "setup": setup,
        "data_elements": rows(setup),
        "data_set_id": DATA_SETS[setup],
        "data_set_id_scheme": "code",
        "period_format": "YYYYMM",
        "item_field_reference": "universal_code",
        "data_element_id_scheme": "code",
        "org_unit_scheme": "code",
        "items_per_payload": 50,
    }
    return json.dumps({**settings, **changes})


@pytest.fixture
def compute(aws: Aws, sample: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., Invocation]:
    aws.put_database_address(sample)
    aws.put_settings(document())

    def run(event: object, request_id: str = "request-1") -> Invocation:
        return invoke("compute", event, capsys, request_id)

    return run


def preview(
    settings: str, sample: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> list[dict[str, str]]:
    file = tmp_path / "settings.json"
    file.write_text(settings, encoding="utf-8")
    arguments = ["preview", "--settings", str(file), "--source", sample, "--timezone", "Pacific/Auckland"]
    capsys.readouterr()
    assert local_main([*arguments, "--as-of", AS_OF, "--format", "csv", "--as-scheduled", *options]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


@pytest.mark.parametrize("setup", sorted(DATA_SETS))
@pytest.mark.slow
def test_schedule_equals_preview(
    setup: str,
    aws: Aws,
    sample: str,
    dhis2: StandIn,
    compute: Callable[..., Invocation],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    push_on_aws.forget_sessions()
    settings = document(setup, dhis2.url)
    aws.put_settings(settings)
    aws.put_dhis2_credentials("pusher", "mark3d")
    computed = compute(SCHEDULED)
    assert computed.answer["status"] == "sent"
    lines = deliver(aws, capsys).said("Batch: ")
    assert computed.answer["batches"] == len(lines)
    assert {(line["rejected"], line["unaccounted"]) for line in lines} == {(0, 0)}
    stored = sum(line["stored"] for line in lines)
    assert stored == computed.answer["values"] == len(dhis2.values) > 0

    previewed = preview(settings, sample, tmp_path, capsys)
    assert len(previewed) == stored
    for row in previewed:
        in_dhis2 = dhis2.value(
            row["data_element"],
            row["org_unit"],
            row["period"],
            row["category_option_combo"] or None,
            row["attribute_option_combo"] or None,
        )
        sent = {"true": "1", "false": "0"}.get(str(in_dhis2), in_dhis2)
        assert sent == row["value"], row


def test_schedule_log(compute: Callable[..., Invocation]) -> None:
    run = compute(SCHEDULED)
    answer = run.answer
    assert answer["as_of"] == "2026-10-31T22:30:00+13:00"
    assert answer["time_zone"] == "Pacific/Auckland"
    assert answer["run_id"].startswith("20261031T093000Z-monthly-")
    assert answer["stores"] > 1
    assert answer["items"] > 1
    assert answer["run_id"] in answer["see_the_log"]
    assert answer["see_the_log"].startswith("aws logs tail /stack/push ")
    assert run.metric("ValuesComputed") == answer["values"]
    assert any("isabled" in sentence for sentence in answer["skipped"])
    first, *others = answer["skipped"]
    (line,) = run.said(" skipped: ")
    assert line["message"] == (
        f"{len(others) + 1} skipped: {first}; and {len(others)} more, in this line's field all."
    )
    assert line["all"] == answer["skipped"]
    (line,) = run.said(" notes: ")
    assert ".;" not in line["message"]
    assert line["message"].endswith(" more, in this line's field all.")


def batches_but_for_when_they_were_read(aws: Aws) -> list[Batch]:
    batches = [decode(str(message["Body"])) for message in aws.messages()]
    assert all(batch.read_at is not None for batch in batches)
    return sorted((replace(batch, read_at=None) for batch in batches), key=lambda batch: batch.batch_id)


def test_same_event_same_run(aws: Aws, compute: Callable[..., Invocation]) -> None:
    first = compute(SCHEDULED, "request-1").answer
    batches = batches_but_for_when_they_were_read(aws)
    again = compute(SCHEDULED, "request-2").answer
    assert again == first
    assert batches_but_for_when_they_were_read(aws) == batches


def test_retried_manual_push(
    compute: Callable[..., Invocation],
) -> None:
    manual = {"manual": True, "dry_run": True}
    first = compute(manual, "request-1").answer
    retried = compute(manual, "request-1").answer
    other = compute(manual, "request-2").answer
    assert (retried["run_id"], retried["as_of"]) == (first["run_id"], first["as_of"])
    assert other["run_id"] != first["run_id"]


def test_batch_size(aws: Aws, compute: Callable[..., Invocation]) -> None:
    answer = compute(SCHEDULED).answer
    batches = [decode(str(message["Body"])) for message in aws.messages()]
    assert max(len(batch.values) for batch in batches) <= 50
    keys = [value.key for batch in batches for value in batch.values]
    assert len(keys) == len(set(keys)) == answer["values"]
    assert {batch.run_id for batch in batches} == {answer["run_id"]}


def test_switched_off(aws: Aws, compute: Callable[..., Invocation]) -> None:
    aws.put_settings("use_dhis2: false")
    aws.put_database_address("postgresql://nobody:x@127.0.0.1:1/none")
    run = compute(SCHEDULED)
    assert run.answer["status"] == "off"
    assert "Use DHIS2 is off" in run.answer["message"]
    assert "write use_dhis2: true" in run.answer["message"]
    assert aws.messages() == []


def test_sent_by_hand_while_off(aws: Aws, compute: Callable[..., Invocation]) -> None:
    aws.put_settings(document(use_dhis2=False))
    answer = compute({"manual": True, "while_off": True}).answer
    assert answer["status"] == "sent"
    run = Runs(aws.runs).run(str(answer["run_id"]))
    assert run is not None
    assert run.counts.waiting == answer["values"]
    assert all(decode(str(message["Body"])).while_off for message in aws.messages())


def test_dry_run_when_off(aws: Aws, compute: Callable[..., Invocation]) -> None:
    aws.put_settings(document(use_dhis2=False))
    answer = compute({"manual": True, "dry_run": True}).answer
    assert answer["status"] == "dry run"
    assert answer["values"] > 0
    assert aws.messages() == []


def test_interval_without_rows(aws: Aws, compute: Callable[..., Invocation]) -> None:
    answer = compute({"interval": "weekly", "scheduled_time": "2026-10-26T00:00:00Z"}).answer
    assert answer["status"] == "nothing to do"
    assert "No active row of 'Data elements to push' with the interval 'weekly'" in answer["message"]
    assert aws.messages() == []


def test_manual_push(aws: Aws, compute: Callable[..., Invocation]) -> None:
    compute({"manual": True, "as_of": AS_OF})
    values = [value for message in aws.messages() for value in decode(str(message["Body"])).values]
    assert {value.metric for value in values} >= {Metric.ISSUED, Metric.STOCK_ON_HAND}
    assert {value.period for value in values} == {"202610"}


def test_limited_run(aws: Aws, compute: Callable[..., Invocation]) -> None:
    compute({"manual": True, "as_of": AS_OF})
    (first, *_) = decode(str(aws.messages()[0]["Body"])).values
    store = first.store.split("; ")[0]
    item = first.item.split("; ")[0]
    event = {"manual": True, "as_of": AS_OF, "metrics": ["stock_on_hand"], "stores": [store], "items": [item]}
    answer = compute(event).answer
    values = [value for message in aws.messages() for value in decode(str(message["Body"])).values]
    assert answer["values"] == len(values) == 1
    assert (values[0].store, values[0].item, values[0].metric) == (
        first.store,
        first.item,
        Metric.STOCK_ON_HAND,
    )


def test_unsent_store(
    compute: Callable[..., Invocation],
) -> None:
    answer = compute({"manual": True, "stores": ["No such clinic", "Qx"]}).answer
    assert answer["status"] == "failed"
    assert answer["message"] == (
        "stores: 'No such clinic' is not among the stores that are sent. Did you mean 'Old Harbour Clinic'?\n"
        "stores: 'Qx' is not among the stores that are sent. Write its code, or its whole name, as mSupply has it."
    )


def test_faulty_settings(aws: Aws, compute: Callable[..., Invocation]) -> None:
    faulty = json.loads(document())
    del faulty["data_elements"][1]["category_option_id"]
    faulty["items_per_payload"] = 0
    aws.put_settings(json.dumps(faulty))
    run = compute({"manual": True})
    assert run.answer["status"] == "failed"
    assert "months of stock: Category option ID is missing" in run.answer["message"]
    assert "No. of items per payload" in run.answer["message"]
    assert "Traceback" not in json.dumps(run.lines)
    assert run.metric("RunsFailed") == 1


def test_failed_schedule_raises(aws: Aws, compute: Callable[..., Invocation]) -> None:
    aws.ssm.delete_parameter(Name="/stack/settings")
    with pytest.raises(SettingsError, match="make settings"):
        compute(SCHEDULED)


def test_empty_database_secret(aws: Aws, compute: Callable[..., Invocation]) -> None:
    aws.secretsmanager.delete_secret(SecretId="stack/database", ForceDeleteWithoutRecovery=True)
    aws.secretsmanager.create_secret(Name="stack/database")
    answer = compute({"manual": True}).answer
    assert "not filled in yet" in answer["message"]
    assert "make credentials" in answer["message"]


def test_missing_database(aws: Aws, compute: Callable[..., Invocation]) -> None:
    aws.put_database_address("postgresql://reader:mark3d-secret@127.0.0.1:1/omsupply")
    run = compute({"check_database": True})
    assert run.answer["status"] == "failed"
    assert "127.0.0.1" in run.answer["message"]
    assert "mark3d-secret" not in json.dumps(run.lines) + json.dumps(run.answer)
    for event in (SCHEDULED, {"manual": True}):
        # It may be there again at the next attempt, also of an asynchronous manual push.
        with pytest.raises(SourceUnreachableError):
            compute(event)


@pytest.mark.parametrize(
    ("code", "is_tried_again"), [("ThrottlingException", True), ("AccessDeniedException", False)]
)
def test_aws_refusals(
    monkeypatch: pytest.MonkeyPatch, compute: Callable[..., Invocation], *, code: str, is_tried_again: bool
) -> None:
    # botocore's own wait between attempts.
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    with refusing(clients.ssm(), "GetParameter", code, times=1000):
        if is_tried_again:
            with pytest.raises(AwsBusyError):
                compute({"manual": True})
        else:
            assert compute({"manual": True}).answer["status"] == "failed"
        with pytest.raises(AwsError):
            compute(SCHEDULED)


def test_failed_check_is_no_failed_run(aws: Aws, compute: Callable[..., Invocation]) -> None:
    aws.put_database_address("postgresql://reader:x@127.0.0.1:1/omsupply")
    assert compute({"check_database": True}).metric("RunsFailed") == 0


def test_login_is_irrelevant(aws: Aws, compute: Callable[..., Invocation]) -> None:
    aws.put_settings(document(basic_authentication=False))
    assert compute({"manual": True}).answer["status"] == "sent"
    assert aws.messages() != []


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"org_unit_scheme": "uid"}, "Org unit scheme"),
        ({"data_element_id_scheme": "uid"}, "Data element ID scheme"),
        ({"item_field_reference": "user_field_1", "include_field": "nobody"}, "of DHIS2, and tick nobody."),
        ({"store_field_reference": "OrgUnit"}, "OrgUnit"),
    ],
)
def test_nothing_to_send(
    aws: Aws, compute: Callable[..., Invocation], changes: dict[str, Any], names: str
) -> None:
    aws.put_settings(document(**changes))
    for event in ({"manual": True}, {"check_database": True}):
        answer = compute(event).answer
        assert answer["status"] == "failed"
        assert names in answer["message"]


def test_limited_run_refusals(
    sample: str, aws: Aws, compute: Callable[..., Invocation], tmp_path: Path
) -> None:
    file = tmp_path / "contested.sqlite"
    shutil.copy(sample.removeprefix("sqlite:///"), file)
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE item SET legacy_record = '{}'")
        two = database.execute(
            "SELECT DISTINCT item.id, item.name FROM item JOIN item_link ON item_link.item_id = item.id "
            "JOIN stock_line ON stock_line.item_link_id = item_link.id "
            "WHERE item.is_active AND item.type = 'STOCK' LIMIT 2"
        ).fetchall()
        for item, _ in two:
            database.execute(
                "UPDATE item SET legacy_record = ? WHERE id = ?", (json.dumps({"user_field_1": "SAME"}), item)
            )
    aws.put_database_address(f"sqlite:///{file}")
    row = {"metric": "stock_on_hand", "active": True, "custom_field_name": "user_field_1"}
    rows_per_item = [{**row, "interval": "daily", "basis": "current_day"}]
    aws.put_settings(document("data_element_per_item", data_elements=rows_per_item))
    full = compute({"manual": True}).answer
    limited = compute({"manual": True, "items": [two[0][1]]}).answer
    for answer in (full, limited):
        assert any("claim the same data element 'SAME'" in sentence for sentence in answer["skipped"])
    assert limited["values"] == full["values"]


def test_check_without_settings(aws: Aws, compute: Callable[..., Invocation]) -> None:
    assert "It has identifiers for" in compute({"check_database": True}).answer["message"]
    aws.ssm.delete_parameter(Name="/stack/settings")
    assert compute({"check_database": True}).answer["status"] == "database reached"


@pytest.mark.parametrize("setup", sorted(DATA_SETS))
def test_check_tells_mapped(setup: str, sample: str, aws: Aws, compute: Callable[..., Invocation]) -> None:
    aws.put_settings(document(setup))
    run = compute({"check_database": True})
    mapped = MappedNames.model_validate(run.answer["mapped"])
    catalogue = catalogue_of(sample, parse_settings(document(setup)))
    assert {(store.code, store.org_unit) for store in mapped.stores} == {
        (store.code, store.org_unit) for store in catalogue.stores
    }
    assert {item.code for item in mapped.items} == {item.code for item in catalogue.items}
    active = parse_settings(document(setup)).active_rows
    for item in mapped.items:
        assert len(item.data_elements) == len(active)
        for row, data_element in zip(active, item.data_elements, strict=True):
            assert str(data_element).startswith(row.prefix)
    assert mapped.skipped
    assert mapped.stores[0].name not in json.dumps(run.lines)


def test_bad_event(
    compute: Callable[..., Invocation],
) -> None:
    answer = compute({"manul": True}).answer
    assert answer["status"] == "failed"
    assert '{"manual": true}' in answer["message"]
