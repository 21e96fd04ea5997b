"""What AWS refuses, or does not answer, in words for people."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import (
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's, which Python's is not a base of
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)

from msupply_dhis2.errors import ConfigurationError

if TYPE_CHECKING:
    from botocore.client import BaseClient

_REFUSED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_BAD_LOGIN = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"}
)


@contextmanager
def aws_faults(doing: str, client: "BaseClient") -> Iterator[None]:
    """Say in words for people why AWS did not do something.

    Parameters
    ----------
    doing
        What was tried: ``reading the secret …``.
    client
        Whom it was asked of.

    Raises
    ------
    ConfigurationError
        AWS could not be reached, does not know who asks, or refused.
    """
    service, region = client.meta.service_model.endpoint_prefix, client.meta.region_name
    try:
        yield
    except (ConnectionError, HTTPClientError) as error:
        raise ConfigurationError(
            f"AWS did not answer while {doing}. A function in private subnets needs a VPC endpoint for "
            f"com.amazonaws.{region}.{service}, or a NAT gateway: set the template's parameter that adds the "
            "endpoints, and let the security group out on port 443. On one's own machine: is there an internet "
            "connection?"
        ) from error
    except (NoCredentialsError, PartialCredentialsError, TokenRetrievalError) as error:
        raise ConfigurationError(f"AWS was not logged in to while {doing}. {_LOG_IN}") from error
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _BAD_LOGIN:
            raise ConfigurationError(f"AWS does not accept the login while {doing}. {_LOG_IN}") from error
        if code in _REFUSED:
            raise ConfigurationError(
                f"AWS refused {doing} ({code}). In a function: deploy the stack again, whose roles allow it, and "
                "if the secret or parameter has a KMS key of its own, allow kms:Decrypt on it. On one's own "
                "machine: ask the account's administrator for the right."
            ) from error
        raise ConfigurationError(
            f"AWS answered with an error while {doing}: {error.response.get('Error', {}).get('Message', code)}"
        ) from error


_LOG_IN = "Run `aws configure` or `aws sso login`, or set AWS_PROFILE, then try again."
