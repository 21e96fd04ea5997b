"""Only what changed is sent: compute and push with their queue and tables, an mSupply database and DHIS2."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from msupply_dhis2.settings import parse_settings
from msupply_dhis2.state.delta import filter as changes
from sandbox.dhis2.metadata import Metadata
from sandbox.sample_world import catalogue_of, metadata_for
from tests.conftest import Aws
from tests.support.functions import invoke
from tests.support.whole_way import OCTOBER, World, document, whole_way


@pytest.fixture
def world(aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[World]:
    with whole_way(aws, capsys, tmp_path) as it:
        yield it


def test_second_run_sends_nothing(world: World) -> None:
    first = world.run()
    assert first["values"] > 0
    assert first["already_stored"] == 0
    held, posts = world.values(), world.posts()
    assert len(held) == first["values"]

    second = world.run()

    assert (second["already_stored"], second["batches"]) == (second["values"], 0)
    assert (
        f"{second['values']:,} values are not sent, because DHIS2 has the same already" in second["message"]
    )
    assert "nothing to send to DHIS2" in second["message"]
    assert "on the way" not in second["message"]
    assert (world.values(), world.posts()) == (held, posts)


def test_changed_value(world: World) -> None:
    first = world.run()
    before = world.values()
    # Every stock line of one item in one store.
    assert world.sql(
        "UPDATE stock_line SET total_number_of_packs = total_number_of_packs + 3 "
        "WHERE (store_id, item_link_id) = (SELECT store_id, item_link_id FROM stock_line "
        "WHERE total_number_of_packs > 0 ORDER BY id LIMIT 1)"
    )

    second = world.run()

    changed = {key for key, value in world.values().items() if before.get(key) != value}
    assert 0 < second["values"] - second["already_stored"] == len(changed) < 12
    assert second["values"] == first["values"]
    assert len({(key.data_element, key.org_unit) for key in changed}) == 1


@pytest.mark.slow
def test_full_send(world: World) -> None:
    world.run()
    key, value = next((key, value) for key, value in world.values().items() if value != "0")
    world.enter_by_hand(key, "999999")
    assert world.run()["already_stored"] > 0
    assert world.values()[key] == "999999"

    full = world.run(full=True)

    assert (full["already_stored"], world.values()[key]) == (0, value)
    assert world.run()["batches"] == 0


def test_rejected_is_repeated(world: World) -> None:
    # One item's data element is not there in DHIS2.
    world.sql("UPDATE item SET universal_code = 'nowhere' WHERE id = (SELECT min(item_id) FROM item_link)")
    first = world.run()
    refused = first["values"] - len(world.values())
    assert refused > 0

    second = world.run()

    assert second["values"] - second["already_stored"] == refused


@pytest.mark.slow
def test_other_address(world: World) -> None:
    world.run()
    posts = world.posts()
    world.use(url=world.dhis2.url.replace("http://", "HTTP://") + "/api/")
    assert world.run()["batches"] == 0
    world.use(url=world.dhis2.url.replace("127.0.0.1", "localhost"))
    assert world.run()["already_stored"] == 0
    assert world.posts() > posts
    assert world.run()["batches"] == 0


@pytest.mark.slow
def test_late_dead_letter(
    world: World,
) -> None:
    world.compute()
    stale = world.aws.messages()
    for message in stale:
        world.aws.sqs.delete_message(QueueUrl=world.aws.queue_url, ReceiptHandle=message["ReceiptHandle"])
    world.sql("UPDATE stock_line SET total_number_of_packs = total_number_of_packs + 3")
    world.run()
    right = world.values()
    assert world.run()["already_stored"] < len(right), "what is on its way may yet replace it"

    for message in stale:
        world.aws.sqs.send_message(
            QueueUrl=world.aws.queue_url,
            MessageBody=message["Body"],
            MessageAttributes={
                name: {"DataType": "String", "StringValue": attribute["StringValue"]}
                for name, attribute in message["MessageAttributes"].items()
            },
        )
    pushes = world.deliver()

    assert world.values() == right
    late = sum(each.metric("ValuesSuperseded") for each in pushes)
    assert late == len(right) == sum(each.metric("ValuesStored") for each in pushes) + late
    assert pushes[0].said("a later run has sent newer ones")
    world.run()
    assert world.values() == right


def test_duplicate_delivery(world: World) -> None:
    world.compute()
    (message, *_) = world.aws.messages()
    world.aws.sqs.change_message_visibility(
        QueueUrl=world.aws.queue_url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
    )
    for _ in range(2):
        world.aws.sqs.send_message(
            QueueUrl=world.aws.queue_url,
            MessageBody=message["Body"],
            MessageAttributes={
                name: {"DataType": "String", "StringValue": attribute["StringValue"]}
                for name, attribute in message["MessageAttributes"].items()
            },
        )
    pushes = world.deliver()
    finished_before = sum(pushed.metric("BatchesFinishedBefore") for pushed in pushes)
    assert finished_before == 2


def test_vanished_is_named(world: World) -> None:
    first = world.run()
    before = world.values()
    gone = world.untick_an_item()

    second = world.run()

    assert world.values() == before
    assert second["vanished"] == first["values"] - second["values"] > 0
    assert second["deletions"] == 0
    (warning,) = [each for each in second["warnings"] if "no longer computed" in each]
    assert gone in warning
    assert "They stay in DHIS2. To delete them, switch on Delete vanished values" in warning


def test_vanished_is_deleted(world: World) -> None:
    world.use(delete_vanished=True)
    first = world.run()
    gone = world.untick_an_item()

    second = world.compute()
    pushes = world.deliver()

    assert second["deletions"] == second["vanished"] == first["values"] - second["values"]
    assert sum(pushed.metric("ValuesDeleted") for pushed in pushes) == second["deletions"]
    assert len(world.values()) == second["values"]
    assert any(gone in warning and "being deleted" in warning for warning in second["warnings"])

    third = world.run()
    assert (third["vanished"], third["batches"]) == (0, 0)


@pytest.mark.slow
def test_unreadable_group_stays(
    world: World,
) -> None:
    world.use(delete_vanished=True)
    first = world.run()
    before = world.values()
    broken = world.sql_value("SELECT min(id) FROM stock_line WHERE total_number_of_packs > 0")
    world.sql("UPDATE stock_line SET total_number_of_packs = total_number_of_packs + 3")
    world.sql("UPDATE stock_line SET total_number_of_packs = 9e999 WHERE id = ?", broken)

    second = world.run()

    assert (second["unreadable_groups"], second["incomplete"]) == (1, False)
    assert "1 group (all values of an item in an org unit) was skipped" in second["message"]
    (named,) = [each for each in second["skipped"] if broken in each]
    assert f"stock_line {broken}: total_number_of_packs or pack_size is not a finite number" in named
    (warning,) = [each for each in second["warnings"] if "cannot be read" in each]
    assert "What DHIS2 has of them stays" in warning
    assert (second["vanished"], second["deletions"]) == (0, 0)
    left_out = first["values"] - second["values"]
    assert 0 < left_out <= 12
    assert len(world.values()) == len(before)
    changed = {key for key, value in world.values().items() if before[key] != value}
    assert len(changed) == second["values"] - second["already_stored"] > 0

    # Once the row is corrected, what changed of it is sent too.
    world.sql("UPDATE stock_line SET total_number_of_packs = 7 WHERE id = ?", broken)
    third = world.run()
    assert (third["unreadable_groups"], third["values"]) == (0, first["values"])
    of_the_group = {key for key, value in world.values().items() if before[key] != value} - changed
    assert 0 < len(of_the_group) <= left_out


def test_waiting_not_superseded(world: World) -> None:
    first = world.compute()
    world.sql("UPDATE stock_line SET total_number_of_packs = 9e999")
    later = world.compute()
    assert later["incomplete"]
    pushes = world.deliver()
    assert sum(each.metric("ValuesSuperseded") for each in pushes) == later["values"] < 20
    assert len(world.values()) == sum(each.metric("ValuesStored") for each in pushes) == first["values"]


@pytest.mark.slow
def test_mass_delete_needs_consent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_SPARED_FROM", 10)
    world.use(delete_vanished=True)
    first = world.run()
    world.sql("UPDATE item SET is_active = 0 WHERE id <> (SELECT min(item_id) FROM item_link)")

    held_back = world.run()
    assert held_back["vanished"] > first["values"] / 2
    assert held_back["deletions"] == 0
    assert any(
        "Check the settings, and the items and stores in mSupply" in each for each in held_back["warnings"]
    )
    assert len(world.values()) == first["values"]

    confirmed = world.run(confirm_deletions=True)
    assert confirmed["deletions"] == held_back["vanished"]
    assert len(world.values()) == confirmed["values"]


@pytest.mark.slow
def test_limited_run_deletes_nothing(world: World) -> None:
    world.use(delete_vanished=True)
    world.run()
    before = world.values()
    store = world.sql_value("SELECT code FROM store ORDER BY code LIMIT 1")
    item = world.sql_value(
        "SELECT i.code FROM item AS i JOIN stock_line AS s ON s.item_link_id = i.id ORDER BY i.code"
    )

    for limits in ({"stores": [store]}, {"items": [item]}, {"metrics": ["stock_on_hand"]}):
        limited = world.run(**limits)
        assert (limited["vanished"], limited["batches"]) == (0, 0)
        assert limited["values"] < len(before)
    assert world.values() == before


def test_unmapped_store(world: World) -> None:
    first = world.run()
    world.sql("UPDATE store SET is_disabled = 1 WHERE code = (SELECT min(code) FROM store)")

    second = world.run()

    assert second["vanished"] == first["values"] - second["values"] > 0


@pytest.mark.slow
def test_sent_while_off(world: World) -> None:
    world.run()
    original = world.values()
    world.sql("UPDATE stock_line SET total_number_of_packs = total_number_of_packs + 3")
    world.use(only_changes=False)
    off = world.run()
    assert off["already_stored"] == 0
    world.sql("UPDATE stock_line SET total_number_of_packs = total_number_of_packs - 3")
    world.use()

    assert world.run()["already_stored"] == 0
    assert world.values() == original


def test_dry_run(world: World) -> None:
    first = invoke("compute", OCTOBER | {"dry_run": True}, world.capsys).answer
    assert (first["status"], first["already_stored"]) == ("dry run", 0)
    assert world.run()["already_stored"] == 0
    second = invoke("compute", OCTOBER | {"dry_run": True}, world.capsys).answer
    assert second["already_stored"] == second["values"]


@pytest.mark.slow
def test_skipped_not_overwritten(world: World) -> None:
    world.run(basis="current_day", as_of="2026-11-01")
    later = world.run(basis="current_day", as_of="2026-11-03")
    assert later["already_stored"] > 0
    right = world.values()
    world.sql("UPDATE stock_line SET total_number_of_packs = total_number_of_packs + 3")

    # As a shard of the day between does that is taken from the dead letters.
    late = world.run(basis="current_day", as_of="2026-11-02")

    assert late["values"] > late["already_stored"]
    assert world.values() == right


# The settings change between runs


def metadata_of(world: World) -> Metadata:
    settings = parse_settings(json.dumps(document(world.dhis2.url)))
    return metadata_for(catalogue_of(f"sqlite:///{world.database}", settings))


def rows_by_uid(world: World, *metrics: str) -> list[dict[str, Any]]:
    """Return the rows of the settings, those of some metrics with the UID of the same option combo."""
    uids = {
        option.code: option.id
        for combo in metadata_of(world).category_combos
        for option in combo.option_combos
    }
    rows: list[dict[str, Any]] = document(world.dhis2.url)["data_elements"]
    for row in rows:
        if row["metric"] in metrics:
            row["category_option_id"] = uids[row["category_option_id"]]
            row["category_option_combo_id_scheme"] = "uid"
    return rows


@pytest.mark.slow
def test_renamed_is_not_deleted(world: World) -> None:
    world.use(delete_vanished=True)
    world.run()
    before = world.values()

    world.use(delete_vanished=True, data_elements=rows_by_uid(world, "received"))

    assert world.run()["deletions"] == 0
    assert world.values() == before


@pytest.mark.slow
def test_cell_of_another_metric(world: World) -> None:
    world.use(delete_vanished=True)
    world.run()
    rows = document(world.dhis2.url)["data_elements"]
    # What is in stock now was the closing stock: the values stay the same.
    one, other = (row for row in rows if row["metric"] in {"stock_on_hand", "closing_stock"})
    one["category_option_id"], other["category_option_id"] = (
        other["category_option_id"],
        one["category_option_id"],
    )
    world.use(delete_vanished=True, data_elements=rows)
    world.run()
    before = world.values()

    assert world.run(metrics=["stock_on_hand"])["vanished"] == 0
    assert world.values() == before


@pytest.mark.parametrize("what", ["option combos", "data set"])
@pytest.mark.slow
def test_sent_by_another_name(world: World, what: str) -> None:
    world.run()
    original = world.values()
    data_set = next(
        each for each in metadata_of(world).data_sets if each.code == document(world.dhis2.url)["data_set_id"]
    )
    if what == "option combos":
        world.use(data_elements=rows_by_uid(world, "stock_on_hand"))
    else:
        world.use(data_set_id=data_set.id, data_set_id_scheme="uid")
    world.sql("UPDATE stock_line SET total_number_of_packs = total_number_of_packs + 3")
    world.run()
    assert world.values() != original
    world.sql("UPDATE stock_line SET total_number_of_packs = total_number_of_packs - 3")
    world.use()

    world.run()

    assert world.values() == original
