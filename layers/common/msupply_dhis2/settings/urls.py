"""Which machines the address of DHIS2 must not lead to: those that answer a function about itself.

Instance metadata (169.254.169.254, fd00:ec2::254) hands out credentials to whoever asks from within, and what listens
on a function's own loopback is Lambda's. Whoever may write the settings must not reach them by writing such an
address into URL, nor by a name that resolves to one; so the address that a connection really has is looked at too,
before anything is sent over it. Private addresses (10.0.0.0/8 and the like) are allowed: many a DHIS2 has one.
"""

import os
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

_OF_AWS = IPv6Network("fd00:ec2::/32")
"""Instance metadata, time and name servers of AWS over IPv6; unlike 169.254.0.0/16 not link-local."""

_THIS_NETWORK = IPv4Network("0.0.0.0/8")
"""What is no machine's address (RFC 1122), and which some systems take for their own."""

_TRANSLATED = IPv6Network("64:ff9b::/96")
"""NAT64 (RFC 6052): the last 32 bits are an IPv4 address."""


def is_forbidden(host: str) -> bool:
    """Return whether a host is an IP address that must not be called; a name is none.

    Loopback is forbidden within Lambda only: on one's own machine DHIS2 may run there, and so it may beside an
    emulator of AWS, which is told by its own address.
    """
    address = _address(host)
    if address is None:
        return False
    if address.is_loopback:
        return _is_within_lambda()
    is_of_aws = isinstance(address, IPv6Address) and address in _OF_AWS
    # Reserved are, among others, the many other ways of writing an IPv4 address as one of IPv6.
    is_no_server_s = address.is_reserved or address.is_multicast or address.is_unspecified
    return address.is_link_local or is_no_server_s or is_of_aws or address in _THIS_NETWORK


def is_public(host: str) -> bool:
    """Return whether an IP address is one of the internet's: neither private, nor loopback, nor link-local."""
    address = _address(host)
    return address is None or address.is_global


def is_this_machine(host: str) -> bool:
    """Return whether a host is this very machine, by its address or as ``localhost``."""
    address = _address(host)
    return host.casefold() == "localhost" if address is None else address.is_loopback


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address that a host is, the IPv4 address where an IPv6 address stands for one."""
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_within_lambda() -> bool:
    if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:
        return False
    emulator = urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname
    return emulator not in {"localhost", "127.0.0.1", "::1"}
