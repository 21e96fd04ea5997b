"""The stack's secrets, filled in without showing them to anyone.

On a terminal hidden prompts ask for them, so that nothing is echoed or kept in the shell's history; from a
pipe the same answers are read, one a line.
"""

import getpass
import json
import sys
from collections.abc import Callable

from cli.settings import aws_client
from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import read_settings
from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.errors import ConfigurationError, CredentialsError, SettingsError
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import is_token, parse_database_address, parse_dhis2_credentials

type Ask = Callable[[str], str]


def ask(question: str) -> str:
    """Ask a person at a hidden prompt; without a terminal read the next line."""
    return getpass.getpass(question) if sys.stdin.isatty() else _read_line(question)


def _read_line(question: str) -> str:
    line = sys.stdin.readline()
    if not line:
        raise CredentialsError(f"No line was left for '{question.strip().rstrip(':')}'; nothing was written.")
    return line.rstrip("\r\n")


def dhis2_secret(ask: Ask, *, oauth2: bool) -> str | None:
    """Return the secret for DHIS2's login out of what is answered; ``None``: it is left as it is.

    Raises
    ------
    CredentialsError
        An answer is missing or wrong.
    """
    first = ask("DHIS2 user name, or a personal access token (hidden; nothing: leave as it is): ")
    if not first:
        return None
    if is_token(first.strip()):
        answers = {"token": first}
    else:
        answers = {"username": first, "password": ask("DHIS2 password (hidden): ")}
        if oauth2:
            answers |= {
                "client": ask("DHIS2 OAuth2 client (hidden): "),
                "secret": ask("DHIS2 OAuth2 secret (hidden; may be nothing): "),
            }
    secret = json.dumps({name: answer for name, answer in answers.items() if answer})
    parse_dhis2_credentials(secret, Settings(use_dhis2=False, basic_authentication=not oauth2))
    return secret


def database_address(ask: Ask) -> str | None:
    """Return the address of mSupply's database as it is answered; ``None``: it is left as it is.

    Raises
    ------
    CredentialsError
        It is no address.
    """
    address = ask(
        "Address of mSupply's database, such as postgresql://user:password@host:5432/database "
        "(hidden; nothing: leave as it is): "
    )
    if address:
        parse_database_address(address)
    return address or None


def described(address: str) -> str:
    """Return which database an address leads to, without the password."""
    return parse_database_address(address).described


def write(name: str, value: str) -> None:
    """Put a value into a secret that the stack has.

    Raises
    ------
    ConfigurationError
        There is no such secret, or AWS does not take it.
    """
    client = aws_client(clients.secretsmanager)
    with aws_faults(f"writing the secret {name}", client):
        try:
            client.put_secret_value(SecretId=name, SecretString=value)
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
