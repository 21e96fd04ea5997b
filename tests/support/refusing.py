"""AWS that refuses calls for a while, as moto never does; botocore hears it as it hears AWS, and tries again as it does."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.client import BaseClient
from botocore.compat import HTTPHeaders


class _Body(io.BytesIO):
    def stream(self) -> Iterator[bytes]:
        """Yield it as urllib3 does."""
        yield self.read()


@dataclass
class Refused:
    """How often a call was refused, and how often it was let through."""

    refusals: int = 0
    calls: int = 0


@contextmanager
def refusing(
    client: BaseClient,
    operation: str,
    code: str,
    times: int,
    status: int = 400,
    body: Mapping[str, object] | None = None,
) -> Iterator[Refused]:
    """Have the service answer the first so many calls of an operation with an error."""
    refused = Refused()

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        if refused.refusals == times:
            refused.calls += 1
            return None
        refused.refusals += 1
        said = json.dumps({"__type": code, "message": f"{code} was said.", **(body or {})}).encode()
        headers = HTTPHeaders()
        headers["x-amzn-errortype"] = code
        return AWSResponse(request.url, status, headers, _Body(said))

    event = f"before-send.{client.meta.service_model.service_id.hyphenize()}.{operation}"
    client.meta.events.register(event, answer)  # type: ignore[arg-type]  # it answers
    try:
        yield refused
    finally:
        client.meta.events.unregister(event, answer)  # type: ignore[arg-type]  # it answers
