"""``credentials``."""

import logging

import click

from cli.options import of_stack


@click.command(short_help="Fill in the stack's secrets at hidden prompts.")
@click.option(
    "--dhis2", is_flag=True, help="Ask only for the login of DHIS2: user name and password, or a token."
)
@click.option(
    "--oauth2",
    is_flag=True,
    help="Ask for the OAuth2 client and its secret too (Basic authentication is not ticked).",
)
@click.option("--database", is_flag=True, help="Ask only for the address of mSupply's database.")
@of_stack
def credentials(dhis2: bool, oauth2: bool, database: bool, stack: str) -> int:  # noqa: FBT001 - as click hands them
    """Fill in the stack's secrets at hidden prompts. Without an option it asks for all of them.

    Without a terminal it reads the same answers from standard input, one on each line.
    """
    from cli import credentials as secrets
    from cli.output import say, tell
    from msupply_dhis2.settings.model import PLAIN_HTTP_WARNING

    both = not (dhis2 or oauth2 or database)
    answers: dict[str, str | None] = {}
    secrets.require_secret(f"{stack}/database" if database and not (dhis2 or oauth2) else f"{stack}/dhis2")
    # All is asked and checked before anything is written.
    if dhis2 or oauth2 or both:
        answers[f"{stack}/dhis2"] = secrets.dhis2_secret(oauth2=oauth2)
    if database or both:
        address = answers[f"{stack}/database"] = secrets.database_address()
        if address:
            say(f"That is {secrets.described(address)}.")
    for name, value in answers.items():
        if value is None:
            say(f"The secret {name} is unchanged.")
        else:
            secrets.write(name, value)
            say(f"Written to the secret {name}.")
    if secrets.login_goes_in_clear_text(stack):
        tell(PLAIN_HTTP_WARNING, logging.WARNING)
    return 0
