"""Personal access tokens of DHIS2: what shows, where one is typed, that it has a typing error. DHIS2 itself says so later."""

import zlib

from msupply_dhis2.errors import CredentialsError

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKENS = {
    # 2.38 to 2.40, and the first form of later releases.
    "d2pat_": (32, 10, 10, (0, 3)),
    # The second form, the default from 2.41.
    "d2p_": (44, 6, 62, (0, 4)),
}
"""By prefix: how many random characters, how many digits of checksum, in which base, and how many zeros (bytes) may be
counted along: DHIS2 counts a whole buffer, which in later releases is longer than what it holds."""


def is_token(text: str) -> bool:
    """Return whether something begins as a personal access token does."""
    return text.startswith(tuple(_TOKENS))


def require_token(token: str) -> None:
    """Raise a CredentialsError where a token has a typing error."""
    if fault := _fault(token):
        fault = (
            f"is not a personal access token: it {fault}. Copy the whole token again. DHIS2 shows it only once: if nobody "
            "kept it, make another one"
        )
        raise CredentialsError(f"What is given {fault}.", fault)


def _fault(token: str) -> str | None:
    prefix = next(filter(token.startswith, _TOKENS), None)
    if prefix is None:
        return "begins neither with d2pat_ nor with d2p_"
    rest = token.removeprefix(prefix)
    random, digits, base, zeros = _TOKENS[prefix]
    if len(rest) != random + digits or not (rest.isascii() and rest.isalnum()):
        return f"has {len(rest)} characters after {prefix} where a token has {random + digits} letters and digits"
    sums = (zlib.crc32(rest[:random].encode() + bytes(number)) for number in zeros)
    places = [base**place for place in reversed(range(digits))]
    if rest[random:] not in {"".join(_DIGITS[total // place % base] for place in places) for total in sums}:
        return "does not match its own checksum, so at least one character is wrong"
    return None
