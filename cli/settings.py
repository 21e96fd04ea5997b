"""The settings document: checked, and uploaded to the stack's parameter.

Nothing else makes or changes the parameter: a deployment never overwrites the settings.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError

from cli.options import not_utf8
from cli.schema import json_schema
from msupply_dhis2.aws import clients
from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.errors import ConfigurationError, SettingsError
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.text import count

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

STANDARD_BYTES = 4_096
ADVANCED_BYTES = 8_192


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
            f"AWS cannot be called: {error} Set AWS_REGION, and AWS_PROFILE if you use profiles."
        ) from error


def schema_text() -> str:
    """Return the JSON Schema of the settings document as it stands in ``settings.schema.json``."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True)
class Checked:
    """Settings that hold; while Use DHIS2 is off they may still lack something."""

    file: Path | str
    settings: Settings

    def lines(self) -> Iterator[str]:
        """Yield what there is to say of them."""
        if faults := self.settings.complete_faults():
            yield f"{self.file} is valid while Use DHIS2 is off. Before it can be on, and for a dry run:"
            yield from (f"  - {fault}" for fault in faults)
        else:
            yield f"{self.file} is complete: {_summary(self.settings)}"
        yield from (f"Warning: {warning}" for warning in self.settings.warnings())


def check(file: Path) -> Checked:
    """Read the settings.

    Raises
    ------
    SettingsError, ConfigurationError
        They have faults, or the file cannot be read.
    """
    return Checked(file, parse_settings(_read(file)))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(not_utf8(file, error)) from error
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read ({error.strerror}). Copy the sample settings.yaml there and fill it in, or "
            "name another file."
        ) from error


def _summary(settings: Settings) -> str:
    metrics = ", ".join(dict.fromkeys(row.metric.label for row in settings.active_rows))
    rows = count(len(settings.active_rows), "active row")
    ticks = (
        ""
        if settings.include_field
        else " Include in DHIS2 data push (include_field) is not set: all items with an identifier are sent."
    )
    switch = "" if settings.use_dhis2 else " Use DHIS2 is off: nothing is sent yet."
    return (
        f"Setup is '{settings.setup.label}', {rows} ({metrics}), into data set {settings.data_set_id} at "
        f"{settings.url}, periods {settings.period_format}.{ticks}{switch}"
    )


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The settings as they lie in the parameter now."""

    parameter: str
    size: int
    version: int

    @property
    def is_advanced(self) -> bool:
        """Whether AWS charges for the parameter."""
        return self.size > STANDARD_BYTES

    def lines(self) -> Iterator[str]:
        """Yield what there is to say of it."""
        yield (
            f"Uploaded to the parameter {self.parameter}: {self.size:,} bytes, version {self.version}. The next run "
            "uses it."
        )
        if self.version == 1:
            # Whoever has mistyped a stack's name sees it nowhere else.
            yield (
                f"This is the first version: {self.parameter} did not exist before. If you wanted to change the settings of "
                "another stack, these are unchanged. Name that stack with STACK=name."
            )
        if self.is_advanced:
            yield (
                f"More than {STANDARD_BYTES:,} bytes make it an advanced parameter, for which AWS charges about 0.05 US "
                "dollars a month. It stays one until it is deleted."
            )


def upload(checked: Checked, parameter: str, client: "SSMClient | None" = None) -> Uploaded:
    """Put the settings into their SSM parameter.

    Raises
    ------
    SettingsError, ConfigurationError
        A part of them cannot be read, they are too large, or AWS does not take them.
    """
    settings = checked.settings
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
    client = client or aws_client(clients.ssm)
    with aws_faults(f"writing the settings to the parameter {parameter}", client):
        # "Intelligent" keeps a small document in the standard tier, and does not fail where the parameter was
        # advanced before: AWS never takes that back.
        version = client.put_parameter(
            Name=parameter,
            Description="Settings of msupply-dhis2: the DHIS2 tab. Edit settings.yaml and run make settings.",
            Value=document,
            Type="String",
            Overwrite=True,
            Tier="Advanced" if size > STANDARD_BYTES else "Intelligent-Tiering",
        )["Version"]
    return Uploaded(parameter, size, version)
