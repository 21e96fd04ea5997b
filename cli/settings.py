"""``python -m cli.settings``: check the settings document and upload it.

Nothing else makes or changes the parameter: a deployment never overwrites the settings.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError

from cli.schema import json_schema
from msupply_dhis2.aws import clients
from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.errors import ConfigurationError, MsupplyDhis2Error, SettingsError
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.text import count

STACK = "msupply-dhis2"
"""The name that the stack has where no other is given."""

STANDARD_BYTES = 4_096
ADVANCED_BYTES = 8_192


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code: 0 where all is well, 1 where the settings have faults."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "schema":
                sys.stdout.write(schema_text())
            case "upload":
                _upload(options.file, options.parameter or f"/{options.stack}/settings")
            case _:
                _check(options.file)
    except SettingsError as error:
        sys.stderr.write(f"{options.file} has {count(len(error.faults), 'fault')}:\n")
        sys.stderr.writelines(f"  - {fault}\n" for fault in error.faults)
        return 1
    except MsupplyDhis2Error as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def aws_client[Client](make: Callable[[], Client]) -> Client:
    """Make a client of an AWS service.

    Raises
    ------
    ConfigurationError
        This machine does not say which region or profile of AWS is meant.
    """
    try:
        return make()
    except BotoCoreError as error:
        raise ConfigurationError(
            f"AWS cannot be asked: {error} Set AWS_REGION, and AWS_PROFILE if need be."
        ) from error


def schema_text() -> str:
    """Return the JSON Schema of the settings document as it stands in ``settings.schema.json``."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cli.settings", description="The settings document.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="say whether the settings are complete")
    commands.add_parser("schema", help="print the JSON Schema of the document, for editors")
    upload = commands.add_parser("upload", help="check the settings and put them into their SSM parameter")
    for command in (check, upload):
        command.add_argument("file", nargs="?", type=Path, default=Path("settings.yaml"), metavar="FILE")
    where = upload.add_mutually_exclusive_group()
    where.add_argument("--parameter", metavar="NAME", help="the parameter's name")
    where.add_argument("--stack", default=STACK, help=f"the stack whose settings they are ({STACK})")
    return parser


def _check(file: Path) -> Settings:
    settings = parse_settings(_read(file))
    if faults := settings.complete_faults():
        _say(f"{file} is valid while Use DHIS2 is off. Before it can be on, and for a dry run:")
        _say(*(f"  - {fault}" for fault in faults))
    else:
        _say(f"{file} is complete: {_summary(settings)}")
    _say(*(f"Warning: {warning}" for warning in settings.warnings()))
    return settings


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not text in UTF-8. Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read ({error.strerror}). Copy the sample settings.yaml there and fill it in, or "
            "name another file."
        ) from error


def _summary(settings: Settings) -> str:
    metrics = ", ".join(dict.fromkeys(row.metric.label for row in settings.active_rows))
    rows = count(len(settings.active_rows), "active row")
    switch = "" if settings.use_dhis2 else " Use DHIS2 is off: nothing is sent yet."
    return (
        f"Setup is '{settings.setup.label}', {rows} ({metrics}), into data set {settings.data_set_id} on "
        f"{urlsplit(settings.url).hostname}, periods {settings.period_format}.{switch}"
    )


def _upload(file: Path, parameter: str) -> None:
    settings = _check(file)
    if settings.misread:
        # What could not be read would be missing from what is uploaded.
        raise SettingsError(settings.misread)
    document = settings.compact()
    size = len(document.encode())
    if size > ADVANCED_BYTES:
        raise ConfigurationError(
            f"Nothing was uploaded: the settings have {size:,} bytes, and a parameter holds {ADVANCED_BYTES:,}. "
            "Leave out inactive rows and, if it is there, all of Database CA certificate that is not needed."
        )
    advanced = size > STANDARD_BYTES
    client = aws_client(clients.ssm)
    with aws_faults(f"writing the settings to the parameter {parameter}", client):
        # "Intelligent" keeps a small document in the standard tier, and does not fail where the parameter was
        # advanced before: AWS never takes that back.
        version = client.put_parameter(
            Name=parameter,
            Description="Settings of msupply-dhis2: the DHIS2 tab. Edit settings.yaml and run make settings.",
            Value=document,
            Type="String",
            Overwrite=True,
            Tier="Advanced" if advanced else "Intelligent-Tiering",
        )["Version"]
    _say(
        f"Uploaded to the parameter {parameter}: {size:,} bytes, version {version}. It holds from the next run on."
    )
    if version == 1:
        # Whoever has mistyped a stack's name sees it nowhere else.
        _say(
            f"It is the first version: nothing was at {parameter} before. If there is a stack whose settings you meant to "
            "change, they are as they were: name it with STACK=name."
        )
    if advanced:
        _say(
            f"More than {STANDARD_BYTES:,} bytes make it an advanced parameter, for which AWS charges about 0.05 US "
            "dollars a month. It stays one until it is deleted."
        )


def _say(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
