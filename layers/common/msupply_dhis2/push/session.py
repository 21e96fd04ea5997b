"""A session with DHIS2 that push keeps between batches, and its patience with a proxy that limits the rate."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from msupply_dhis2.dhis2.client import Answer, TalksToDhis2
from msupply_dhis2.dhis2.deadline import wait_for
from msupply_dhis2.dhis2.import_request import Schemes
from msupply_dhis2.dhis2.importer import AdaptiveBatchSize
from msupply_dhis2.dhis2.parsing import Query
from msupply_dhis2.dhis2.validation import Validator
from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.domain.choices import OptionComboField
from msupply_dhis2.errors import Dhis2RateLimitedError

READING_SECONDS = 60.0
"""With less time left nothing is read: it might be cut off together with all that was not told yet."""

_MOMENT_SECONDS = 20.0
"""So long at most a proxy that limits the rate is waited for; for longer a message goes back to the queue."""


class _PatientClient:
    """Makes a call once more where a proxy that limits the rate asks to wait for a moment.

    Meanwhile nothing else is taken off the queue. Messages that went back at once would come again and again, and keep
    each other from getting through.
    """

    def __init__(self, client: TalksToDhis2, pause: Callable[[float], None]) -> None:
        self.seconds_left: Callable[[], float] = lambda: float("inf")
        self._client = client
        self._pause = pause

    def get(self, path: str, params: Query | None = None) -> object:
        try:
            return self._client.get(path, params)
        except Dhis2RateLimitedError as error:
            self._wait(error)
        return self._client.get(path, params)

    def post_data_values(
        self,
        body: Mapping[str, object],
        params: Mapping[str, str] | None = None,
        *,
        read_timeout: float | None = None,
    ) -> Answer:
        try:
            return self._client.post_data_values(body, params, read_timeout=read_timeout)
        except Dhis2RateLimitedError as error:
            waited = self._wait(error)
        left = None if read_timeout is None else max(read_timeout - waited, 1.0)
        return self._client.post_data_values(body, params, read_timeout=left)

    def _wait(self, error: Dhis2RateLimitedError) -> float:
        wait = wait_for(error, min(_MOMENT_SECONDS, self.seconds_left() - READING_SECONDS))
        if wait is None:
            raise error
        self._pause(wait)
        return wait


@dataclass(slots=True)
class Dhis2Session:
    """What is kept of one server between batches: the client's session, metadata and batch size."""

    client: TalksToDhis2
    batch_size: AdaptiveBatchSize = field(default_factory=AdaptiveBatchSize)
    pause: Callable[[float], None] = time.sleep
    failed_reads: int = 0
    """How often in a row the stored values could not be read because DHIS2 failed or gave no answer."""
    patient: _PatientClient = field(init=False)
    _validators: dict[object, Validator] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.patient = _PatientClient(self.client, self.pause)

    def validator(self, batch: Batch, option_combo_field: OptionComboField) -> Validator:
        """Return what knows the metadata of the batch's data set."""
        kind = (batch.data_set_id, schemes_of(batch), option_combo_field)
        if kind not in self._validators:
            self._validators[kind] = Validator(
                self.patient,
                data_set_id=batch.data_set_id,
                schemes=schemes_of(batch),
                option_combo_field=option_combo_field,
            )
        return self._validators[kind]


def schemes_of(batch: Batch) -> Schemes:
    """Return what the identifiers of a batch are."""
    return Schemes(
        data_set=batch.data_set_id_scheme,
        data_element=batch.data_element_id_scheme,
        org_unit=batch.org_unit_scheme,
        option_combo=batch.option_combo_scheme,
    )
