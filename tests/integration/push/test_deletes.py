"""Deleting in DHIS2 what is no longer computed, against the stand-in of every version."""

from collections.abc import Mapping
from datetime import date

import pytest

from msupply_dhis2.dhis2.client import Answer
from msupply_dhis2.domain.batch import Operation
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.push.job import Dhis2Session, push
from msupply_dhis2.push.outcome import BatchResult
from sandbox.dhis2 import ADMIN, FaultKind, Metadata, stock_metadata
from sandbox.dhis2.metadata import MetadataAccess
from tests.support.batches import batch_of, outcomes_in_the_file, outcomes_in_the_log, settings_of, value_of
from tests.support.direct import DirectClient

VERSIONS = ("2.37", "2.40", "2.41", "2.42", "2.43")
every_version = pytest.mark.parametrize("version", VERSIONS)
up_to_2_42 = pytest.mark.parametrize("version", VERSIONS[:-1])
NOW = date(2026, 2, 10)
ORG_UNITS = [(f"OU_{number}", f"Clinic {number}") for number in range(4)]
ITEMS = [(f"item{number}", f"Item {number}") for number in range(4)]
VALUES = [
    value_of(f"SOH_item{item}", str(item + 1), org_unit=f"OU_{unit}")
    for item in range(3)
    for unit in range(3)
]
SETTINGS = settings_of()


def world_of(**of_elements: object) -> Metadata:
    metadata = stock_metadata(ORG_UNITS, ITEMS, ["stock_on_hand"])
    elements = tuple(element.model_copy(update=of_elements) for element in metadata.data_elements)
    return metadata.model_copy(update={"data_elements": elements})


class Server:
    """The stand-in with values in it, and pushes to it."""

    def __init__(self, version: str, metadata: Metadata | None = None, **of_user: object) -> None:
        user = ADMIN.model_copy(update=of_user)
        self.client = DirectClient(metadata or world_of(), version, NOW, user)
        self.dhis2 = self.client.dhis2
        self.session = Dhis2Session(self.client, pause=lambda _: None)

    def set_up(self, metadata: Metadata) -> None:
        """Change what is set up, long enough ago that push knows."""
        self.dhis2.metadata = metadata
        self.session = Dhis2Session(self.client, pause=lambda _: None)

    def send(self, values: list[DataValue]) -> BatchResult:
        return push(batch_of(values, SETTINGS), self.session, settings=SETTINGS)

    def delete(self, values: list[DataValue]) -> BatchResult:
        return push(batch_of(values, SETTINGS, Operation.DELETE), self.session, settings=SETTINGS)

    def held(self, values: list[DataValue]) -> list[str | None]:
        return [self.dhis2.value(value.data_element, value.org_unit, value.period) for value in values]


def codes(result: BatchResult) -> list[object]:
    return [line.fields["code"] for line in result.lines if "code" in line.fields]


def without(metadata: Metadata, data_element: str) -> Metadata:
    """Take a data element out of all data sets, where it stays itself."""
    element = metadata.data_element.by_scheme("CODE", data_element)
    assert element is not None
    data_sets = tuple(
        data_set.model_copy(
            update={"data_element_ids": tuple(uid for uid in data_set.data_element_ids if uid != element.id)}
        )
        for data_set in metadata.data_sets
    )
    return metadata.model_copy(update={"data_sets": data_sets})


@every_version
def test_only_named_values(version: str) -> None:
    server = Server(version)
    server.send(VALUES)
    result = server.delete(VALUES[:5])
    assert (result.counts.sent, result.counts.deleted) == (5, 5)
    assert result.applied == frozenset(range(5))
    assert server.held(VALUES[:5]) == [None] * 5
    assert server.held(VALUES[5:]) == [value.value for value in VALUES[5:]]


@every_version
def test_twice(version: str) -> None:
    server = Server(version)
    server.send(VALUES)
    server.delete(VALUES[:3])
    result = server.delete(VALUES)
    assert (result.counts.sent, result.counts.deleted) == (len(VALUES), len(VALUES))
    assert result.failure is None
    assert server.held(VALUES) == [None] * len(VALUES)


@every_version
def test_sent_again_after_delete(version: str) -> None:
    server = Server(version)
    server.send(VALUES)
    server.delete(VALUES)
    result = server.send(VALUES)
    assert result.applied == frozenset(range(len(VALUES)))
    assert server.held(VALUES) == [value.value for value in VALUES]


@every_version
def test_changed_by_somebody(version: str) -> None:
    server = Server(version)
    server.send(VALUES)
    server.send([value_of("SOH_item0", "99")])
    result = server.delete(VALUES)
    assert server.held(VALUES[:1]) == ["99"]
    assert (result.counts.deleted, result.counts.rejected) == (len(VALUES) - 1, 1)
    (line,) = (line for line in result.lines if line.fields.get("code") == "changed_since")
    assert line.message.startswith("item SOH_item0, store OU_0, ")
    assert (
        "not deleted, DHIS2 keeps what it has. DHIS2 has 99, not the 1 that was sent earlier" in line.message
    )


@every_version
def test_data_element_left_data_set(version: str) -> None:
    server = Server(version)
    server.send(VALUES)
    server.set_up(without(world_of(), "SOH_item1"))
    result = server.delete(VALUES)
    assert (result.counts.deleted, result.counts.rejected) == (6, 3)
    assert codes(result) == ["E7633"] * 3
    assert outcomes_in_the_log(result) == outcomes_in_the_file(result)
    assert {outcome for _, _, outcome in outcomes_in_the_log(result)} == {"not deleted"}
    assert server.held(VALUES) == [None] * 3 + ["2"] * 3 + [None] * 3


@every_version
def test_unreadable_fault_found(version: str) -> None:
    server = Server(version, metadata_access=MetadataAccess.FORBIDDEN)
    server.send(VALUES)
    server.set_up(without(world_of(), "SOH_item1"))
    result = server.delete(VALUES)
    assert (result.counts.deleted, result.counts.rejected) == (6, 3)
    assert set(codes(result)) == {"E8020" if version == "2.43" else "E7632"}
    assert server.held(VALUES) == [None] * 3 + ["2"] * 3 + [None] * 3


@every_version
def test_unreadable_counts_as_gone(version: str) -> None:
    server = Server(version, metadata_access=MetadataAccess.FORBIDDEN)
    server.send(VALUES[:4])
    result = server.delete(VALUES)
    assert (result.counts.deleted, result.counts.rejected, result.counts.unaccounted) == (len(VALUES), 0, 0)
    assert result.applied == frozenset(range(len(VALUES)))


@every_version
def test_dropped_zeros(version: str) -> None:
    zeros = [value_of(f"SOH_item{item}", "0") for item in range(3)]
    server = Server(version)
    server.send(zeros)
    server.set_up(world_of(zero_is_significant=False, aggregation_type="SUM"))
    result = server.delete([*zeros, value_of("SOH_item3", "0")])
    assert result.counts.deleted == 4
    assert server.held(zeros) == [None] * 3


@up_to_2_42
def test_closed_org_unit(version: str) -> None:
    server = Server(version)
    server.send(VALUES)
    metadata = server.dhis2.metadata
    closed = tuple(
        unit.model_copy(update={"closed_date": date(2025, 6, 30)}) if unit.code == "OU_0" else unit
        for unit in metadata.org_units
    )
    server.set_up(metadata.model_copy(update={"org_units": closed}))
    assert server.delete(VALUES).counts.deleted == len(VALUES)
    assert server.held(VALUES) == [None] * len(VALUES)


@every_version
def test_lost_answer(version: str) -> None:
    server = Server(version)
    server.send(VALUES)
    server.dhis2.faults.next(FaultKind.STATUS, status=504, method="POST", after_import=True)
    batch = batch_of(VALUES, SETTINGS, Operation.DELETE)
    first = push(batch, server.session, settings=SETTINGS)
    assert first.failure is not None
    assert first.applied == frozenset()
    second = push(batch, server.session, settings=SETTINGS, done=first.settled)
    assert second.counts.deleted == len(VALUES)
    assert server.held(VALUES) == [None] * len(VALUES)


class ForgetfulClient(DirectClient):
    """DHIS2 says that it was successful, and has deleted nothing."""

    def post_data_values(
        self,
        body: Mapping[str, object],
        params: Mapping[str, str] | None = None,
        *,
        read_timeout: float | None = None,
    ) -> Answer:
        query = {**(params or {}), "dryRun": "true"} if "importStrategy" in (params or {}) else params
        answer = super().post_data_values(body, query, read_timeout=read_timeout)
        if query is params:
            return answer
        counts = {"imported": 0, "updated": 0, "ignored": 0, "deleted": 0}
        return Answer(200, {"status": "SUCCESS", "importCount": counts, "conflicts": []}, seconds=0.01)


@every_version
def test_still_there(version: str) -> None:
    server = Server(version)
    server.client = ForgetfulClient(world_of(), version, NOW)
    server.dhis2, server.session = server.client.dhis2, Dhis2Session(server.client, pause=lambda _: None)
    server.send(VALUES)
    result = server.delete(VALUES)
    assert result.applied == frozenset()
    assert (result.counts.deleted, result.counts.unaccounted) == (0, len(VALUES))
    assert codes(result) == ["still_there"] * len(VALUES)
