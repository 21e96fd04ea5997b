"""Asks the questions of the preflight one after the other, each on its own."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime

from msupply_dhis2.dhis2 import metadata
from msupply_dhis2.dhis2.client import TalksToDhis2
from msupply_dhis2.dhis2.import_request import UIDS, Schemes, request_body, request_parameters
from msupply_dhis2.dhis2.metadata_cache import MetadataCache
from msupply_dhis2.dhis2.models import DataElement, DataSet, Identified, OrgUnit, Server, User
from msupply_dhis2.dhis2.parsing import ReadsDhis2
from msupply_dhis2.dhis2.period_rules import PeriodRules
from msupply_dhis2.domain.mapped import MappedNames
from msupply_dhis2.errors import Dhis2Error
from msupply_dhis2.periods import Basis, Period, Window
from msupply_dhis2.preflight import access, counterparts, data_elements, option_combos
from msupply_dhis2.preflight.check import Check, failed, noted
from msupply_dhis2.preflight.facts import Use, uses_by_prefix, uses_of_mapped
from msupply_dhis2.preflight.periods import (
    FORMAT,
    MANUAL,
    check_manual,
    check_open,
    check_period_format,
    open_name,
)
from msupply_dhis2.settings import Scheme, Settings
from msupply_dhis2.text import joined

REQUIRED_COMBOS = {
    "keyDataImportRequireCategoryOptionCombo": "'Require category option combo'",
    "keyDataImportRequireAttributeOptionCombo": "'Require attribute option combo'",
}
"""System settings that refuse values without option combos, up to 2.42."""

LOOKED_UP = 300
"""How many stores' or items' identifiers that the data set does not have are looked for elsewhere in DHIS2."""


@dataclass(slots=True)
class Preflight:
    """Checks what a push needs beside the connection.

    Of ``settings`` that are not complete there are no ``windows`` (of a run now), and only what does not depend on
    them is asked. ``today`` is for a server that does not tell its own date; ``server`` is there as far as it could be
    read; ``manual`` is the window of a manual push now, where that is asked. To ``checks`` it adds each answer, to
    ``not_asked`` what a failure has left without sense.
    """

    client: TalksToDhis2
    settings: Settings
    user: User
    windows: Mapping[Basis, Window]
    today: date
    checks: list[Check]
    not_asked: list[str]
    server: Server | None = None
    manual: Window | None = None
    _data_set: DataSet | None = None
    _rules: PeriodRules | None = None
    _org_units: tuple[OrgUnit, ...] = ()

    def _add(self, name: str, check: Check | None) -> None:
        if check is None:
            self.not_asked.append(name)
        else:
            self.checks.append(check)

    def ask_dhis2(self) -> None:
        """Check what DHIS2 alone decides: version, authority, data set, periods."""
        self.checks += [self._ask_server(), access.check_authority(self.user)]
        self._add("data set", self._ask_data_set() if self.settings.data_set_id else None)
        data_set = self._data_set
        self._add(access.WRITE_ACCESS, access.check_write_access(data_set, self.user) if data_set else None)
        # Without the authority a call would be refused for that alone, which the authority's check says.
        if self.user.may(access.ADD_DATA_VALUES) or not self.settings.data_set_id:
            self._add(access.TRIAL, self._try_a_call() if self.settings.data_set_id else None)
        self._check_periods()

    def ask_about_periods(self) -> None:
        """Check the data set and the periods only, as a push by command does before it begins."""
        self.checks += [self._ask_server(), self._ask_data_set()]
        self._check_periods()

    def _ask_server(self) -> Check:
        try:
            self.server = metadata.read_server(self.client)
        except Dhis2Error as error:
            return failed("server", str(error))
        self.today = self.server.server_date.date()
        return access.check_server(self.server)

    def _ask_data_set(self) -> Check:
        settings = self.settings
        try:
            self._data_set = metadata.read_data_set(
                self.client, settings.data_set_id, settings.data_set_id_scheme
            )
        except Dhis2Error as error:
            return failed(
                "data set",
                "The data set cannot be read, so that much of the rest cannot be looked at; a push "
                f"{'waits until it can' if error.is_transient else 'goes on all the same'}. {error}",
            )
        others: Sequence[Identified] = ()
        if self._data_set is None:
            # To name the one that may be meant. That it is not there is told anyway.
            with suppress(Dhis2Error):
                others = metadata.list_data_sets(self.client)
        return access.check_data_set(self._data_set, settings, self.user, others)

    def _try_a_call(self) -> Check:
        """Post a call without values: a token or a firewall that lets only GET pass shows in nothing that is read."""
        settings = self.settings
        schemes = Schemes(
            data_set=settings.data_set_id_scheme,
            data_element=settings.data_element_id_scheme,
            org_unit=settings.org_unit_scheme,
        )
        body = request_body(settings.data_set_id, (), schemes)
        try:
            self.client.post_data_values(body, request_parameters(schemes))
        except Dhis2Error as error:
            return access.check_trial(self.user, error)
        return access.check_trial(self.user, None)

    def _check_periods(self) -> None:
        data_set = self._data_set
        fits = None
        if data_set and self.windows:
            fits = check_period_format(self.settings, data_set, self.windows, self.server)
        self._add(FORMAT, fits)
        if data_set is None or fits is None or not fits.ok:
            self.not_asked += [*(open_name(basis) for basis in self.windows), MANUAL]
            return
        rules = self._rules = self._period_rules(data_set)
        self.checks += [check_open(rules, window, data_set, self.today) for window in self.windows.values()]
        if self.manual is not None:
            self.checks.append(check_manual(rules, self.manual, data_set, self.today))

    def _server_or_newest(self) -> Server:
        """Return the server; where it could not be read, one of the newest version that is known, on our own date."""
        today = datetime.combine(self.today, datetime.min.time())
        return self.server or Server("", "unknown", access.NEWEST, "iso8601", today)

    def _period_rules(self, data_set: DataSet) -> PeriodRules:
        """Return what judges periods as push does."""
        server = self._server_or_newest()
        known = MetadataCache(
            server=server,
            user=self.user,
            data_set=data_set,
            schemes=UIDS,
            read_at=0,
            data_elements={},
            org_units={},
            combos_in_use=(),
        )
        rules = PeriodRules(known, server.server_date)
        periods = [rules.find(window.period) for window in self.windows.values()]
        if any(period is not None and rules.is_expired(period) for period in periods):
            # Where they cannot be read, push leaves expired periods to the server, which refuses them.
            with suppress(Dhis2Error):
                known.look_up_locks(self.client)
        return rules

    def compare(self, mapped: MappedNames | None) -> None:
        """Check how what mSupply has mapped fits what DHIS2 has set up.

        Where the database did not tell, data elements and option combos are looked at by themselves.
        """
        data_set = self._data_set
        uses: Sequence[Use] = ()
        if mapped is None or not self.windows:
            self.not_asked += [counterparts.STORES.check, counterparts.ITEMS.check]
            if data_set is not None:
                self.checks.append(access.check_reach(self.user, data_set.org_units))
        else:
            self._compare_stores(mapped)
            uses = uses_of_mapped(self.settings, mapped, self._compare_items(mapped))
        if data_set is None or not self.windows:
            self.not_asked += [option_combos.OPTION_COMBOS, option_combos.CATEGORY_OPTIONS]
        else:
            uses = uses or uses_by_prefix(self.settings, data_set)
            self.checks.append(option_combos.Combos(self.settings, data_set, self.client).check(uses))
            self._ask_import_settings()
            used = option_combos.used_combos(self.settings, data_set, uses)
            self._add(
                option_combos.CATEGORY_OPTIONS, self._ask_category_options(data_set, used) if used else None
            )
            if data_set.workflow:
                self._add(access.APPROVED, self._ask_approval(data_set.workflow, used))
        round_off, server = self.settings.round_off, self.server
        self._add(
            data_elements.VALUE_TYPES,
            data_elements.check_value_types(uses, round_off=round_off) if uses else None,
        )
        self._add(data_elements.ZEROS, data_elements.check_zeros(uses, server) if uses and server else None)
        self._add(data_elements.AGGREGATION, data_elements.check_aggregation(uses) if uses else None)

    def _ask_import_settings(self) -> None:
        """Ask for the system settings that insist on option combos; where they may not be read, push copes as well."""
        if self.server is None or self.server.imports_by_group:
            return
        with suppress(Dhis2Error):
            required = [
                title
                for key, title in REQUIRED_COMBOS.items()
                if metadata.read_system_setting(self.client, key)
            ]
            if required:
                self.checks.append(access.check_import_settings(required))

    def _periods(self) -> list[Period]:
        found = (self._rules and self._rules.find(window.period) for window in self.windows.values())
        return list(dict.fromkeys(period for period in found if period))

    def _ask_category_options(self, data_set: DataSet, used: option_combos.UsedCombos) -> Check:
        try:
            options = metadata.find_category_options(self.client, [combo.id for combo in used])
        except Dhis2Error as error:
            return noted(
                option_combos.CATEGORY_OPTIONS,
                f"Whether the category options take the values cannot be read. {error}",
            )
        server = self._server_or_newest()
        sent = option_combos.CategoryOptions(data_set, server, self.user, self._periods(), self._org_units)
        return sent.check(used, options)

    def _ask_approval(self, workflow: str, used: option_combos.UsedCombos) -> Check | None:
        periods = self._periods()
        if not periods:
            return None
        server = self._server_or_newest()
        if not server.guards_approved_data:
            return access.note_unguarded_approval(server)
        asked = {org_unit.id: org_unit for org_unit in self._org_units[:LOOKED_UP]}
        combos = [combo.id for combo, is_attribute in used.items() if is_attribute]
        approved = {}
        try:
            for period in periods:
                found = metadata.find_approved(self.client, workflow, period.label, asked, combos)
                approved[period.label] = [asked[identifier] for identifier in sorted(found & asked.keys())]
        except Dhis2Error as error:
            return access.note_unknown_approval(error)
        return access.check_approved(approved, len(asked))

    def _compare_stores(self, mapped: MappedNames) -> None:
        org_units = self._data_set.org_units if self._data_set else None
        stores = counterparts.stores_of(mapped)
        matched = self._compare(
            counterparts.STORES, stores, mapped.more_stores, org_units, metadata.find_org_units, self._closure
        )
        self._org_units = tuple(dict.fromkeys(matched.inside.values()))
        if matched.found:
            self.checks.append(access.check_reach(self.user, tuple(matched.found.values())))
        if org_units is not None and not mapped.more_stores:
            self.checks.append(counterparts.check_left_over(counterparts.STORES, stores, matched))

    def _compare_items(self, mapped: MappedNames) -> Mapping[str, DataElement]:
        elements = self._data_set.data_elements if self._data_set else None
        items = counterparts.items_of(mapped, self.settings)
        matched = self._compare(
            counterparts.ITEMS,
            items,
            mapped.more_items,
            elements,
            metadata.find_data_elements,
            lambda _: None,
        )
        if elements is not None and not mapped.more_items:
            self.checks.append(counterparts.check_left_over(counterparts.ITEMS, items, matched))
        return matched.found

    def _compare[Thing: (OrgUnit, DataElement)](
        self,
        kind: counterparts.Kind,
        subjects: Sequence[counterparts.Subject],
        more: int,
        of_data_set: Collection[Thing] | None,
        find: Callable[[ReadsDhis2, Collection[str], Scheme], Sequence[Thing]],
        closure: Callable[[Thing], str | None],
    ) -> counterparts.Matched[Thing]:
        """Match stores or items with their counterparts; where others than the data set's cannot be read, without those.

        ``more`` is how many the database has beyond the subjects.
        """
        scheme: Scheme = getattr(self.settings, kind.scheme)
        wanted = dict.fromkeys(identifier for subject in subjects for identifier in subject.identifiers)
        ours = {thing.identifier(scheme): thing for thing in of_data_set or ()}
        asked = [identifier for identifier in wanted if identifier not in ours][:LOOKED_UP]
        failure = None
        theirs: dict[str | None, Thing] = {}
        try:
            if asked:
                theirs = {thing.identifier(scheme): thing for thing in find(self.client, asked, scheme)}
        except Dhis2Error as error:
            failure, asked = error, []
        matched = counterparts.Matched(
            of_data_set,
            {identifier: ours[identifier] for identifier in wanted if identifier in ours},
            {identifier: theirs[identifier] for identifier in asked if identifier in theirs},
            {identifier for identifier in asked if identifier not in theirs},
        )
        if failure and of_data_set is None:
            message = f"What they are mapped to cannot be looked up in DHIS2. {failure}"
            self.checks.append(failed(kind.check, message))
            return matched
        check = counterparts.check_subjects(kind, self.settings, subjects, matched, closure)
        message = check.message
        if more:
            message += f" {more:,} more were not looked at: their list is too long for one answer."
        if failure and not check.ok:
            message += f" Whether they are elsewhere in DHIS2 cannot be read: {failure}"
        self.checks.append(check.model_copy(update={"message": message}))
        return matched

    def _closure(self, org_unit: OrgUnit) -> str | None:
        """Return for which periods of a run an org unit takes no values, and why; judged as push does."""
        rules = self._rules
        if rules is None:
            return None
        closed = {}
        for label in dict.fromkeys(window.period for window in self.windows.values()):
            period = rules.find(label)
            if period is None:
                continue
            if hint := rules.closure(org_unit, period):
                closed[label] = hint
            elif rules.exempt_org_units(period) and rules.expired(org_unit, label, period):
                closed[label] = "the data set's expiry days are over, and it has no lock exception"
        return joined(f"{label}: {hint}" for label, hint in closed.items()) if closed else None
