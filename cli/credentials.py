"""The stack's secrets, filled in without showing them to anyone.

On a terminal hidden prompts ask for them, so that nothing is echoed or kept in the shell's history; from a
pipe the same answers are read, one a line.
"""

import getpass
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from cli.output import tell
from cli.settings import aws_client
from cli.tokens import is_token, require_token
from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import read_settings
from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.errors import ConfigurationError, CredentialsError, SettingsError
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import parse_database_address, parse_dhis2_credentials

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


def ask(question: str) -> str:
    """Ask a person at a hidden prompt; without a terminal read the next line."""
    return getpass.getpass(question) if sys.stdin.isatty() else _read_line(question)


def _read_line(question: str) -> str:
    line = sys.stdin.readline()
    if not line:
        raise CredentialsError(f"There is no line for '{question.strip().rstrip(':')}'. Nothing was written.")
    return line.rstrip("\r\n")


_IN_FORCE, _PENDING = "AWSCURRENT", "AWSPENDING"

BLANK = "blank-00000000-0000-0000-0000-000000000000"
"""The version of a secret that holds nothing yet."""

_STANDING_IN = {"username": "x", "password": "x", "client": "x"}
"""For what is asked later, while the answers so far are looked at."""


def asked_until_right(question: str, look: Callable[[str], object]) -> str:
    """Ask, and on a terminal ask again until the answer can be used: what was typed before is kept."""
    while True:
        answer = ask(question)
        try:
            look(answer)
        except CredentialsError as error:
            if not sys.stdin.isatty():
                raise
            tell(f"What you typed {error.fault}. Type it again.", logging.WARNING)
        else:
            return answer


def require_secret(name: str) -> None:
    """Make sure, before anything is typed, that AWS can be asked, and has a secret.

    Raises
    ------
    ConfigurationError, AwsError
        There is no such secret, or AWS is not logged in to.
    """
    client = aws_client(clients.secretsmanager)
    with _secret(name, client):
        try:
            client.describe_secret(SecretId=name)
        except ClientError as error:
            # Who may write secrets may not be allowed to look at them.
            if error.response["Error"]["Code"] != "AccessDeniedException":
                raise


def dhis2_secret(*, oauth2: bool) -> str | None:
    """Return the secret for DHIS2's login out of what is answered; ``None``: it is left as it is.

    Raises
    ------
    CredentialsError
        An answer is missing or wrong, and nobody can be asked again.
    """
    settings = Settings(use_dhis2=False, basic_authentication=not oauth2)
    answers: dict[str, str] = {}

    def typed(name: str, question: str) -> None:
        def look(answer: str) -> None:
            parse_dhis2_credentials(json.dumps({**_STANDING_IN, **answers, name: answer}), settings)

        answers[name] = asked_until_right(question, look)

    def look_at_first(answer: str) -> None:
        if is_token(answer.strip()):
            require_token(answer.strip())

    first = asked_until_right(
        "DHIS2 user name, or a personal access token (hidden; nothing: leave as it is): ", look_at_first
    )
    if not first:
        return None
    if is_token(first.strip()):
        return json.dumps({"token": first})
    answers["username"] = first
    typed("password", "DHIS2 password (hidden): ")
    if oauth2:
        typed("client", "DHIS2 OAuth2 client (hidden): ")
        typed("secret", "DHIS2 OAuth2 secret (hidden; may be nothing): ")
    return json.dumps({name: answer for name, answer in answers.items() if answer})


def database_address() -> str | None:
    """Return the address of mSupply's database as it is answered; ``None``: it is left as it is.

    Raises
    ------
    CredentialsError
        It is no address, and nobody can be asked again.
    """
    question = (
        "Address of mSupply's database, such as postgresql://user:password@host:5432/database "
        "(hidden; nothing: leave as it is): "
    )
    return asked_until_right(question, lambda answer: answer and parse_database_address(answer)) or None


def described(address: str) -> str:
    """Return which database an address leads to, without the password."""
    return parse_database_address(address).described


def write(name: str, value: str, client: "SecretsManagerClient | None" = None) -> None:
    """Put a value into a secret that the stack has.

    Raises
    ------
    ConfigurationError
        There is no such secret, or AWS does not take it.
    """
    client = client or aws_client(clients.secretsmanager)
    with _secret(name, client):
        client.put_secret_value(SecretId=name, SecretString=value)


class PendingSecret:
    """A value of a secret that is not in force: it is put there to be tried, and promoted or discarded afterwards."""

    def __init__(self, name: str, value: str, client: "SecretsManagerClient") -> None:
        self._name, self._client = name, client
        with _secret(name, client):
            if self._labelled(_IN_FORCE) is None:
                # The first version of all is in force at once, whatever is asked for; a blank is no login.
                client.put_secret_value(SecretId=name, SecretString=" ", ClientRequestToken=BLANK)
            put = client.put_secret_value(SecretId=name, SecretString=value, VersionStages=[_PENDING])
            self.version = put["VersionId"]

    def promote(self) -> None:
        """Put the value into force."""
        with _secret(self._name, self._client):
            before = self._labelled(_IN_FORCE)
            self._client.update_secret_version_stage(
                SecretId=self._name,
                VersionStage=_IN_FORCE,
                MoveToVersionId=self.version,
                **({"RemoveFromVersionId": before} if before else {}),
            )
        self.discard()

    def discard(self) -> None:
        """Have AWS forget the value, unless it is in force."""
        with _secret(self._name, self._client):
            # Whoever has typed another one meanwhile has taken the label.
            if self._labelled(_PENDING) == self.version:
                self._client.update_secret_version_stage(
                    SecretId=self._name, VersionStage=_PENDING, RemoveFromVersionId=self.version
                )

    def _labelled(self, label: str) -> str | None:
        versions = self._client.describe_secret(SecretId=self._name).get("VersionIdsToStages", {})
        return next((version for version, labels in versions.items() if label in labels), None)


@contextmanager
def _secret(name: str, client: "SecretsManagerClient") -> Iterator[None]:
    with aws_faults(f"asking for the secret {name}", client):
        try:
            yield
        except client.exceptions.ResourceNotFoundException as error:
            raise ConfigurationError(
                f"The secret {name} does not exist. Deploy the stack first (make deploy), which makes it, or name "
                "another stack with STACK=name. A stack with a DatabaseSecretArn of your own has no secret for the "
                "database: change yours."
            ) from error


def login_goes_in_clear_text(stack: str) -> bool:
    """Return whether the stack's settings, if it has any yet, send the login over plain HTTP."""
    try:
        settings = read_settings(f"/{stack}/settings", aws_client(clients.ssm))
    except SettingsError:
        return False
    return settings.sends_login_in_clear_text
