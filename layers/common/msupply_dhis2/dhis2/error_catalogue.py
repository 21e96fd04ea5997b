"""DHIS2's error codes and the faults of a connection, in the words of those who can fix them.

The meaning of the codes is that of DHIS2's data value import: E76xx up to 2.42, E80xx and E81xx from 2.43.
``docs/errors.md`` is generated from this module (``cli/error_document.py``).
"""

from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from functools import partial

from msupply_dhis2.errors import (
    Dhis2AuthenticationError,
    Dhis2BlockedError,
    Dhis2DownError,
    Dhis2Error,
    Dhis2FaultError,
    Dhis2PermanentError,
    Dhis2RateLimitedError,
    Dhis2SlowError,
    Dhis2TooLargeError,
    Dhis2TransientError,
)

NO_REASON = "no_reason"
FRACTION = "fraction"
ZERO_NOT_KEPT = "zero_not_kept"
TRUE_ONLY = "true_only"
CALENDAR = "calendar"
VANISHED = "vanished"
STORED_DIFFERENTLY = "stored_differently"
STILL_THERE = "still_there"
CHANGED_SINCE = "changed_since"
FAILS_ALONE = "too_large_alone"
CALL_REFUSED = "call_refused"
"""Our own codes; ``OWN_EXPLANATIONS`` says what each means."""

HELD_BACK = "held_back"
"""The value is fine, but another of its call is not: it is sent again, so that nobody is told of it."""


class Who(StrEnum):
    """Who can fix what a code stands for."""

    MSUPPLY = "whoever sets up mSupply"
    DHIS2 = "a DHIS2 administrator"
    SETTINGS = "whoever keeps the settings of this integration"
    DEVELOPERS = "the developers of this integration"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Who can fix what a code stands for, what it means, and how.

    ``may_pass``: a later push of the same value may succeed although nobody fixed anything.
    """

    who: Who
    meaning: str
    cure: str
    may_pass: bool = False


_by_dhis2 = partial(Explanation, Who.DHIS2)
_by_settings = partial(Explanation, Who.SETTINGS)
_by_msupply = partial(Explanation, Who.MSUPPLY)
_by_developers = partial(Explanation, Who.DEVELOPERS)


_PERIOD_TYPE = _by_settings(
    "The period is of another type than the data set's (for example a day for a monthly data set).",
    "Set Period format to the form of the data set's period type (202601 for monthly, 20260105 for daily, "
    "2026W5 for weekly).",
)
_CLEAR_THE_CACHE = (
    "If it goes on, clear DHIS2's cache (Data Administration app, Maintenance, Clear application cache), or open the "
    "data set in DHIS2's Maintenance app and save it."
)
_PERIOD_NOT_OPEN = _by_dhis2(
    "The data set is not open for this period now: it has not begun, its expiry days are over, or it is not one of its "
    "data input periods.",
    "Values of the current period: push as scheduled (make push AS_SCHEDULED=yes), or raise the data set's \"open future "
    "periods\" to 1, or to 2 if the clock of DHIS2 is behind the stack's time zone, because the month begins later "
    "there. For "
    'late values raise its "expiry days" or unlock the period. Then push again.',
    may_pass=True,
)
_PERIOD_OUTSIDE_COMBO = _by_dhis2(
    "The period lies outside the dates for which the attribute option combo's options are valid.",
    "Extend the start or end date of the category option in DHIS2, then push again.",
)


def _insists_on(kind: str, owner: str) -> Explanation:
    return _by_dhis2(
        f"This DHIS2 insists on {'an' if kind == 'attribute' else 'a'} {kind} option combo with every value, and none was "
        "sent: the user may not read the data set, so that its default option combo is not known.",
        "Share the data set with the user: then the default option combo is named with each value. Or have 'Require "
        f"{kind} option combo' switched off in DHIS2 (System Settings app, Data import). If the option combos of the "
        f"settings belong to the {owner}, set option_combo_field to {kind}.",
    )


def _no_uid(what: str, cure: str) -> Explanation:
    said = "are looked up by UID, and what was sent is not a UID (a letter and ten letters or digits)."
    return _by_settings(f"{what} {said}", cure)


OWN_EXPLANATIONS: dict[str, Explanation] = {
    NO_REASON: _by_dhis2(
        "DHIS2 refused the value and gave no code for it.",
        "Read DHIS2's own words; its server log says more.",
    ),
    FRACTION: _by_settings(
        "The data element takes whole numbers only, and the value is a fraction; it is never rounded silently.",
        "Tick Round off in the DHIS2 tab, or give the data element the value type Number in DHIS2.",
    ),
    ZERO_NOT_KEPT: _by_dhis2(
        "DHIS2 (up to 2.42) keeps no 0 for this data element. It is sent only to remove an older value, because no "
        "stock level is better than a wrong one.",
        "Tick 'Store zero data values' of the data element in DHIS2's Maintenance app; the next push stores the 0.",
    ),
    TRUE_ONLY: _by_dhis2(
        "A data element of the value type Yes only cannot hold a 0, and a 0 cannot replace a 'yes' of the same period.",
        "Give the data element the value type Yes/No. Delete a 'yes' that is wrong in DHIS2's Data entry app.",
    ),
    CALENDAR: _by_dhis2(
        "The value was not sent. DHIS2 keeps its periods in a calendar that is not ISO 8601 (Nepali, Ethiopian, Thai, "
        "Islamic and so on). This integration labels periods in the ISO calendar, and DHIS2 would store the value in "
        "another month.",
        "No setting of this integration changes that. Use a DHIS2 whose calendar is ISO 8601 (Settings app, Calendar). "
        "Do not change the calendar of a DHIS2 that holds data.",
    ),
    STORED_DIFFERENTLY: _by_dhis2(
        "DHIS2 holds another value than the one that was sent (found by reading it back). Somebody else may have "
        "written it meanwhile, or another value went to the same cell.",
        "Look in DHIS2's Data entry app (audit history) who stored it, and whether people or another system enter "
        "the same data element; then push again.",
    ),
    VANISHED: _by_dhis2(
        "The value was sent, and DHIS2 neither stored nor refused it (found by reading it back).",
        "Push again. If it is missing again, read DHIS2's server log, and check that nobody deletes the value.",
        may_pass=True,
    ),
    STILL_THERE: _by_dhis2(
        "DHIS2 was asked to delete the value, and neither deleted it nor refused (found by reading it back).",
        "It is tried again with the next deletion of vanished values. If it is still there then, read "
        "DHIS2's server log, and check that nobody enters the value by hand.",
        may_pass=True,
    ),
    CHANGED_SINCE: _by_dhis2(
        "The value was sent earlier and is no longer computed; but somebody or another system has entered another "
        "value in DHIS2, and that value stays.",
        "If that value is wrong too, delete it in DHIS2's Data entry app.",
    ),
    FAILS_ALONE: _by_dhis2(
        "A call with this one value and no other is too large for the proxy before DHIS2, or makes DHIS2 fail "
        "(status 500) again and again.",
        "Read DHIS2's server log of that time; if the call is too large, ask whoever runs the proxy to allow larger "
        "requests (nginx: client_max_body_size).",
    ),
    CALL_REFUSED: _by_settings(
        "DHIS2, or a proxy before it, did not take the call at all, whatever its values.",
        "Do what the line of the batch says, test the connection, then push again.",
    ),
}
"""What each code means that is ours."""

_BY_CODES: dict[str, Explanation] = {
    "E7600 E7602 E8005": _by_settings(
        "DHIS2 has no such data set, or the user may not see it.",
        "Compare Data set ID and Data set ID scheme (uid or code) with the data set in DHIS2's Maintenance app; a "
        "data set that is there must be shared with the user.",
    ),
    "E7601 E8010": _by_dhis2(
        "The user may not enter data into this data set.",
        'Share the data set with the user or one of its user groups, with data access "can capture and view".',
    ),
    "E7603 E7612 E8107": _by_msupply(
        "DHIS2 has no org unit with this identifier, or the user may not see it.",
        "Compare the store's Dhis2Code in mSupply (or what Store field reference names) with the org unit in DHIS2; "
        "codes are case sensitive. If they look right, check Org unit scheme.",
    ),
    "E7604 E7613 E7615 E8108 E8110": _by_settings(
        "DHIS2 has no such category option combo, or the user may not enter data for it.",
        "Compare Category option ID of the row under Data elements to push with DHIS2. It must be the ID of the "
        "category option combo, not the ID of the category option. If it is right, share its "
        'category options with the user, with data access "can capture and view".',
    ),
    "E7610 E8103": _by_msupply(
        "DHIS2 has no data element with this identifier, or the user may not see it.",
        "Compare the item's reference (with the prefix) with the data element's code in DHIS2; codes are case "
        "sensitive. If they look right, check Data element ID scheme, and that the user may see the data element.",
    ),
    "E7611": _by_settings(
        "DHIS2 does not take this for a period. Up to 2.42 it also says so when two calls use a new period for the "
        "first time at once.",
        "If the period looks right, push again. Otherwise set Period format to the form of the data set's period "
        "type (202601 for monthly).",
    ),
    "E7614 E7616 E8012": _by_dhis2(
        "The user may not enter data for a category option of this option combo.",
        'Share the category option with the user, with data access "can capture and view" (Maintenance app, Category, '
        "Category option, Sharing settings). The metrics of other option combos are not affected.",
    ),
    "E7617 E8011": _by_dhis2(
        "The org unit is outside the part of the hierarchy in which the user may enter data.",
        'Add the org unit, or one above it, to the user\'s "data capture and maintenance" org units.',
    ),
    "E7618 E8120 E8121": _by_developers(
        "The value was empty. This integration never sends an empty value.",
        "Report it with the log of the run.",
    ),
    "E7619 E8122": _by_dhis2(
        "The value does not fit the data element's value type.",
        "Use value type Number for the data element. For types of whole numbers switch Round off on; a negative "
        "stock or adjustment fits no type of positive numbers.",
    ),
    "E7620 E8124 E8125": _by_dhis2(
        "DHIS2 requires, or refuses, a comment with the value. This integration never sends one.",
        "Remove the comment option set from the data element.",
    ),
    "E7621 E8123": _by_dhis2(
        "The data element takes only values of its option set.",
        "Use a data element of value type Number without an option set.",
    ),
    "E7630": _insists_on("category", "data elements"),
    "E7631": _insists_on("attribute", "data set"),
    "E7632": replace(
        _PERIOD_TYPE,
        meaning=f"{_PERIOD_TYPE.meaning} DHIS2 2.41 and 2.42 also say so of right periods for some minutes after metadata "
        "were imported: such values wait and are sent again.",
        cure=f"{_PERIOD_TYPE.cure} If it has that form already, wait. {_CLEAR_THE_CACHE}",
        may_pass=True,
    ),
    "E7633": _by_dhis2(
        "The data element is not in the data set.",
        "Add the data element to the data set in DHIS2's Maintenance app, or correct Data set ID.",
    ),
    "E7634 E8024": _by_settings(
        "The category option combo does not belong to the data element's category combination.",
        "If the option combos belong to the data set rather than to the data elements, set option_combo_field to "
        "attribute. Otherwise use an option combo of the data element's category combination as Category option ID.",
    ),
    "E7635 E8023": _by_settings(
        "The attribute option combo does not belong to the data set's category combination, or is missing.",
        "If the option combos belong to the data elements rather than to the data set, set option_combo_field to "
        "category. Otherwise use an option combo of the data set's category combination as Category option ID.",
    ),
    "E7636 E8022": _by_dhis2(
        "The data set is not assigned to the org unit.",
        "Assign the org unit to the data set in DHIS2's Maintenance app, or correct the store's code in mSupply.",
    ),
    "E7637 E8000 E8008 E8009 E8034 E8035 E8101 E8126 E8127": _by_developers(
        "The request held something that this integration never sends.",
        "Report it with the log of the run; check that no proxy changes what is sent.",
    ),
    "E7638": _PERIOD_OUTSIDE_COMBO,
    "E7639 E8025": _by_dhis2(
        "The attribute option combo is limited to other org units.",
        "Add the org unit to the category option in DHIS2, or remove that limit.",
    ),
    "E7640 E7641 E7643": _PERIOD_NOT_OPEN,
    "E7642 E8033": _by_dhis2(
        "The data of this period are approved already and closed to changes.",
        "If the new values must go in, ask for the approval to be taken back in DHIS2's Data approval app, then push "
        "again.",
        may_pass=True,
    ),
    "E7644": replace(
        _PERIOD_NOT_OPEN,
        meaning=f"{_PERIOD_NOT_OPEN.meaning} DHIS2 2.41 and 2.42 also say so of open periods for some minutes after "
        "metadata were imported: such values wait and are sent again.",
        cure=f"{_PERIOD_NOT_OPEN.cure} If the period is open already, wait. {_CLEAR_THE_CACHE}",
    ),
    "E7645": _by_dhis2(
        "The data element is meant for files or images.", "Use a data element of value type Number."
    ),
    "E8002 E8003": _by_settings(
        "DHIS2 could not tell which data set the values are for.",
        "Check Data set ID: every call names it, so this should not happen.",
    ),
    "E8004": _no_uid("Data sets", "Set Data set ID scheme to code, or Data set ID to the data set's UID."),
    "E8020": _by_dhis2(
        "A data element is not in the data set, or the data set is not there at all.",
        "Add the data element that the message names to the data set in DHIS2's Maintenance app, or correct Data set ID.",
    ),
    "E8021": _PERIOD_TYPE,
    "E8030": replace(
        _PERIOD_NOT_OPEN,
        meaning=f"{_PERIOD_NOT_OPEN.meaning} DHIS2 names the period only, although expiry days count for each org unit: org "
        "units with an exception from them are sent in calls of their own. DHIS2 2.43.0 and 2.43.1 refuse a data input period while "
        "it is open.",
        cure=f"{_PERIOD_NOT_OPEN.cure} If DHIS2 2.43.0 or 2.43.1 refuses an open data input period, upgrade to 2.43.2 "
        "or later, or remove the data input periods of the data set until then.",
    ),
    "E8031": _by_dhis2(
        "The org unit was closed, or not open yet, in this period. From 2.43 on the first day of the period decides: an org "
        "unit that opened within it takes no values.",
        "Correct the org unit's opening or closed date in DHIS2, or empty the store's code in mSupply, so it is no "
        "longer sent.",
        may_pass=True,
    ),
    "E8032": replace(_PERIOD_OUTSIDE_COMBO, may_pass=True),
    "E8100 E8102 E8105": _by_developers(
        "A value was sent without its period, data element or org unit, or with a wrong period.",
        "Report it with the log of the run, and check Period format.",
    ),
    "E8104": _no_uid(
        "Data elements",
        "Set Data element ID scheme to code, or put UIDs into the field of mSupply that Item field reference names.",
    ),
    "E8106": _no_uid(
        "Org units",
        "Set Org unit scheme to code, or put UIDs into the field of mSupply that Store field reference names.",
    ),
    "E8109 E8111": _no_uid(
        "Option combos",
        "Set the row's category option combo ID scheme to code, or its Category option ID to the UID.",
    ),
    "E8128": _by_developers(
        "One call held two values for the same data element, org unit, period and option combos.",
        "Report it with the log of the run.",
    ),
}
"""Those of DHIS2."""

EXPLANATIONS: dict[str, Explanation] = OWN_EXPLANATIONS | {
    code: explanation for codes, explanation in _BY_CODES.items() for code in codes.split()
}
"""What each code means, ours and DHIS2's."""


_CODE_BY_WORDS = {
    "data set not found": "E7600",
    "data element not found": "E7610",
    "period not valid": "E7611",
    "organisation unit not found": "E7612",
    "category option combo not found": "E7613",
    "attribute option combo not found": "E7615",
    "not in hierarchy of current user": "E7617",
    "value must match": "E7619",
    "past expiry days": "E7640",
    "after latest open future period": "E7641",
}
"""What servers before 2.37 say in words only."""


def explain(code: str, text: str) -> Explanation:
    """Explain a code of DHIS2's, or of ours, with DHIS2's own words: servers before 2.37 give no code."""
    if code == NO_REASON:
        words = text.lower()
        code = next((known for phrase, known in _CODE_BY_WORDS.items() if phrase in words), NO_REASON)
    return EXPLANATIONS.get(code) or _by_dhis2(
        f"The code {code} is not in the catalogue of this integration.",
        "Read DHIS2's own words; its server log says more.",
    )


_ENTER = "enter it with `make credentials`"
_MAKE_A_TOKEN = (
    "make a personal access token in DHIS2 (log in as that user → profile → Personal access tokens → Server/script "
    "context; allow the methods GET and POST and choose an expiry date) and " + _ENTER
)
_WITHOUT_OAUTH2 = (
    f"a personal access token instead: {_MAKE_A_TOKEN}. Or tick Basic authentication in the settings "
    "(basic_authentication: true), which takes the same user name and password"
)


@dataclass(frozen=True, slots=True)
class _Words:
    """What is said about a fault of the connection, and the error that says what to do about it.

    ``problem`` holds ``{url}``, ``{username}`` and ``{seconds}`` where the address, the user and the time that
    was waited belong. ``may_still_be_applied``: the call may be on its way already, or a proxy that gave DHIS2 up says so.
    """

    problem: str
    cure: str
    error: type[Dhis2Error] = Dhis2PermanentError
    may_still_be_applied: bool = False


_down = partial(_Words, error=Dhis2DownError)
_passing = partial(_Words, error=Dhis2TransientError)
_slow = partial(_Words, error=Dhis2SlowError, may_still_be_applied=True)
_failing = partial(_Words, error=Dhis2FaultError, may_still_be_applied=True)


def _refused_login(said: str, cure: str) -> _Words:
    return _Words(f"Authentication failed{said}", cure, Dhis2AuthenticationError)


class ConnectionFault(Enum):
    """What can go wrong between here and DHIS2 before it says anything about a value."""

    @property
    def kind(self) -> str:
        """What the log calls it."""
        return self.name.lower().replace("_", " ")

    NAME_NOT_RESOLVED = _down(
        "The server name of {url} is not known",
        "Check URL for a typing error; in private subnets check the name service",
    )
    CONNECTION_REFUSED = _down(
        "The server of {url} refused the connection: nothing listens at that port",
        "Check the port in URL, and that DHIS2 is running",
    )
    UNREACHABLE = _down(
        "There is no network route to the server of {url}",
        "Check URL; in private subnets check that they have a way to the Internet or to DHIS2",
        may_still_be_applied=True,
    )
    CONNECT_TIMED_OUT = _down(
        "The server of {url} did not take the connection within {seconds} seconds",
        "Check URL; if it is right, a firewall blocks the call: ask its owner to admit the address from which the "
        "function calls, or give the function subnets from which DHIS2 can be reached",
    )
    READ_TIMED_OUT = _slow(
        "DHIS2 at {url} did not answer within {seconds} seconds; the values may be stored anyway",
        "If it happens often, lower No. of items per payload, or find out why DHIS2 is slow",
    )
    CONNECTION_CUT = _passing(
        "The connection to DHIS2 at {url} was cut before the whole answer was there; the values may be stored anyway",
        "If it happens often, look at the proxy or firewall before DHIS2",
        may_still_be_applied=True,
    )
    PROXY = _down(
        "The proxy on the way to {url} could not be used",
        "Check the environment variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
        may_still_be_applied=True,
    )
    CERTIFICATE_EXPIRED = _down(
        "The certificate of {url} has expired", "Ask whoever runs the DHIS2 server to renew it"
    )
    CERTIFICATE_SELF_SIGNED = _passing(
        "The certificate of {url} is self-signed, so nothing proves that this is your DHIS2",
        "Put that certificate into DHIS2 CA certificate (dhis2_ca_certificate) in the settings, or ask whoever runs "
        "the DHIS2 server to install one of a public certificate authority",
    )
    CERTIFICATE_OTHER_NAME = _passing(
        "The certificate of {url} is for another server name",
        "Use the server name of the certificate in URL, or ask whoever runs the server to replace the certificate",
    )
    CERTIFICATE_NOT_TRUSTED = _passing(
        "The certificate of {url} is not valid, or comes from an authority that is not trusted",
        "If the authority is your own, put its certificate into DHIS2 CA certificate (dhis2_ca_certificate) in the "
        "settings; otherwise ask whoever runs the DHIS2 server to install a valid certificate together with its "
        "intermediate certificates",
    )
    NO_TLS = _passing(
        "The server of {url} does not speak https there",
        "Check URL: perhaps the port is wrong, or the address begins with http://",
        may_still_be_applied=True,
    )
    FORBIDDEN_ADDRESS = _Words(
        "{url} leads to an address that belongs to AWS or to the function itself, not to a DHIS2",
        "Correct URL in the settings. If it is right, correct the address of the name in DNS",
    )
    PLAIN_HTTP = _passing(
        "{url} leads out to the internet without encryption: anybody on the way could read user name and password, so "
        "nothing was sent",
        "Begin URL with https://. Only if that DHIS2 has no https, and its owner accepts the risk, set Allow plain "
        "HTTP (allow_plain_http) to true",
    )
    BAD_ADDRESS = _Words(
        "{url} is not an address that can be called",
        "Correct URL: it looks like https://dhis2.example.org, with port and path if there are any",
    )
    REDIRECT_TO_HTTPS = _Words("The server of {url} accepts only https", "Use https:// in URL")
    REDIRECT_TO_LOGIN = _Words(
        "{url} sends to a login page instead of answering",
        "Check URL and its path: DHIS2 may be at another path of that server",
    )
    REDIRECT = _Words(
        "{url} sends elsewhere instead of answering, and a push never follows redirects",
        "Check URL and its path: DHIS2 may be at another path of that server, or have moved",
    )
    BEFORE_DHIS2 = _Words(
        "Something before DHIS2 at {url} (a firewall or a proxy) refused the call: the answer is not DHIS2's",
        "Show this message to whoever runs that firewall or proxy (the hosting provider, or the IT department), and ask "
        "them to let GET and POST to all addresses below /api and /uaa pass, from the address from which the function "
        "calls. It is tried again automatically; what fails for two hours becomes dead letters: send them again (make "
        "redrive) when the calls pass",
        error=Dhis2BlockedError,
    )
    FAULT_PAGE = _failing(
        "DHIS2 at {url}, or a firewall or proxy before it, failed: the answer is a page that is not DHIS2's",
        "It is tried again automatically; if it goes on, read DHIS2's server log, and show this message to whoever runs the "
        "firewall or proxy before DHIS2",
    )
    NOT_DHIS2 = _Words(
        "There is no DHIS2 at {url}: what answers there is a web page",
        "Check URL and its path; it is the address of DHIS2 without /api or /dhis-web and what follows",
    )
    NOT_FOUND = _Words(
        "There is no DHIS2 at {url}, or not at this path",
        "Check URL and its path; it is the address of DHIS2 without /api or /dhis-web and what follows",
    )
    NOT_JSON = _passing(
        "The answer from {url} is not what DHIS2 answers, or was damaged on the way",
        "Check URL, and the proxy before DHIS2",
    )
    ANSWER_TOO_LARGE = _passing(
        "The answer from {url} is larger than 32 million bytes, more than any answer of DHIS2",
        "Check URL, and the proxy before DHIS2",
    )
    AUTHENTICATION_FAILED = _refused_login(
        ". DHIS2 at {url} refused the user name or the password of {username}",
        "Correct the DHIS2 credentials (make credentials). It is not tried again automatically, because several failures "
        "can lock the account",
    )
    ACCOUNT_DISABLED = _refused_login(
        ": the account is disabled. DHIS2 at {url} does not accept the login of {username}",
        "Ask a DHIS2 administrator to enable the user in the Users app",
    )
    ACCOUNT_LOCKED = _refused_login(
        ": the account is locked. DHIS2 at {url} does not accept the login of {username}",
        "Wait a quarter of an hour, correct the DHIS2 credentials (make credentials) and test the connection once",
    )
    TOKEN_MISTYPED = _refused_login(
        ": the personal access token has a typing error. DHIS2 at {url} found its checksum wrong",
        "Copy the whole token again, and " + _ENTER,
    )
    TOKEN_EXPIRED = _refused_login(
        ": the personal access token has expired. DHIS2 at {url} gives a token 30 days, if nobody chooses another date",
        "Renew it: " + _MAKE_A_TOKEN,
    )
    TOKEN_METHOD = _refused_login(
        ": the personal access token is not allowed for this kind of call. DHIS2 at {url} allows it for some HTTP "
        "methods only",
        "Both GET and POST are needed: " + _MAKE_A_TOKEN,
    )
    TOKEN_ADDRESS = _refused_login(
        ": the personal access token is not allowed from this IP address. DHIS2 at {url} allows it from some addresses "
        "only",
        "Add the address from which the function calls to Allowed IP addresses of the token in DHIS2 (behind a proxy "
        "DHIS2 may see the proxy's), or leave that list empty: " + _MAKE_A_TOKEN,
    )
    TOKEN_UNKNOWN = _refused_login(
        ": the personal access token is unknown. DHIS2 at {url} has no such token; it was deleted, or is of another server",
        "Check that URL is the server on which the token was made; otherwise " + _MAKE_A_TOKEN,
    )
    TOKEN_USER = _refused_login(
        ": the user of the personal access token may not log in. DHIS2 at {url} has the account "
        "disabled, locked or expired, or asks it for a second factor",
        "Ask a DHIS2 administrator to check the user in the Users app",
    )
    TOKEN_REFUSED = _refused_login(
        ": the personal access token was refused. DHIS2 at {url} does not take it; there are tokens from 2.38.1 on",
        "With an older DHIS2 use user name and password (make credentials); otherwise " + _MAKE_A_TOKEN,
    )
    OAUTH2_USER = _refused_login(
        ". DHIS2 at {url} accepted the OAuth2 client, but refused the user name or the password of {username}",
        "Correct user name and password (make credentials OAUTH2=yes). It is not tried again automatically, because "
        "several failures can lock the account",
    )
    OAUTH2_SECRET = _refused_login(
        ": the secret of the OAuth2 client was refused. DHIS2 at {url} knows the client, but not "
        "with this secret, or a proxy before it does not pass the header Authorization on",
        "Correct client and secret (make credentials OAUTH2=yes), as the OAuth2 client in DHIS2's Settings app has them",
    )
    OAUTH2_CLIENT = _refused_login(
        ": the OAuth2 client is unknown. DHIS2 at {url} has no client of that name",
        "Compare the client (not its display name, but its Client ID) with OAuth2 clients in DHIS2's Settings app, and "
        "correct it (make credentials OAUTH2=yes); the user's name does not belong there",
    )
    OAUTH2_GRANT_TYPE = _refused_login(
        ": the OAuth2 client may not log in with a password. DHIS2 at {url} does not allow it this grant type",
        "Tick Password and Refresh token as grant types of the OAuth2 client in DHIS2's Settings app",
    )
    OAUTH2_GONE = _refused_login(
        ": this way to log in no longer exists. DHIS2 at {url} is of version 2.42 or newer, which "
        "has no OAuth2 login with user name and password",
        "Use " + _WITHOUT_OAUTH2,
    )
    OAUTH2_OFF = _refused_login(
        ": OAuth2 is switched off. DHIS2 at {url} is there, but its address /uaa/oauth/token, which "
        "gives access tokens, is not; or a proxy before DHIS2 does not pass the path /uaa on",
        "Ask whoever runs the server to set oauth2.authorization.server.enabled = on in dhis.conf and to restart DHIS2, and "
        "to pass /uaa on in the proxy. Or use " + _WITHOUT_OAUTH2,
    )
    OAUTH2_REFUSED = _refused_login(
        ". DHIS2 at {url} refused the OAuth2 login of {username}",
        "Check user name, password, client and secret (make credentials OAUTH2=yes), and that a proxy passes the header "
        "Authorization and the path /uaa on to DHIS2",
    )
    FORBIDDEN = _Words(
        "DHIS2 at {url} does not let {username} do this",
        'Give the user a role with the authority "Add/Update Data Value" (F_DATAVALUE_ADD) in DHIS2\'s Users app',
    )
    REQUEST_TOO_LARGE = _Words(
        "A proxy before DHIS2 at {url} refused the request because it is too large",
        "Halve No. of items per payload, or ask whoever runs the proxy to allow larger requests (nginx: "
        "client_max_body_size)",
        error=Dhis2TooLargeError,
    )
    TOO_MANY_REQUESTS = _Words(
        "A proxy before DHIS2 at {url} asks for fewer requests",
        "A push tries again automatically, after the time that the proxy asks for (Retry-After); test the connection again after "
        "that time. If it happens often, ask whoever runs the proxy to allow this integration more requests",
        error=Dhis2RateLimitedError,
    )
    SERVER_FAULT = _failing(
        "DHIS2 at {url} failed", "It is tried again automatically; if it goes on, read DHIS2's server log"
    )
    SERVER_NOT_AVAILABLE = _down(
        "DHIS2 at {url} is not available now, perhaps because it is starting",
        "It is tried again automatically; if it goes on, check that DHIS2 is running, and show this message to whoever "
        "runs "
        "the firewall or proxy before DHIS2",
        may_still_be_applied=True,
    )
    GATEWAY_TIMED_OUT = _slow(
        "A proxy before DHIS2 at {url} gave up waiting; the values may be stored anyway",
        "It is tried again automatically; if it goes on, lower No. of items per payload or raise the proxy's time-out",
    )
    REFUSED_REQUEST = _Words(
        "DHIS2 at {url} did not take the request",
        "Check URL and its path, and that the DHIS2 version is one that is supported",
    )
