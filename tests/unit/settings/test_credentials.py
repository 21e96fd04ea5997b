import json
import re
import traceback
from functools import partial
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from msupply_dhis2.errors import CredentialsError
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import (
    DatabaseAddress,
    Dhis2Credentials,
    LoginKind,
    parse_database_address,
    parse_dhis2_credentials,
)

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


TOKEN = f"d2pat_{SECRET}{'x' * 35}"


def refused_credentials(text: str, settings: Settings = BASIC) -> str:
    with pytest.raises(CredentialsError) as caught:
        parse_dhis2_credentials(text, settings)
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


def test_user_and_password() -> None:
    credentials = parse_dhis2_credentials(json.dumps({"username": "admin", "password": f" {SECRET} "}), BASIC)
    assert credentials.username == "admin"
    assert secret_of(credentials) == f" {SECRET} "
    assert (credentials.client, credentials.secret) == (None, None)


@pytest.mark.parametrize(
    "extra", [{"client": "", "secret": ""}, {"client": None}, {"client": 5, "secret": []}, {}]
)
def test_basic_ignores_client(extra: dict[str, object]) -> None:
    credentials = parse_dhis2_credentials(json.dumps({"username": "a", "password": SECRET} | extra), BASIC)
    assert (credentials.client, credentials.secret) == (None, None)


@pytest.mark.parametrize(
    ("secret", "kept"), [({"secret": f" {SECRET}"}, f" {SECRET}"), ({"secret": ""}, None), ({}, None)]
)
def test_oauth2_reads_client(secret: dict[str, str], kept: str | None) -> None:
    given = {"username": "admin", "password": SECRET, "client": "msupply"} | secret
    credentials = parse_dhis2_credentials(json.dumps(given), OAUTH2, version="7")
    assert (credentials.kind, credentials.user, credentials.client) == (LoginKind.OAUTH2, "admin", "msupply")
    assert (credentials.secret.get_secret_value() if credentials.secret else None) == kept
    assert credentials.version == "7"


@pytest.mark.parametrize("settings", [BASIC, OAUTH2])
def test_token_stands_alone(settings: Settings) -> None:
    credentials = parse_dhis2_credentials(json.dumps({"token": f" {TOKEN}\n", "username": ""}), settings)
    assert (credentials.kind, credentials.user) == (LoginKind.TOKEN, "the personal access token")
    assert credentials.token is not None
    assert credentials.token.get_secret_value() == TOKEN


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"token": 5}, "has no text in its field token"),
        ({"token": " "}, "has no text in its field token"),
        # A header of HTTP holds no line break, and what says so shows the header.
        (
            {"token": f"{TOKEN[:20]}\n{TOKEN[20:]}"},
            "a character in its field token that no personal access token has",
        ),
        ({"token": f"{TOKEN}\u2019"}, "a character in its field token"),
        ({"token": f"Token {TOKEN}"}, "a character in its field token"),
        ({"token": TOKEN, "username": "admin"}, "has a token and also username: two logins at once"),
        (
            {"token": TOKEN, "client": "c", "secret": SECRET},
            "has a token and also client, secret: two logins",
        ),
    ],
)
def test_unusable_token_stays_hidden(given: dict[str, object], part: str) -> None:
    assert part in refused_credentials(json.dumps(given))


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({}, "has no text in its field client, and OAuth2 needs a client: Basic authentication is off"),
        ({"client": " "}, "Set basic_authentication: true, or put the client"),
        ({"client": "c", "secret": 5}, "has no text in its field secret"),
    ],
)
def test_oauth2_missing_fields(given: dict[str, object], part: str) -> None:
    assert part in refused_credentials(json.dumps({"username": "a", "password": SECRET} | given), OAUTH2)


def test_fingerprint() -> None:
    basic = {"username": "a", "password": SECRET}
    client = basic | {"client": "c", "secret": "s"}
    given = [
        (basic, BASIC),
        (basic | {"username": "b"}, BASIC),
        (basic | {"password": "x"}, BASIC),
        (client, OAUTH2),
        (client | {"client": "d"}, OAUTH2),
        (client | {"secret": "t"}, OAUTH2),
        (client | {"secret": ""}, OAUTH2),
        ({"token": TOKEN}, BASIC),
        ({"token": f"{TOKEN}x"}, BASIC),
    ]
    prints = [parse_dhis2_credentials(json.dumps(one), settings).fingerprint for one, settings in given]
    assert len(set(prints)) == len(given)
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in prints)
    again = parse_dhis2_credentials(json.dumps(basic), BASIC, version="9")
    assert again.fingerprint == prints[0]


def test_repr_hides_secrets() -> None:
    credentials = parse_dhis2_credentials(
        json.dumps({"username": "admin", "password": SECRET, "client": "c", "secret": SECRET}), OAUTH2
    )
    with_token = parse_dhis2_credentials(json.dumps({"token": TOKEN}), BASIC)
    address = parse_database_address(f"postgresql://reader:{SECRET}@db.example.org/omsupply")
    for shown in (
        repr(credentials),
        str(credentials),
        credentials.model_dump_json(),
        repr(with_token),
        with_token.model_dump_json(),
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
def test_other_form_stays_hidden(text: str, part: str) -> None:
    message = refused_credentials(text)
    assert part in message
    assert "make credentials" in message


@pytest.mark.parametrize(
    ("text", "database"),
    [
        ("sqlite:///stock.sqlite", "stock.sqlite"),
        ("sqlite:////data/my stock?.sqlite", "/data/my stock?.sqlite"),
        ("sqlite:///C:/data/stock.sqlite", "C:/data/stock.sqlite"),
        (" SQLite:///a.b\n", "a.b"),
    ],
)
def test_sqlite_file(text: str, database: str) -> None:
    address = parse_database_address(text)
    assert (address.drivername, address.database, address.host) == ("sqlite", database, None)
    assert address.described == f"the SQLite file {database}"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "PostgreSQL"])
def test_postgresql_schemes(scheme: str) -> None:
    assert parse_database_address(
        f"{scheme}://reader:{SECRET}@db.example.org:5433/omsupply"
    ) == DatabaseAddress(
        drivername="postgresql+psycopg",
        username="reader",
        password=SecretStr(SECRET),
        host="db.example.org",
        port=5433,
        database="omsupply",
    )


def test_default_port() -> None:
    assert parse_database_address("postgresql://reader@db/omsupply").port == 5432
    assert parse_database_address(json.dumps({**RDS, "port": "5433"})).port == 5433
    assert (
        parse_database_address(json.dumps({name: RDS[name] for name in RDS if name != "port"})).port == 5432
    )


def test_rds_json() -> None:
    address = parse_database_address(json.dumps(RDS | {"password": "p@ss/w%41?#:"}))
    assert (address.drivername, address.username) == ("postgresql+psycopg", "reader")
    assert (address.host, address.port, address.database) == ("db.example.org", 5433, "omsupply")
    assert secret_of(address) == "p@ss/w%41?#:"
    assert address.described == "the PostgreSQL database omsupply on db.example.org, port 5433"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1))
def test_encoded_password(password: str) -> None:
    address = parse_database_address(f"postgresql://reader:{quote(password, safe='')}@db/omsupply")
    assert secret_of(address) == password
    assert (address.username, address.host, address.database) == ("reader", "db", "omsupply")


def test_rds_with_parameters() -> None:
    managed = json.dumps({"username": "reader", "password": "p@ss/w"})
    server = {"host": "db.example.org", "port": "5433", "dbname": "omsupply"}
    address = parse_database_address(managed, server)
    assert address.described == "the PostgreSQL database omsupply on db.example.org, port 5433"
    assert (address.username, secret_of(address)) == ("reader", "p@ss/w")
    assert parse_database_address(managed, server | {"port": ""}).port == 5432
    own = parse_database_address(json.dumps(RDS | {"engine": "postgres"}), server)
    assert own == parse_database_address(json.dumps(RDS))


def test_local_without_encryption() -> None:
    address = parse_database_address("postgresql://reader@localhost/omsupply?sslmode=disable")
    assert dict(address.query) == {"sslmode": "disable"}
    assert address.password is None


def test_unix_socket() -> None:
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
        (f"postgresql://reader:x@y/{SECRET}@db/omsupply", "such as @ as %40"),
        (f"postgresql://reader:1/{SECRET}@db/omsupply", "encode special characters"),
        (f"postgresql://reader:#{SECRET}@db/omsupply", "encode special characters"),
        (f"postgresql://reader:?{SECRET}@db/omsupply", "encode special characters"),
        (f"postgresql://reader:[{SECRET}@db/omsupply", "encode special characters"),
        (f"postgresql://reader:{SECRET}@db:0/omsupply", "cannot be read"),
        (f"postgresql://reader:{SECRET}@db:99999/omsupply", "cannot be read"),
        (f"postgresql://reader:{SECRET}@db/omsupply?password=x", "something after the '?' other than"),
        (f"postgresql://reader:{SECRET}@db/omsupply?sslmode=no", "or an sslmode, one of disable, "),
        (
            f"postgresql://reader:{SECRET}@db/omsupply?host=other",
            "other than host=/folder (of a Unix socket)",
        ),
        ('{"password": "hunter2"', "is not JSON"),
        (
            json.dumps({"username": "reader", "password": SECRET}),
            "nor in the stack's parameters DatabaseHost, DatabaseName: make deploy",
        ),
        (
            json.dumps(RDS | {"host": ""}),
            "no text in its field host, nor in the stack's parameters DatabaseHost",
        ),
        (json.dumps(RDS | {"engine": "mysql"}), "another kind of database"),
        (json.dumps(RDS | {"engine": "aurora-mysql"}), "another kind of database"),
        (
            json.dumps(RDS | {"password": 5, "username": ""}),
            "no text in its field username nor in its field password",
        ),
        (json.dumps(RDS | {"port": 0}), "port that is not a number"),
        (json.dumps(RDS | {"port": SECRET}), "port that is not a number"),
    ],
)
def test_other_address_stays_hidden(text: str, part: str) -> None:
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
def test_any_text(text: str) -> None:
    try:
        parse_database_address(text)
    except CredentialsError as error:
        message = str(error)
    else:
        return
    assert message.startswith("The secret with the address of mSupply's database ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from([*RDS, "client", "secret", "token", "x"]), inner)
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_json(value: object) -> None:
    text = json.dumps(value)
    for parse in (
        parse_database_address,
        *(partial(parse_dhis2_credentials, settings=settings) for settings in (BASIC, OAUTH2)),
    ):
        try:
            parse(text)  # type: ignore[operator] # mypy has no type for what the two have in common
        except CredentialsError as error:
            message = str(error)
            assert message.startswith("The secret with ")
