"""What a function reads before it works: its environment, the settings and the secrets.

Nothing is kept from one invocation to the next: an edited setting or a new password holds from the next
invocation on, without a deployment.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.errors import ConfigurationError, CredentialsError, SettingsError
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.settings.credentials import (
    DatabaseAddress,
    Dhis2Credentials,
    parse_database_address,
    parse_dhis2_credentials,
)

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_ssm import SSMClient


class Environment(BaseModel):
    """Environment variables of a function, as the template sets them: the fields' names in capitals."""

    # Each function builds its own only.
    model_config = ConfigDict(frozen=True, defer_build=True)

    settings_parameter: str
    table_name: str
    timezone: str
    queue_url: str
    bucket_name: str

    @classmethod
    def read(cls) -> Self:
        """Read the function's own environment; a ConfigurationError names all variables that are missing, blank or wrong."""
        given = {name: os.environ.get(name.upper(), "").strip() for name in cls.model_fields}
        try:
            return cls.model_validate({name: value for name, value in given.items() if value})
        except ValidationError as error:
            faults = ", ".join(f"{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())
            raise ConfigurationError(
                f"The function's environment is not as its template says ({faults}). Deploy the stack again with its "
                "template (make deploy)."
            ) from error


class RunsEnvironment(Environment):
    """What the functions are told that note what became of runs."""

    runs_table_name: str


class ComputeEnvironment(RunsEnvironment):
    """What compute is told by the template."""

    database_secret: str
    database_host: str = ""
    database_port: str = ""
    database_name: str = ""
    shard_queue_url: str
    failed_shard_queue_url: str
    lines_per_invocation: PositiveInt
    delta_table_name: str
    ordering_table_name: str
    push_log_group: str

    @property
    def database_server(self) -> dict[str, str]:
        """What the template's parameters say of the database's server, which may be nothing."""
        return {"host": self.database_host, "port": self.database_port, "dbname": self.database_name}


class PushEnvironment(RunsEnvironment):
    """What push is told by the template."""

    dhis2_secret: str
    dead_letter_queue_url: str
    delta_table_name: str
    ordering_table_name: str


class TestConnectionEnvironment(Environment):
    """What the connection test is told by the template."""

    __test__ = False  # no test of ours, whatever pytest makes of its name

    dhis2_secret: str
    compute_function: str


class WatchdogEnvironment(RunsEnvironment):
    """What the watchdog is told by the template."""

    dead_letter_queue_url: str
    alert_topic: str
    stack_name: str
    schedules_state: str
    monthly_schedule: str
    weekly_schedule: str
    daily_schedule: str
    first_day_of_month_schedule: str
    last_day_of_month_schedule: str


def read_settings(parameter_name: str, client: "SSMClient") -> Settings:
    """Read the settings from their SSM parameter; a SettingsError where there are none yet, or they have faults."""
    with aws_faults(f"reading the settings from the parameter {parameter_name}", client):
        try:
            value = client.get_parameter(Name=parameter_name, WithDecryption=True)["Parameter"]["Value"]
        except client.exceptions.ParameterNotFound as error:
            fault = (
                f"There are no settings yet: the parameter {parameter_name} does not exist. Fill in "
                "settings.yaml and run `make settings`, or run `aws ssm put-parameter --name "
                f"{parameter_name} --type String --tier Intelligent-Tiering --overwrite --value file://settings.yaml`."
            )
            raise SettingsError([fault]) from error
    return parse_settings(value)


def read_dhis2_credentials(
    secret_id: str, client: "SecretsManagerClient", settings: Settings, version: str | None = None
) -> Dhis2Credentials:
    """Read DHIS2's credentials from their secret, or from one of its versions that is not in force."""
    value, version = _read_secret(secret_id, client, "DHIS2's credentials", version)
    return parse_dhis2_credentials(value, settings, version=version)


def read_database_address(
    secret_id: str, client: "SecretsManagerClient", server: Mapping[str, str] | None = None
) -> DatabaseAddress:
    """Read the address of mSupply's database from its secret, and from the stack's parameters what it lacks."""
    value, _ = _read_secret(secret_id, client, "the address of mSupply's database")
    return parse_database_address(value, server)


def _read_secret(
    secret_id: str, client: "SecretsManagerClient", content: str, asked: str | None = None
) -> tuple[str, str]:
    """Return the secret's text, and the id of its version; a CredentialsError where there is none yet."""
    with aws_faults(f"reading the secret {secret_id}", client):
        try:
            secret = client.get_secret_value(SecretId=secret_id, **({"VersionId": asked} if asked else {}))
            value, version = secret.get("SecretString", ""), secret["VersionId"]
        except client.exceptions.ResourceNotFoundException as error:
            if asked:
                raise CredentialsError(
                    f"The secret {secret_id} no longer has the version with {content} that was to be tried. Type them again."
                ) from error
            # The same code for a secret without a value; AWS names the label of the value that is missing.
            if "AWSCURRENT" not in str(error):
                raise CredentialsError(
                    f"The secret {secret_id} with {content} does not exist. Deploy the stack again "
                    "(make deploy), which makes it, and run `make credentials`."
                ) from error
            value, version = "", ""
    if not value.strip():
        raise CredentialsError(
            f"The secret {secret_id} with {content} is not filled in yet. Run `make credentials`, which asks for "
            f"it, or run `aws secretsmanager put-secret-value --secret-id {secret_id} --secret-string "
            "file:///dev/stdin` and type it."
        )
    return value, version
