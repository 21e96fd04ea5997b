"""A small world to show and test the whole path in: an mSupply database, and a DHIS2 that expects its values.

``python -m sandbox.sample_world DATABASE [SETTINGS]`` writes the org units of a DHIS2 for a database's stores, as metadata
for ``python -m sandbox.dhis2 --metadata``. The rest is set up by ``msupply-dhis2 metadata``.
"""

import json
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests
from pydantic import SecretStr

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Store
from msupply_dhis2.errors import MsupplyDhis2Error
from msupply_dhis2.periods import Calendar, parse_time_zone
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.settings.credentials import parse_database_address
from msupply_dhis2.source import open_source
from msupply_dhis2.source.base import Catalogue, Source
from msupply_dhis2.source.customers import customers_of
from sandbox.dhis2 import ADMIN, Metadata, StandIn, User, empty_metadata, stock_metadata, uid
from sandbox.postgres import TemporaryPostgres, temporary_postgres
from sandbox.sample import SampleSummary, generate
from sandbox.tools import PROJECT

TIME_ZONE = "Pacific/Auckland"
DATABASE = "omsupply"
READER = "dhis2_reader"
DHIS2_USER = "integration"
PUSHERS = "MSUPPLY_PUSH"
"""The code of the user group whose members may enter data, which a plan with an access file makes."""


@dataclass(frozen=True, slots=True)
class SampleDatabase:
    """A PostgreSQL server with a sample database of Open mSupply, and a user who may only read it."""

    server: TemporaryPostgres
    summary: SampleSummary
    password: SecretStr

    @property
    def address(self) -> str:
        """The database's address with the reader's login; it takes encrypted connections only."""
        return self.server.address(DATABASE, user=READER, password=self.password.get_secret_value())


@contextmanager
def sample_database(*, stores: int = 4, items: int = 15) -> Iterator[SampleDatabase]:
    """Run a PostgreSQL server with a sample database whose last movements were yesterday."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    with temporary_postgres(tls=True) as server:
        summary = generate(server.new_database(DATABASE), stores=stores, items=items, as_of=yesterday)
        password = SecretStr(secrets.token_urlsafe(12))
        server.new_role(READER, password.get_secret_value())
        yield SampleDatabase(server, summary, password)


def settings_for(dhis2_url: str, ca_certificate: str, **changes: str) -> str:
    """Return the project's sample settings with this DHIS2's address and the database's certificate authority."""
    document = json.loads(parse_settings((PROJECT / "settings.yaml").read_text(encoding="utf-8")).compact())
    on = {"use_dhis2": True, "test_server": True}
    changed = {**on, "url": dhis2_url, "database_ca_certificate": ca_certificate}
    return json.dumps({**document, **changed, **changes}, indent=2)


def catalogue_of(address: str, settings: Settings) -> Catalogue:
    """Read which stores and items of a database are mapped to DHIS2, as compute does."""
    with _opened(address, settings) as source:
        return source.catalogue(
            store_field=settings.store_field_reference,
            item_fields=settings.item_fields,
            include_field=settings.include_field,
        )


def mapped_customers(address: str, settings: Settings) -> Sequence[Store]:
    """Read which customers that are not stores are mapped to DHIS2; none where the settings do not send them."""
    if settings.customer_field is None:
        return ()
    with _opened(address, settings) as source:
        return customers_of(source).choose(settings.customer_field)[0]


def _opened(address: str, settings: Settings) -> AbstractContextManager[Source]:
    calendar = Calendar(parse_time_zone(TIME_ZONE))
    return open_source(parse_database_address(address), calendar=calendar, trust=settings.database_trust)


def metadata_for(catalogue: Catalogue, customers: Sequence[Store] = ()) -> Metadata:
    """Set DHIS2 up for the stores, customers and items of a database, each reference and org unit once."""
    org_units = {store.org_unit: store.name for store in (*customers, *catalogue.stores)}
    references = {reference: item.name for item in catalogue.items for reference in item.fields.values()}
    return stock_metadata(
        list(org_units.items()),
        list(references.items()),
        [metric.value for metric in Metric],
        stocked_out="INTEGER_ZERO_OR_POSITIVE",
    )


def empty_metadata_for(catalogue: Catalogue, customers: Sequence[Store] = ()) -> Metadata:
    """Return a DHIS2 that has the org units of a database's stores and customers, and nothing else yet."""
    org_units = {store.org_unit: store.name for store in (*customers, *catalogue.stores)}
    return empty_metadata(list(org_units.items()))


def with_whole_numbers_only(metadata: Metadata, code: str) -> Metadata:
    """Return the same metadata with a slip in them: a data element that takes whole numbers only."""
    elements = tuple(
        element.model_copy(update={"value_type": "INTEGER"}) if element.code == code else element
        for element in metadata.data_elements
    )
    return metadata.model_copy(update={"data_elements": elements})


def with_unassigned(metadata: Metadata, code: str) -> Metadata:
    """Return the same metadata with another slip: an org unit that is assigned to no data set."""
    data_sets = tuple(
        data_set.model_copy(
            update={
                "org_unit_ids": tuple(
                    org_unit.id
                    for org_unit in metadata.org_units
                    if org_unit.id in data_set.org_unit_ids and org_unit.code != code
                )
            }
        )
        for data_set in metadata.data_sets
    )
    return metadata.model_copy(update={"data_sets": data_sets})


def dhis2_for(metadata: Metadata, version: str = "2.42") -> StandIn:
    """Return a stand-in for DHIS2 with one user, who may add data values and nothing else."""
    user = User(
        username=DHIS2_USER,
        password=SecretStr(secrets.token_urlsafe(12)),
        authorities=("F_DATAVALUE_ADD",),
        surname="Integration",
    )
    return StandIn(metadata, version=version, users=[user])


def add_pusher(dhis2: StandIn) -> User:
    """Make the user that pushes, as an administrator does once the role and the group of a plan are there."""
    documents = dhis2.metadata.documents
    (role,) = documents["userRoles"]
    group = next(each["id"] for each in documents["userGroups"].values() if each["code"] == PUSHERS)
    root = next(unit.id for unit in dhis2.metadata.org_units if unit.path.count("/") == 1)
    user = {
        "id": uid("user", DHIS2_USER),
        "username": DHIS2_USER,
        "password": secrets.token_urlsafe(12),
        "firstName": "mSupply",
        "surname": "Integration",
        "userRoles": [{"id": role}],
        "userGroups": [{"id": group}],
        "organisationUnits": [{"id": root}],
        "dataViewOrganisationUnits": [{"id": root}],
    }
    login = (ADMIN.username, ADMIN.password.get_secret_value())
    made = requests.post(f"{dhis2.url}/api/users", json=user, auth=login, timeout=30)
    made.raise_for_status()
    return dhis2.users[DHIS2_USER]


def main(arguments: list[str]) -> int:
    """Write the org units for a database to standard output."""
    address, *settings = arguments
    file = Path(settings[0]) if settings else PROJECT / "settings.yaml"
    try:
        parsed = parse_settings(file.read_text(encoding="utf-8"))
        metadata = empty_metadata_for(catalogue_of(address, parsed), mapped_customers(address, parsed))
    except MsupplyDhis2Error as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(metadata.model_dump_json(indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
