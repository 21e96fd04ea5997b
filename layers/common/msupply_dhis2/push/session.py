"""A session with DHIS2 that push keeps between batches."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from msupply_dhis2.dhis2.client import TalksToDhis2
from msupply_dhis2.dhis2.import_request import Schemes
from msupply_dhis2.dhis2.importer import AdaptiveBatchSize
from msupply_dhis2.dhis2.validation import Validator
from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.domain.choices import OptionComboField

READING_SECONDS = 60.0
"""With less time left nothing is read: it might be cut off together with all that was not told yet."""


@dataclass(slots=True)
class Dhis2Session:
    """What is kept of one server between batches: the client's session, metadata and batch size."""

    client: TalksToDhis2
    batch_size: AdaptiveBatchSize = field(default_factory=AdaptiveBatchSize)
    pause: Callable[[float], None] = time.sleep
    failed_reads: int = 0
    """How often in a row the stored values could not be read because DHIS2 failed or gave no answer."""
    _validators: dict[object, Validator] = field(default_factory=dict)

    def validator(self, batch: Batch, option_combo_field: OptionComboField) -> Validator:
        """Return what knows the metadata of the batch's data set."""
        kind = (batch.data_set_id, schemes_of(batch), option_combo_field)
        if kind not in self._validators:
            self._validators[kind] = Validator(
                self.client,
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
