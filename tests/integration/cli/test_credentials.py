import io
import json
import os
import pty
import select
import subprocess
import sys
import zlib
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from cli.__main__ import main
from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import read_database_address, read_dhis2_credentials
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import Dhis2Credentials, LoginKind
from tests.conftest import Aws
from tests.support.paths import PROJECT

ADDRESS = "postgresql://reader:hunter3@db.example.org:5433/omsupply"


def answer(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def stored(aws: Aws, name: str) -> str | None:
    secret = aws.secretsmanager
    if not secret.list_secret_version_ids(SecretId=name)["Versions"]:
        return None
    return secret.get_secret_value(SecretId=name)["SecretString"]


def test_both_secrets(aws: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answer(monkeypatch, "admin", " hunter2 ", ADDRESS)
    assert main(["credentials", "--stack", "stack"]) == 0
    credentials = read_dhis2_credentials("stack/dhis2", aws.secretsmanager, Settings(use_dhis2=False))
    assert credentials == Dhis2Credentials(
        kind=LoginKind.BASIC,
        username="admin",
        password=SecretStr(" hunter2 "),
        version=credentials.version,
    )
    assert read_database_address("stack/database", aws.secretsmanager).host == "db.example.org"
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "That is the PostgreSQL database omsupply on db.example.org, port 5433.",
        "Written to the secret stack/dhis2.",
        "Written to the secret stack/database.",
    ]
    assert said.err == ""


def test_one_secret(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, ADDRESS)
    assert main(["credentials", "--stack", "stack", "--database"]) == 0
    assert (stored(aws, "stack/dhis2"), stored(aws, "stack/database")) == (None, ADDRESS)
    answer(monkeypatch, "admin", "hunter2")
    assert main(["credentials", "--stack", "stack", "--dhis2"]) == 0
    assert json.loads(stored(aws, "stack/dhis2") or "") == {"username": "admin", "password": "hunter2"}


def test_empty_answer(aws: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answer(monkeypatch, ADDRESS)
    main(["credentials", "--stack", "stack", "--database"])
    answer(monkeypatch, "admin", "hunter2", "")
    assert main(["credentials", "--stack", "stack"]) == 0
    assert stored(aws, "stack/database") == ADDRESS
    assert "The secret stack/database is unchanged." in capsys.readouterr().out


def test_client_for_oauth2_only(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "admin", "hunter2", "client", "")
    assert main(["credentials", "--stack", "stack", "--oauth2"]) == 0
    assert json.loads(stored(aws, "stack/dhis2") or "") == {
        "username": "admin",
        "password": "hunter2",
        "client": "client",
    }
    assert stored(aws, "stack/database") is None


def test_personal_access_token(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    token = f"d2pat_{'a' * 32}{zlib.crc32(b'a' * 32):010}"
    answer(monkeypatch, f" {token}", ADDRESS)
    assert main(["credentials", "--stack", "stack"]) == 0
    credentials = read_dhis2_credentials("stack/dhis2", aws.secretsmanager, Settings(use_dhis2=False))
    assert credentials.kind is LoginKind.TOKEN
    assert credentials.token == SecretStr(token)
    assert stored(aws, "stack/database") == ADDRESS


def test_client_required(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, "admin", "hunter2", "", "")
    assert main(["credentials", "--stack", "stack", "--oauth2"]) == 1
    assert "has no text in its field client" in capsys.readouterr().err
    assert stored(aws, "stack/dhis2") is None


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        (("admin", "", ADDRESS), "has no text in its field password"),
        (("d2pat_hunter2", ADDRESS), "not a personal access token: it has 7 characters"),
        (("admin", "hunter2", "mysql://hunter3@db"), "begins with neither sqlite:///"),
        (("admin", "hunter2"), "There is no line for 'Address of mSupply's database"),
    ],
)
def test_wrong_answer_writes_nothing(
    aws: Aws,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lines: tuple[str, ...],
    part: str,
) -> None:
    answer(monkeypatch, *lines)
    assert main(["credentials", "--stack", "stack"]) == 1
    said = capsys.readouterr()
    assert part in said.err
    assert "hunter" not in said.err + said.out
    assert (stored(aws, "stack/dhis2"), stored(aws, "stack/database")) == (None, None)


@pytest.mark.usefixtures("aws")
def test_stack_not_deployed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answer(monkeypatch, "admin", "hunter2", "")
    assert main(["credentials"]) == 1
    said = capsys.readouterr().err
    assert "The secret msupply-dhis2/dhis2 does not exist. Deploy the stack first" in said
    assert "STACK=name" in said


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)


def read_until(terminal: int, end: bytes) -> bytes:
    """Read what is shown up to some words; where the other side ends before them, the system raises."""
    shown = b""
    while end not in shown:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, f"waited in vain for {end!r} after {shown!r}"
        shown += os.read(terminal, 1000)
    return shown


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        (
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            "Run `aws configure` or `aws sso login`, or set AWS_PROFILE",
        ),
        (("AWS_DEFAULT_REGION", "AWS_REGION"), "Set AWS_REGION"),
    ],
)
@pytest.mark.usefixtures("aws")
def test_aws_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: tuple[str, ...], says: str
) -> None:
    for name in (*variables, "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nowhere")
    # It keeps the login that it found first.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    clients.secretsmanager.cache_clear()
    monkeypatch.setattr("cli.credentials.ask", lambda _: pytest.fail("It asked."))
    assert main(["credentials", "--stack", "stack"]) == 1
    assert says in capsys.readouterr().err
    clients.secretsmanager.cache_clear()


def test_mistyped_again(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    answers = iter(["d2pat_hunter2", "admin", "", "hunter2", "client", "", "hunter3.example.org", ADDRESS])

    def typed(question: str) -> str:
        asked.append(question.partition(" (")[0].partition(",")[0])
        return next(answers)

    monkeypatch.setattr("cli.credentials.ask", typed)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert main(["credentials", "--stack", "stack", "--oauth2", "--database"]) == 0
    assert asked == [
        *["DHIS2 user name"] * 2,
        *["DHIS2 password"] * 2,
        "DHIS2 OAuth2 client",
        "DHIS2 OAuth2 secret",
        *["Address of mSupply's database"] * 2,
    ]
    assert json.loads(stored(aws, "stack/dhis2") or "") == {
        "username": "admin",
        "password": "hunter2",
        "client": "client",
    }
    assert stored(aws, "stack/database") == ADDRESS
    said = capsys.readouterr().err
    assert "What you typed has no text in its field password. Type it again." in said
    assert "hunter" not in said


@pytest.fixture
def moto_url() -> Iterator[str]:
    """Where another process finds what this one has on moto."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_answers_stay_hidden(aws: Aws, moto_url: str, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    asking = subprocess.Popen(
        [sys.executable, "-m", "cli", "credentials", "--stack", "stack", "--dhis2"],
        cwd=PROJECT,
        env=os.environ | {"AWS_ENDPOINT_URL": moto_url, "PYTHONPATH": str(PROJECT / "layers" / "common")},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        shown = read_until(ours, b"access token (hidden; nothing: leave as it is): ")
        os.write(ours, b"hunter1\n")
        shown += read_until(ours, b"password (hidden): ")
        os.write(ours, b"hunter2\n")
        shown += read_until(ours, b"Written to the secret stack/dhis2.")
        assert asking.wait(timeout=60) == 0
    finally:
        asking.kill()
        asking.wait()
    assert b"hunter" not in shown
    assert json.loads(stored(aws, "stack/dhis2") or "") == {"username": "hunter1", "password": "hunter2"}
