import json
import traceback
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.credentials import (
    DatabaseAddress,
    Dhis2Credentials,
    parse_database_address,
    parse_dhis2_credentials,
)
from msupply_dhis2.errors import CredentialsError, SettingsError
from msupply_dhis2.settings import Settings

SECRET = "hunter2"
BASIC = Settings(use_dhis2=False)
OAUTH2 = Settings(use_dhis2=False, basic_authentication=False)
RDS = {
    "engine": "postgres",
    "host": "db.example.org",
    "port": 5433,
    "dbname": "omsupply",
    "username": "reader",
    "password": SECRET,
    "dbInstanceIdentifier": "x",
}


def secret_of(credentials: Dhis2Credentials | DatabaseAddress) -> str | None:
    return None if credentials.password is None else credentials.password.get_secret_value()


def refused_credentials(text: str) -> str:
    with pytest.raises(CredentialsError) as caught:
        parse_dhis2_credentials(text, BASIC)
    assert_nothing_is_shown(caught.value)
    return str(caught.value)


def refused_address(text: str) -> str:
    with pytest.raises(CredentialsError) as caught:
        parse_database_address(text)
    assert_nothing_is_shown(caught.value)
    return str(caught.value)


def assert_nothing_is_shown(error: CredentialsError) -> None:
    assert SECRET not in "".join(traceback.format_exception_only(error))
    assert error.__cause__ is None
    assert error.__context__ is None


def test_user_name_and_password_are_read() -> None:
    credentials = parse_dhis2_credentials(json.dumps({"username": "admin", "password": f" {SECRET} "}), BASIC)
    assert credentials.username == "admin"
    assert secret_of(credentials) == f" {SECRET} "
    assert (credentials.client, credentials.secret) == (None, None)


@pytest.mark.parametrize(
    "extra", [{"client": "", "secret": ""}, {"client": None}, {"client": 5, "secret": []}, {}]
)
def test_client_and_secret_do_not_matter_with_basic_authentication(extra: dict[str, object]) -> None:
    credentials = parse_dhis2_credentials(json.dumps({"username": "a", "password": SECRET} | extra), BASIC)
    assert (credentials.client, credentials.secret) == (None, None)


def test_no_representation_shows_a_secret() -> None:
    credentials = parse_dhis2_credentials(
        json.dumps({"username": "admin", "password": SECRET, "client": "c", "secret": SECRET}), BASIC
    )
    address = parse_database_address(f"postgresql://reader:{SECRET}@db.example.org/omsupply")
    for shown in (
        repr(credentials),
        str(credentials),
        credentials.model_dump_json(),
        repr(address),
        str(address),
    ):
        assert SECRET not in shown
    assert SECRET not in address.described


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is not filled in yet"),
        (" \n", "is not filled in yet"),
        (SECRET, "is not JSON"),
        (f"admin:{SECRET}", "is not JSON"),
        (json.dumps(SECRET), "is not JSON"),
        (json.dumps([SECRET]), "is not JSON"),
        ('{"password": "hunter2"', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        (
            json.dumps({SECRET: "x", "username": "a", "password": "b"}),
            "has 1 field(s) other than username, password",
        ),
        (json.dumps({"username": "a"}), "has no text in its field password"),
        (json.dumps({"password": SECRET}), "has no text in its field username"),
        (json.dumps({"username": " ", "password": SECRET}), "has no text in its field username"),
        (json.dumps({"username": "a", "password": [SECRET]}), "has no text in its field password"),
        (json.dumps({"username": 1, "password": SECRET}), "has no text in its field username"),
    ],
)
def test_credentials_of_another_form_are_refused_without_showing_them(text: str, part: str) -> None:
    message = refused_credentials(text)
    assert part in message
    assert "make credentials" in message


def test_login_without_basic_authentication_is_refused_with_what_to_set() -> None:
    with pytest.raises(SettingsError, match="Set basic_authentication: true"):
        parse_dhis2_credentials(json.dumps({"username": "a", "password": SECRET}), OAUTH2)


@pytest.mark.parametrize(
    ("text", "database"),
    [
        ("sqlite:///stock.sqlite", "stock.sqlite"),
        ("sqlite:////data/my stock?.sqlite", "/data/my stock?.sqlite"),
        ("sqlite:///C:/data/stock.sqlite", "C:/data/stock.sqlite"),
        (" SQLite:///a.b\n", "a.b"),
    ],
)
def test_a_sqlite_file_is_named_as_it_is(text: str, database: str) -> None:
    address = parse_database_address(text)
    assert (address.drivername, address.database, address.host) == ("sqlite", database, None)
    assert address.described == f"the SQLite file {database}"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "PostgreSQL"])
def test_the_names_that_postgresql_goes_by_are_one(scheme: str) -> None:
    assert parse_database_address(
        f"{scheme}://reader:{SECRET}@db.example.org:5433/omsupply"
    ) == DatabaseAddress(
        drivername="postgresql+psycopg",
        username="reader",
        password=Dhis2Credentials(username="x", password=SECRET).password,
        host="db.example.org",
        port=5433,
        database="omsupply",
    )


def test_the_port_of_postgresql_may_be_left_out() -> None:
    assert parse_database_address("postgresql://reader@db/omsupply").port == 5432
    assert parse_database_address(json.dumps({**RDS, "port": "5433"})).port == 5433
    assert (
        parse_database_address(json.dumps({name: RDS[name] for name in RDS if name != "port"})).port == 5432
    )


def test_the_json_of_rds_is_taken_as_it_is() -> None:
    address = parse_database_address(json.dumps(RDS | {"password": "p@ss/w%41?#:"}))
    assert (address.drivername, address.username) == ("postgresql+psycopg", "reader")
    assert (address.host, address.port, address.database) == ("db.example.org", 5433, "omsupply")
    assert secret_of(address) == "p@ss/w%41?#:"
    assert address.described == "the PostgreSQL database omsupply on db.example.org, port 5433"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1))
def test_any_password_can_be_encoded_in_an_address(password: str) -> None:
    address = parse_database_address(f"postgresql://reader:{quote(password, safe='')}@db/omsupply")
    assert secret_of(address) == password
    assert (address.username, address.host, address.database) == ("reader", "db", "omsupply")


def test_encryption_may_be_switched_off_for_a_database_on_ones_own_machine() -> None:
    address = parse_database_address("postgresql://reader@localhost/omsupply?sslmode=disable")
    assert dict(address.query) == {"sslmode": "disable"}
    assert address.password is None


def test_a_unix_socket_is_a_host() -> None:
    address = parse_database_address("postgresql://postgres:@/postgres?host=/var/run/postgresql")
    assert (address.host, address.port, dict(address.query)) == ("/var/run/postgresql", None, {})
    assert address.described == "the PostgreSQL database postgres on /var/run/postgresql"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is not filled in yet"),
        ("   ", "is not filled in yet"),
        (SECRET, "begins with neither"),
        (f"mysql://reader:{SECRET}@db/omsupply", "begins with neither"),
        (f"host=db password={SECRET}", "begins with neither"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:stock.sqlite", "names no file"),
        ("postgresql://", "names no user name, no host, no database"),
        (f"postgresql://reader:{SECRET}@/omsupply", "names no host"),
        (f"postgresql://reader:{SECRET}@db", "names no database"),
        (f"postgresql://:{SECRET}@db/omsupply", "names no user name"),
        (f"postgresql://reader:{SECRET}/x@db/omsupply", "encode special characters"),
        (f"postgresql://reader:1/{SECRET}@db/omsupply", "encode special characters"),
        (f"postgresql://reader:#{SECRET}@db/omsupply", "encode special characters"),
        (f"postgresql://reader:?{SECRET}@db/omsupply", "encode special characters"),
        (f"postgresql://reader:[{SECRET}@db/omsupply", "encode special characters"),
        (f"postgresql://reader:{SECRET}@db:0/omsupply", "port 0"),
        (f"postgresql://reader:{SECRET}@db:99999/omsupply", "cannot be read"),
        (f"postgresql://reader:{SECRET}@db/omsupply?password=x", "something other than sslmode or host"),
        (f"postgresql://reader:{SECRET}@db/omsupply?sslmode=no", "an sslmode that is none of disable, "),
        (f"postgresql://reader:{SECRET}@db/omsupply?host=other", "not the folder of a Unix socket"),
        ('{"password": "hunter2"', "is not JSON"),
        (json.dumps({"username": "reader", "password": SECRET}), "no text in its field(s) host, dbname"),
        (json.dumps(RDS | {"host": ""}), "no text in its field(s) host"),
        (json.dumps(RDS | {"password": 5}), "no text in its field(s) password"),
        (json.dumps(RDS | {"port": 0}), "port that is no number"),
        (json.dumps(RDS | {"port": SECRET}), "port that is no number"),
    ],
)
def test_an_address_of_another_form_is_refused_without_showing_it(text: str, part: str) -> None:
    message = refused_address(text)
    assert part in message
    for form in (
        "postgresql://user:password@host:5432/database",
        "sqlite:///",
        '"dbname"',
        "make credentials",
    ):
        assert form in message


@given(
    st.text() | st.text().map(lambda rest: f"postgresql://{rest}") | st.text().map(lambda rest: "{" + rest)
)
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        parse_database_address(text)
    except CredentialsError as error:
        message = str(error)
    else:
        return
    assert message.startswith("The secret with the address of mSupply's database ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*RDS, "client", "x"]), inner),
    max_leaves=8,
)


@given(JSON)
def test_any_json_is_credentials_and_an_address_or_refused(value: object) -> None:
    text = json.dumps(value)
    for parse in (parse_database_address, lambda text: parse_dhis2_credentials(text, BASIC)):
        try:
            parse(text)
        except CredentialsError as error:
            message = str(error)
            assert message.startswith("The secret with ")
