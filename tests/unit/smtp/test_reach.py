import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.smtp.reach import Reach

INSIDE = {
    "loopback": "127.0.0.1",
    "all of loopback": "127.255.255.254",
    "unspecified": "0.0.0.0",
    "this network": "0.1.2.3",
    "private 10": "10.1.2.3",
    "private 172": "172.31.255.255",
    "private 192": "192.168.0.1",
    "metadata service": "169.254.169.254",
    "task metadata": "169.254.170.2",
    "carrier-grade NAT": "100.64.0.1",
    "protocol assignments": "192.0.0.8",
    "benchmarks": "198.19.0.1",
    "documentation": "203.0.113.9",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 loopback": "::1",
    "IPv6 unspecified": "::",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped metadata service": "::ffff:a9fe:a9fe",
    "mapped public": "::ffff:9.9.9.9",
    "compatible": "::169.254.169.254",
    "translated": "::ffff:0:169.254.169.254",
    "6to4 of private": "2002:a01:203::1",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "NAT64 of the metadata service": "64:ff9b::169.254.169.254",
    "NAT64 of loopback": "64:ff9b::7f00:1",
    "local NAT64": "64:ff9b:1::9.9.9.9",
    "unique-local": "fd00:ec2::254",
    "unique-local, fc": "fc00::1",
    "link-local": "fe80::1",
    "link-local with a zone": "fe80::1%eth0",
    "site-local": "fec0::1",
    "IPv6 multicast": "ff02::1",
    "IPv6 documentation": "2001:db8::1",
    "new IPv6 documentation": "3fff::1",
    "discard": "100::1",
    "segment routing": "5f00::1",
}


@pytest.mark.parametrize("address", INSIDE.values(), ids=INSIDE)
def test_inside_is_never_connected_to(address: str) -> None:
    assert not Reach().allows(address)


@pytest.mark.parametrize(
    "address",
    [
        "9.9.9.9",
        "100.63.255.255",
        "100.128.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "2620:fe::9",
        "2a00::1",
        "64:ff9b::9.9.9.9",
    ],
)
def test_the_public_internet_is(address: str) -> None:
    assert Reach().allows(address)


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f000001", "2130706433", "9.9.9.9/32", "9.9.9.09", "[::1]"]
)
def test_what_is_no_address_is_not_connected_to(text: str) -> None:
    assert not Reach(opened=("127.0.0.0/8",)).allows(text)


def test_a_network_that_was_opened() -> None:
    reach = Reach(opened=("127.0.0.0/8", "fd00::/8"))
    assert reach.allows("127.0.0.1")
    assert reach.allows("fd00::1")
    assert not reach.allows("10.0.0.1")
    assert not reach.allows("::ffff:127.0.0.1")


def test_own_addresses_even_where_the_network_was_opened() -> None:
    reach = Reach(opened=("127.0.0.0/8",), own=("127.0.0.1", "9.9.9.9", "2620:fe::9"))
    assert not any(map(reach.allows, ("127.0.0.1", "9.9.9.9", "2620:fe:0::9", "64:ff9b::9.9.9.9")))
    assert reach.allows("127.0.0.2")


@pytest.mark.parametrize("opened", ["127.0.0.1/8", "loopback", ""])
def test_a_network_that_is_none(opened: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Reach(opened=(opened,))


@given(st.ip_addresses())
def test_nothing_is_reached_that_the_standard_library_knows_to_be_inside(address: object) -> None:
    """Another table than ours, so that a range left out shows."""
    assert isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
    if address.is_private or address.is_multicast or address.is_reserved or address.is_unspecified:
        assert not Reach().allows(str(address)) or str(address).startswith("64:ff9b:")
