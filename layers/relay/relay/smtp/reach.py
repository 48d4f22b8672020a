"""Which addresses are ever connected to: those of the public internet, so that nobody's DNS records lead the relay
to what stands beside it (the metadata service, the VPC, itself).

The tables are IANA's special-purpose address registries (RFC 6890), as far as no mail server can be there.
"""

import ipaddress
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

INSIDE: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network, RFC 791 §3.2
            "10.0.0.0/8",  # private, RFC 1918
            "100.64.0.0/10",  # carrier-grade NAT, RFC 6598
            "127.0.0.0/8",  # loopback, RFC 1122 §3.2.1.3
            "169.254.0.0/16",  # link-local, RFC 3927; the metadata service is there
            "172.16.0.0/12",  # private, RFC 1918
            "192.0.0.0/24",  # protocol assignments, RFC 6890 §2.1
            "192.0.2.0/24",  # documentation, RFC 5737
            "192.88.99.0/24",  # 6to4 relays, RFC 7526
            "192.168.0.0/16",  # private, RFC 1918
            "198.18.0.0/15",  # benchmarks, RFC 2544
            "198.51.100.0/24",  # documentation, RFC 5737
            "203.0.113.0/24",  # documentation, RFC 5737
            "224.0.0.0/4",  # multicast, RFC 5771
            "240.0.0.0/4",  # reserved, RFC 1112 §4; broadcast, RFC 919
        ),
    )
)
# All that IANA has given out as unicast (RFC 4291 §2.4). So loopback, unspecified, mapped and compatible (::/8),
# unique-local (fc00::/7), link-local (fe80::/10) and multicast (ff00::/8) addresses are out by themselves.
UNICAST: Final = ipaddress.IPv6Network("2000::/3")
INSIDE_6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments, RFC 2928: Teredo (RFC 4380), which holds an IPv4 address, and others
            "2001:db8::/32",  # documentation, RFC 3849
            "2002::/16",  # 6to4, which holds an IPv4 address; given up by RFC 7526
            "3fff::/20",  # documentation, RFC 9637
        ),
    )
)
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1: the last 32 bits are the IPv4 address


class Reach:
    """opened: networks that may be connected to although they are inside (the local system). own: the relay's own
    addresses, which never are. ValueError for what is no network or address."""

    def __init__(self, opened: tuple[str, ...] = (), own: tuple[str, ...] = ()) -> None:
        self._opened: tuple[Network, ...] = tuple(map(ipaddress.ip_network, opened))
        self._own = frozenset(map(ipaddress.ip_address, own))

    def allows(self, address: str) -> bool:
        """Whether `address`, as a DNS answer has it, may be connected to."""
        try:
            return self._allows(ipaddress.ip_address(address))
        except ValueError:
            return False

    def _allows(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        if address in self._own:
            return False
        if any(address in network for network in self._opened):
            return True
        if isinstance(address, ipaddress.IPv4Address):
            return not any(address in network for network in INSIDE)
        if address in NAT64:  # a network without IPv4 reaches it that way, inside addresses with it
            return self._allows(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        return address in UNICAST and not any(address in network for network in INSIDE_6)
