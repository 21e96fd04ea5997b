"""The whole way of the data: compute and push with their queues and tables, an mSupply database and DHIS2."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from msupply_dhis2.handlers import push as push_on_aws
from msupply_dhis2.settings import parse_settings
from sandbox.dhis2 import Metadata, StandIn, User, ValueKey
from sandbox.sample.generate import generate
from sandbox.sample_world import catalogue_of, metadata_for
from sandbox.tools import PROJECT
from tests.conftest import Aws
from tests.support.functions import Pushed, deliver, invoke

NOW = date(2026, 11, 3)
OCTOBER = {"manual": True, "basis": "previous_month", "as_of": "2026-11-03"}
PASSWORD = "mark3d-secret"


@dataclass
class World:
    """A stack between an mSupply database and a DHIS2."""

    aws: Aws
    capsys: pytest.CaptureFixture[str]
    dhis2: StandIn
    database: Path
    runs: int = 0

    def use(self, **changes: object) -> None:
        self.aws.put_settings(json.dumps(document(self.dhis2.url) | changes))

    def compute(self, **changes: object) -> dict[str, Any]:
        self.runs += 1
        invocation = invoke("compute", OCTOBER | changes, self.capsys, f"request-{self.runs}")
        assert invocation.answer["status"] == "sent", invocation.answer["message"]
        return invocation.answer

    def deliver(self) -> list[Pushed]:
        """Hand the queue to push until it is empty."""
        pushes = []
        while self.waiting():
            pushes.append(deliver(self.aws, self.capsys))
            assert pushes[-1].again == []
        return pushes

    def waiting(self) -> int:
        attributes = self.aws.sqs.get_queue_attributes(
            QueueUrl=self.aws.queue_url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(attributes["Attributes"]["ApproximateNumberOfMessages"])

    def run(self, **changes: object) -> dict[str, Any]:
        answer = self.compute(**changes)
        self.deliver()
        return answer

    def enter_by_hand(self, key: ValueKey, value: str) -> None:
        """Do in DHIS2 what somebody does at its screen."""
        entered = {
            "dataElement": key.data_element,
            "period": key.period,
            "orgUnit": key.org_unit,
            "categoryOptionCombo": key.category_option_combo,
            "attributeOptionCombo": key.attribute_option_combo,
            "value": value,
        }
        answer = requests.post(
            f"{self.dhis2.url}/api/dataValueSets",
            json={"dataValues": [entered]},
            auth=("pusher", PASSWORD),
            timeout=10,
        )
        answer.raise_for_status()

    def sql(self, statement: str, *parameters: object) -> int:
        with closing(sqlite3.connect(self.database)) as connection, connection:
            return connection.execute(statement, parameters).rowcount

    def sql_value(self, query: str) -> str:
        with closing(sqlite3.connect(self.database)) as connection, connection:
            return str(connection.execute(query).fetchone()[0])

    def untick_an_item(self) -> str:
        """Make one item inactive that is sent, and give its name."""
        which = (
            "SELECT i.id, i.name FROM item AS i JOIN stock_line AS s ON s.item_link_id = i.id ORDER BY i.code"
        )
        with closing(sqlite3.connect(self.database)) as connection, connection:
            item, name = connection.execute(which).fetchone()
        assert self.sql("UPDATE item SET is_active = 0 WHERE id = ?", item) == 1
        return str(name)

    def values(self) -> dict[ValueKey, str]:
        return dict(self.dhis2.values.items())

    def posts(self) -> int:
        return sum(request.method == "POST" for request in self.dhis2.requests)


@cache
def _settings() -> str:
    worked = PROJECT / "docs" / "examples" / "category_option_combo.yaml"
    return parse_settings(worked.read_text(encoding="utf-8")).compact()


def document(url: str) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(_settings())
    return settings | {"use_dhis2": True, "url": url, "only_changes": True, "items_per_payload": 40}


@contextmanager
def whole_way(aws: Aws, capsys: pytest.CaptureFixture[str], folder: Path) -> Iterator[World]:
    """Make a small mSupply, a DHIS2 with its metadata, and their settings; close what was opened."""
    database = folder / "omsupply.sqlite"
    content, metadata = _sample()
    database.write_bytes(content)
    user = User(username="pusher", password=SecretStr(PASSWORD))
    push_on_aws.forget_sessions()
    with StandIn(metadata, version="2.42", users=[user], now=NOW) as dhis2:
        aws.put_database_address(f"sqlite:///{database}")
        aws.put_dhis2_credentials("pusher", PASSWORD)
        it = World(aws, capsys, dhis2, database)
        it.use()
        yield it
    push_on_aws.forget_sessions()


@cache
def _sample() -> tuple[bytes, Metadata]:
    """Return a small mSupply's database, and what a DHIS2 for it has: made once."""
    with TemporaryDirectory() as folder:
        database = Path(folder) / "omsupply.sqlite"
        address = f"sqlite:///{database}"
        generate(address, stores=3, items=6, seed=5, as_of=date(2026, 10, 31), edge_cases=False)
        settings = parse_settings(json.dumps(document("https://dhis2.example.org")))
        return database.read_bytes(), metadata_for(catalogue_of(address, settings))
