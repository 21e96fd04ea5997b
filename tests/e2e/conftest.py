import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

import pytest
from pydantic import SecretStr

from msupply_dhis2.settings import parse_settings
from sandbox.dhis2 import StandIn
from sandbox.emulator import Emulator
from sandbox.sample_world import (
    DHIS2_USER,
    TIME_ZONE,
    SampleDatabase,
    catalogue_of,
    dhis2_for,
    metadata_for,
    sample_database,
    settings_for,
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker(pytest.mark.slow)


@dataclass(frozen=True)
class World:
    database: SampleDatabase
    dhis2: StandIn
    emulator: Emulator
    settings: str

    @property
    def login(self) -> str:
        return self.login_with(self.password)

    @property
    def password(self) -> SecretStr:
        return self.dhis2.users[DHIS2_USER].password

    def login_with(self, password: SecretStr) -> str:
        return json.dumps({"username": DHIS2_USER, "password": password.get_secret_value()})

    @property
    def is_paused(self) -> bool:
        """Whether the breaker is open."""
        table = self.emulator.stack.resource("Table")
        answer = self.emulator.stack.client("dynamodb").get_item(
            TableName=table, Key={"id": {"S": "breaker"}}
        )
        state = str(answer.get("Item", {}).get("state", {}).get("S", "closed"))
        return state.startswith("open")

    @property
    def failed_logins(self) -> int:
        """How many calls DHIS2 refused because of their login."""
        return sum(request.status == HTTPStatus.UNAUTHORIZED for request in self.dhis2.requests)

    def switch(self, *, on: bool) -> None:
        """Have push be given messages from the queue, or not, whatever the stack thinks of it."""
        self.emulator.stack.client("lambda").update_event_source_mapping(
            UUID=self.emulator.stack.resource("PushFunctionBatch"), Enabled=on
        )

    def start_push_anew(self) -> None:
        """Have push begin cold, so that it knows nothing of DHIS2 any more."""
        functions, name = self.emulator.stack.client("lambda"), self.emulator.stack.resource("PushFunction")
        limit = functions.get_function_configuration(FunctionName=name)["Timeout"]
        functions.update_function_configuration(FunctionName=name, Timeout=limit)

    def set_up(self) -> None:
        """Put settings, credentials and DHIS2 in order, whatever the test before left."""
        self.emulator.put_settings(self.settings)
        self.emulator.put_secret("Dhis2Secret", self.login)
        self.emulator.put_secret("DatabaseSecret", self.database.address)
        self.dhis2.faults.clear()
        self.dhis2.requests.clear()
        self.dhis2.values.rows.clear()
        # A refused login, an outage, or a call without an answer, whose values others wait for.
        table = self.emulator.stack.table("Table")
        for item in table.scan()["Items"]:
            table.delete_item(Key={"id": item["id"]})
        self.switch(on=True)
        sqs = self.emulator.stack.client("sqs")
        for queue in (
            "BatchQueue",
            "FailedBatchQueue",
            "ShardQueue",
            "FailedShardQueue",
            "FailedRunQueue",
        ):
            sqs.purge_queue(QueueUrl=self.emulator.stack.resource(queue))


@pytest.fixture(scope="session")
def deployed() -> Iterator[World]:
    # make load asks for more.
    stores, items = int(os.environ.get("LOAD_STORES", "3")), int(os.environ.get("LOAD_ITEMS", "8"))
    with sample_database(stores=stores, items=items) as database:
        settings = parse_settings(settings_for("http://127.0.0.1", database.server.ca_certificate))
        with (
            dhis2_for(metadata_for(catalogue_of(database.address, settings))) as dhis2,
            Emulator() as emulator,
        ):
            emulator.build()
            emulator.deploy(Timezone=TIME_ZONE)
            yield World(database, dhis2, emulator, settings_for(dhis2.url, database.server.ca_certificate))


@pytest.fixture
def world(deployed: World) -> World:
    deployed.set_up()
    return deployed
