"""``python -m cli.credentials``: fill in the stack's secrets without showing them to anyone.

On a terminal it asks with hidden prompts, so that nothing is echoed or kept in the shell's history; from a
pipe it reads the same answers, one a line.
"""

import argparse
import getpass
import json
import sys
from collections.abc import Callable, Sequence

from cli.settings import STACK, aws_client
from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import read_settings
from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.errors import ConfigurationError, CredentialsError, MsupplyDhis2Error, SettingsError
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import is_token, parse_database_address, parse_dhis2_credentials
from msupply_dhis2.settings.model import PLAIN_HTTP_WARNING

_Ask = Callable[[str], str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask for the secrets, put them into Secrets Manager, and give the exit code: 1 where nothing was written."""
    options = _parser().parse_args(arguments)
    ask: _Ask = getpass.getpass if sys.stdin.isatty() else _read_line
    both = not (options.dhis2 or options.oauth2 or options.database)
    secrets = {}
    try:
        # All is asked and checked before anything is written.
        if options.dhis2 or options.oauth2 or both:
            secrets[f"{options.stack}/dhis2"] = _ask_dhis2_credentials(ask, oauth2=options.oauth2)
        if options.database or both:
            secrets[f"{options.stack}/database"] = _ask_database_address(ask)
        for name, value in secrets.items():
            _write(name, value)
        _warn_of_plain_http(options.stack)
    except MsupplyDhis2Error as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nGiven up.\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cli.credentials",
        description="Fill in the stack's secrets. Asks for all where nothing is chosen.",
    )
    parser.add_argument(
        "--dhis2", action="store_true", help="ask for DHIS2's user name and password, or a token"
    )
    parser.add_argument(
        "--oauth2", action="store_true", help="ask for client and secret too (without basic authentication)"
    )
    parser.add_argument("--database", action="store_true", help="ask for the address of mSupply's database")
    parser.add_argument("--stack", default=STACK, help=f"the stack whose secrets they are ({STACK})")
    return parser


def _read_line(question: str) -> str:
    line = sys.stdin.readline()
    if not line:
        raise CredentialsError(f"No line was left for '{question.strip().rstrip(':')}'; nothing was written.")
    return line.rstrip("\r\n")


def _ask_dhis2_credentials(ask: _Ask, *, oauth2: bool) -> str | None:
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


def _ask_database_address(ask: _Ask) -> str | None:
    address = ask(
        "Address of mSupply's database, such as postgresql://user:password@host:5432/database "
        "(hidden; nothing: leave as it is): "
    )
    if not address:
        return None
    sys.stdout.write(f"That is {parse_database_address(address).described}.\n")
    return address


def _write(name: str, value: str | None) -> None:
    if value is None:
        sys.stdout.write(f"The secret {name} was left as it is.\n")
        return
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
    sys.stdout.write(f"Written to the secret {name}.\n")


def _warn_of_plain_http(stack: str) -> None:
    """Warn where the stack's settings, if it has any yet, send the login in clear text."""
    try:
        settings = read_settings(f"/{stack}/settings", aws_client(clients.ssm))
    except SettingsError:
        return
    if settings.sends_login_in_clear_text:
        sys.stderr.write(f"{PLAIN_HTTP_WARNING}\n")


if __name__ == "__main__":
    sys.exit(main())
