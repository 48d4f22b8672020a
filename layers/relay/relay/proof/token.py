"""The ownership token: a TXT record at the sender domain itself that names the user by a hash.

`<token name>=<SHA-256 of the user name in hex>`; never inherited from a parent, never through an include.
Any shell makes the same value: echo "NAME=$(echo -n "user@domain.com" | sha256sum | cut -d ' ' -f 1)"
"""

import hashlib
from dataclasses import dataclass
from typing import Final

_LONGEST_STRING: Final = 255  # octets of one character-string (RFC 1035 §3.3)


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """name: without the last dot. type: "TXT". value: as one text, however long."""

    name: str
    type: str
    value: str

    def __str__(self) -> str:
        """As a master file has it (RFC 1035 §5.1)."""
        parts = [self.value[start : start + _LONGEST_STRING] for start in range(0, len(self.value), _LONGEST_STRING)]
        strings = " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in parts)
        return f"{self.name}. {self.type} {strings}"


def token_value(user: str, token_name: str) -> str:
    """The TXT record's text for `user`, hashed as it is written."""
    return f"{token_name}={hashlib.sha256(user.encode()).hexdigest()}"


def matches(record: bytes, user: str, token_name: str) -> bool:
    """Whether a TXT record's text is the token of `user` as registered or in lower case.

    White space at the ends and the case of name and hex don't count.
    """
    text = record.strip().lower()
    return any(text == token_value(each, token_name).lower().encode() for each in (user, user.lower()))


def is_token(record: bytes, token_name: str) -> bool:
    """Whether it is anybody's token."""
    return record.strip().lower().startswith(f"{token_name}=".lower().encode())


def records_to_publish(domain: str, user: str, token_name: str, spf_domain: str) -> tuple[DnsRecord, ...]:
    """The three records that sign `domain` up for `user`: token, SPF, DMARC."""
    return (
        DnsRecord(domain, "TXT", token_value(user, token_name)),
        DnsRecord(domain, "TXT", f"v=spf1 include:{spf_domain} -all"),
        DnsRecord(f"_dmarc.{domain}", "TXT", "v=DMARC1; p=none"),
    )
