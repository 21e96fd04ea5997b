"""Asks the questions of the preflight one after the other, each on its own."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import partial

from msupply_dhis2.dhis2.client import PostsDataValues
from msupply_dhis2.dhis2.deadline import Deadline
from msupply_dhis2.dhis2.import_request import UIDS, Schemes, request_body, request_parameters
from msupply_dhis2.dhis2.metadata import (
    find_approved,
    find_category_options,
    find_data_elements,
    find_org_units,
    list_data_sets,
    read_data_set,
    read_server,
    read_system_setting,
)
from msupply_dhis2.dhis2.metadata_cache import MetadataCache
from msupply_dhis2.dhis2.models import DataElement, DataSet, Identified, OrgUnit, Server, User
from msupply_dhis2.dhis2.parsing import ReadsDhis2
from msupply_dhis2.dhis2.period_rules import PeriodRules
from msupply_dhis2.domain.mapped import MappedNames
from msupply_dhis2.errors import Dhis2Error, Dhis2TransientError
from msupply_dhis2.periods import Basis, Period, Window
from msupply_dhis2.preflight import approval, category_options, counterparts, data_elements, option_combos
from msupply_dhis2.preflight.access import (
    ADD_DATA_VALUES,
    NEWEST,
    TRIAL,
    check_authority,
    check_data_set,
    check_import_settings,
    check_reach,
    check_server,
    check_trial,
    check_write_access,
)
from msupply_dhis2.preflight.check import Check, failed, noted
from msupply_dhis2.preflight.counterparts import ITEMS, STORES, Kind, Subject, mapped_items, mapped_stores
from msupply_dhis2.preflight.facts import Matched, Use, match, uses_by_prefix, uses_of_mapped
from msupply_dhis2.preflight.periods import FORMAT, check_open, check_period_format, open_name
from msupply_dhis2.settings import Scheme, Settings
from msupply_dhis2.text import joined

REQUIRED_COMBOS = {
    "keyDataImportRequireCategoryOptionCombo": "'Require category option combo'",
    "keyDataImportRequireAttributeOptionCombo": "'Require attribute option combo'",
}
"""System settings that refuse values without option combos, up to 2.42."""

LOOKED_UP = 300
"""How many stores' or items' identifiers that the data set does not have are looked for elsewhere in DHIS2."""


class Preflight:
    """Checks what a push needs beside the connection.

    Parameters
    ----------
    client, poster
        Logged in; the one reads, the other posts with the same login.
    settings
        As far as they can be read; where they are not complete, only what does not depend on them is asked.
    windows
        Of each basis that an active row uses, for a run now; none where the settings are not complete.
    today
        The date, in case that the server does not tell its own.

    Attributes
    ----------
    not_asked
        The names of the checks that a failure has left without sense.
    server
        The server, as far as it could be read.
    """

    def __init__(
        self,
        client: ReadsDhis2,
        poster: PostsDataValues,
        settings: Settings,
        user: User,
        windows: Mapping[Basis, Window],
        deadline: Deadline,
        today: date,
    ) -> None:
        self.checks: list[Check] = []
        self.not_asked: list[str] = []
        self.server: Server | None = None
        self._client = client
        self._poster = poster
        self._settings = settings
        self._user = user
        self._windows = windows
        self._deadline = deadline
        self._today = today
        self._data_set: DataSet | None = None
        self._times: PeriodRules | None = None
        self._org_units: tuple[OrgUnit, ...] = ()

    def ask_dhis2(self) -> None:
        """Check what DHIS2 alone decides: version, authority, data set, periods."""
        self._ask_server()
        self.checks.append(check_authority(self._user))
        if self._settings.data_set_id:
            self._ask_data_set()
        else:
            self.not_asked.append("data set")
        if self._data_set is None:
            self.not_asked.append("write access")
        else:
            self.checks.append(check_write_access(self._data_set, self._user))
        if self._settings.data_set_id:
            self._try_a_call()
        else:
            self.not_asked.append(TRIAL)
        self._check_periods()

    def _ask_server(self) -> None:
        try:
            self.server = self._deadline.ask(lambda: read_server(self._client))
        except Dhis2Error as error:
            self.checks.append(failed("server", str(error)))
            return
        self.checks.append(check_server(self.server))
        self._today = self.server.server_date.date()

    def _try_a_call(self) -> None:
        """Post a call without values: a token or a firewall that lets only GET pass shows in nothing that is read."""
        if not self._user.may(ADD_DATA_VALUES):
            # It would be refused for that alone, which the authority's check says.
            return
        settings = self._settings
        schemes = Schemes(
            data_set=settings.data_set_id_scheme,
            data_element=settings.data_element_id_scheme,
            org_unit=settings.org_unit_scheme,
        )
        body = request_body(settings.data_set_id, (), schemes)
        refusal = None
        try:
            self._deadline.ask(lambda: self._poster.post_data_values(body, request_parameters(schemes)))
        except Dhis2Error as error:
            refusal = error
        self.checks.append(check_trial(self._user, refusal))

    def _ask_import_settings(self) -> None:
        """Ask for the system settings that insist on option combos; where they may not be read, push copes as well."""
        if self.server is None or self.server.imports_by_group:
            return
        with suppress(Dhis2Error):
            required = [
                title
                for key, title in REQUIRED_COMBOS.items()
                if self._deadline.ask(partial(read_system_setting, self._client, key))
            ]
            if required:
                self.checks.append(check_import_settings(required))

    def _ask_data_set(self) -> None:
        settings = self._settings
        try:
            self._data_set = self._deadline.ask(
                lambda: read_data_set(self._client, settings.data_set_id, settings.data_set_id_scheme)
            )
        except Dhis2Error as error:
            waits = isinstance(error, Dhis2TransientError)
            message = (
                "The data set cannot be read, so that much of the rest cannot be looked at; a push "
                f"{'waits until it can' if waits else 'goes on all the same'}. {error}"
            )
            self.checks.append(failed("data set", message))
            return
        others: Sequence[Identified] = ()
        if self._data_set is None:
            # To name the one that may be meant. That it is not there is told anyway.
            with suppress(Dhis2Error):
                others = self._deadline.ask(lambda: list_data_sets(self._client))
        self.checks.append(check_data_set(self._data_set, settings, self._user, others))

    def _check_periods(self) -> None:
        open_names = [open_name(basis) for basis in self._windows]
        if self._data_set is None or not self._windows:
            self.not_asked += [FORMAT, *open_names]
            return
        check = check_period_format(self._settings, self._data_set, self._windows, self.server)
        self.checks.append(check)
        if not check.ok:
            self.not_asked += open_names
            return
        times = self._times = self._judge_of_periods(self._data_set)
        self.checks += [
            check_open(times, window, self._data_set, self._today) for window in self._windows.values()
        ]

    def _server_or_newest(self) -> Server:
        """Return the server; where it could not be read, one of the newest version that is known, on our own date."""
        today = datetime.combine(self._today, datetime.min.time())
        return self.server or Server("", "unknown", NEWEST, "iso8601", today)

    def _judge_of_periods(self, data_set: DataSet) -> PeriodRules:
        """Return what judges periods as push does."""
        server = self._server_or_newest()
        known = MetadataCache(
            server=server,
            user=self._user,
            data_set=data_set,
            schemes=UIDS,
            read_at=0,
            data_elements={},
            org_units={},
            combos_in_use=(),
        )
        times = PeriodRules(known, server.server_date)
        periods = [times.find(window.period) for window in self._windows.values()]
        if any(period is not None and times.is_expired(period) for period in periods):
            # Where they cannot be read, push leaves expired periods to the server, which refuses them.
            with suppress(Dhis2Error):
                self._deadline.ask(lambda: known.look_up_locks(self._client))
        return times

    def compare(self, mapped: MappedNames | None) -> None:
        """Check how what mSupply has mapped fits what DHIS2 has set up.

        Parameters
        ----------
        mapped
            ``None`` where the database did not tell: data elements and option combos are then looked at by
            themselves.
        """
        data_set = self._data_set
        uses: Sequence[Use] = ()
        if mapped is None or not self._windows:
            self.not_asked += [STORES.check, ITEMS.check]
            if data_set is not None:
                self.checks.append(check_reach(self._user, data_set.org_units))
        else:
            self._compare_stores(mapped)
            elements = self._compare_items(mapped)
            uses = uses_of_mapped(self._settings, mapped, elements.found)
        if data_set is not None and self._windows:
            uses = uses or uses_by_prefix(self._settings, data_set)
            combos = option_combos.Combos(self._settings, data_set, self._client, deadline=self._deadline)
            self.checks.append(combos.check(uses))
            self._ask_import_settings()
            used = option_combos.used_combos(self._settings, data_set, uses)
            self._ask_category_options(data_set, used)
            if data_set.workflow:
                self._ask_approval(data_set.workflow, used)
        else:
            self.not_asked += [option_combos.NAME, category_options.NAME]
        if not uses:
            self.not_asked += [data_elements.VALUE_TYPES, data_elements.ZEROS, data_elements.AGGREGATION]
            return
        self.checks.append(data_elements.check_value_types(uses, round_off=self._settings.round_off))
        if self.server is None:
            self.not_asked.append(data_elements.ZEROS)
        else:
            self.checks.append(data_elements.check_zeros(uses, self.server))
        self.checks.append(data_elements.check_aggregation(uses))

    def _periods(self) -> list[Period]:
        found = (self._times and self._times.find(window.period) for window in self._windows.values())
        return list(dict.fromkeys(period for period in found if period))

    def _ask_category_options(self, data_set: DataSet, used: option_combos.UsedCombos) -> None:
        if not used.all:
            self.not_asked.append(category_options.NAME)
            return
        try:
            options = self._deadline.ask(
                lambda: find_category_options(self._client, [combo.id for combo in used.all])
            )
        except Dhis2Error as error:
            message = f"Whether the category options take the values cannot be read. {error}"
            self.checks.append(noted(category_options.NAME, message))
            return
        sent = category_options.Sent(self._periods(), self._org_units)
        self.checks.append(
            category_options.check_category_options(
                used, options, sent, data_set, self._user, self._server_or_newest()
            )
        )

    def _ask_approval(self, workflow: str, used: option_combos.UsedCombos) -> None:
        periods = self._periods()
        if not periods:
            self.not_asked.append(approval.NAME)
            return
        server = self._server_or_newest()
        if not server.guards_approved_data:
            self.checks.append(approval.check_no_guard(server))
            return
        asked = {org_unit.id: org_unit for org_unit in self._org_units[:LOOKED_UP]}
        combos = [combo.id for combo in used.attribute]
        approved = {}
        try:
            for period in periods:
                found = self._deadline.ask(
                    partial(find_approved, self._client, workflow, period.label, asked, combos)
                )
                approved[period.label] = [asked[identifier] for identifier in sorted(found & asked.keys())]
        except Dhis2Error as error:
            self.checks.append(approval.check_unknown(error))
            return
        self.checks.append(approval.check_approved(approved, len(asked)))

    def _compare_stores(self, mapped: MappedNames) -> None:
        org_units = self._data_set.org_units if self._data_set else None
        stores = mapped_stores(mapped)
        matched = self._compare(STORES, stores, mapped.more_stores, org_units, find_org_units, self._closure)
        self._org_units = tuple(dict.fromkeys(matched.inside.values()))
        if matched.found:
            self.checks.append(check_reach(self._user, tuple(matched.found.values())))
        if org_units is not None and not mapped.more_stores:
            self.checks.append(counterparts.check_left_over(STORES, stores, matched, org_units))

    def _compare_items(self, mapped: MappedNames) -> Matched[DataElement]:
        elements = self._data_set.data_elements if self._data_set else None
        items = mapped_items(mapped, self._settings)
        matched = self._compare(ITEMS, items, mapped.more_items, elements, find_data_elements)
        if elements is not None and not mapped.more_items:
            self.checks.append(counterparts.check_left_over(ITEMS, items, matched, elements))
        return matched

    def _compare[Thing: (OrgUnit, DataElement)](
        self,
        kind: Kind,
        subjects: Sequence[Subject],
        more: int,
        of_data_set: Collection[Thing] | None,
        find: Callable[[ReadsDhis2, Collection[str], Scheme], Sequence[Thing]],
        closure: Callable[[Thing], str | None] = lambda _: None,
    ) -> Matched[Thing]:
        """Match stores or items with their counterparts; where others than the data set's cannot be read, without those.

        Parameters
        ----------
        more
            How many the database has beyond the subjects.
        """
        scheme: Scheme = getattr(self._settings, kind.scheme)
        identifiers = [identifier for subject in subjects for identifier in subject.identifiers]

        def look_up(wanted: Collection[str], by: Scheme) -> Sequence[Thing]:
            return self._deadline.ask(lambda: find(self._client, wanted, by))

        failure = None
        try:
            matched = match(identifiers, scheme, of_data_set or (), look_up, LOOKED_UP)
        except Dhis2Error as error:
            failure = error
            matched = match(identifiers, scheme, of_data_set or (), look_up, 0)
        if failure and of_data_set is None:
            message = f"What they are mapped to cannot be looked up in DHIS2. {failure}"
            self.checks.append(failed(kind.check, message))
            return matched
        check = counterparts.check_subjects(kind, self._settings, subjects, matched, of_data_set, closure)
        message = check.message
        if more:
            message += f" {more:,} more were not looked at: their list is too long for one answer."
        if failure and not check.ok:
            message += f" Whether they are elsewhere in DHIS2 cannot be read: {failure}"
        self.checks.append(check.model_copy(update={"message": message}))
        return matched

    def _closure(self, org_unit: OrgUnit) -> str | None:
        """Return for which periods of a run an org unit takes no values, and why; by the judge that push has."""
        times = self._times
        if times is None:
            return None
        closed = {}
        for label in dict.fromkeys(window.period for window in self._windows.values()):
            period = times.find(label)
            if period is None:
                continue
            if hint := times.closure(org_unit, period):
                closed[label] = hint
            elif times.exempt_org_units(period) and times.expired(org_unit, label, period):
                closed[label] = "the data set's expiry days are over, and it has no lock exception"
        return joined(f"{label}: {hint}" for label, hint in closed.items()) if closed else None
