"""What AWS refuses, or does not answer, in words for people."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's, which Python's is not a base of
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)

from msupply_dhis2.errors import AwsBusyError, AwsRefusedError

if TYPE_CHECKING:
    from botocore.client import BaseClient

BUSY = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TransactionConflictException",
    }
)
"""With what DynamoDB refuses a call that it may take a moment later: it was too much at once, or a transaction is changing
the same item."""

_BUSY = BUSY | {"Throttling", "TooManyRequestsException", "RequestThrottled", "SlowDown"}
NOT_ALLOWED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
BAD_LOGIN = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"}
)
NOT_LOGGED_IN = (NoCredentialsError, PartialCredentialsError, TokenRetrievalError, SSOError)
_SERVER_FAULT = 500
LOG_IN = "Run `aws configure` or `aws sso login`, or set AWS_PROFILE, then try again."


@contextmanager
def aws_faults(doing: str, client: "BaseClient") -> Iterator[None]:
    """Say in words for people why AWS did not do something (``doing``: reading the secret …), and whose fault it is."""
    service, region = client.meta.service_model.endpoint_prefix, client.meta.region_name
    try:
        yield
    except (ConnectionError, HTTPClientError, IncompleteReadError) as error:
        raise AwsBusyError(
            f"AWS did not answer while {doing}. A function in private subnets needs a VPC endpoint for "
            f"com.amazonaws.{region}.{service}, or a NAT gateway: set the template's parameter that adds the "
            "endpoints, and let the security group out on port 443. On your own machine, check the internet connection."
        ) from error
    except NOT_LOGGED_IN as error:
        raise AwsRefusedError(f"AWS was not logged in to while {doing}. {LOG_IN}") from error
    except BotoCoreError as error:
        raise AwsRefusedError(f"AWS could not be called while {doing}: {error}") from error
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in BAD_LOGIN:
            raise AwsRefusedError(f"AWS does not accept the login while {doing}. {LOG_IN}") from error
        if code in NOT_ALLOWED:
            raise AwsRefusedError(
                f"AWS refused {doing} ({code}). In a function: deploy the stack again, whose roles allow it, and "
                "if the secret or parameter has a KMS key of its own, allow kms:Decrypt on it. On your own machine, "
                "ask the account's administrator for the right."
            ) from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        kind = AwsBusyError if code in _BUSY or status >= _SERVER_FAULT else AwsRefusedError
        raise kind(
            f"AWS answered with an error while {doing}: {error.response.get('Error', {}).get('Message', code)}"
        ) from error
