"""The one address and domain parser: RFC 5321 §4.1.2, RFC 6531 §3.3, IDNA 2008 (RFC 5891).

Whatever decides about an address (the gateway, validate, deliver, the tools) decides through here, so
that no two stages can read one text as two different addresses.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from relay.errors import PermanentError

MAX_LOCAL: Final = 64  # RFC 5321 §4.5.3.1.1, octets
MAX_DOMAIN: Final = 253  # RFC 1035 §2.3.4: 255 octets on the wire
MAX_ADDRESS: Final = 254  # RFC 5321 §4.5.3.1.3: 256 with the angle brackets

# Let-dig [Ldh-str], RFC 5321 §4.1.2; at most 63 octets, RFC 1035 §2.3.4
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PLAIN_DOMAIN: Final = re.compile(rf"(?:{_LABEL.pattern}\.)+{_LABEL.pattern}")

# atext, RFC 5322 §3.2.3, widened by UTF8-non-ascii (RFC 6531 §3.3)
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_DOT_STRING: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
# Quoted-string of RFC 5321 §4.1.2: qtextSMTP and quoted-pairSMTP hold no control characters
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*)"')
_QUOTED_PAIR: Final = re.compile(r"\\(.)")
_ENCODED_WORD: Final = re.compile(r"=\?[^?]*\?[bBqQ]\?")  # how one begins (RFC 2047 §2)


class AddressError(PermanentError):
    """`safe` says in one sentence what is wrong; it doesn't repeat the address."""


@dataclass(frozen=True, slots=True)
class Address:
    """local: as given, but quoted only where that is needed. domain: A-labels in lower case."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def needs_smtputf8(self) -> bool:
        """Only the local part can: the domain always has an ASCII form."""
        return not self.local.isascii()


def parse_address(text: str) -> Address:
    """A bare addr-spec such as `jo@example.com`: no angle brackets, source route, comment or literal.

    Raises AddressError.
    """
    if not text:
        raise AddressError("the address is empty")
    if text.startswith("@") and ":" in text:  # RFC 5321 §4.1.2 A-d-l, deprecated
        raise AddressError("source routes are not accepted")
    local, at, domain = text.rpartition("@")
    if text.endswith("]") and not at:
        raise AddressError("address literals are not accepted")
    if not at:
        raise AddressError("the address has no domain")
    address = Address(_parse_local(local), parse_domain(domain))
    if len(str(address).encode()) > MAX_ADDRESS:
        raise AddressError(f"the address is longer than {MAX_ADDRESS} octets")
    return address


@lru_cache(1024)  # a few domains are in most addresses
def parse_domain(text: str) -> str:
    """A mail domain in any case, U-labels or A-labels; returns A-labels in lower case.

    At least two labels of letters, digits and hyphens; no address literal, no last dot. Raises AddressError.
    """
    if len(text) > 4 * MAX_DOMAIN:  # NFC makes one character of four at most, and takes long over long runs of marks
        raise AddressError(f"the domain is longer than {MAX_DOMAIN} octets")
    lower = text.lower()
    plain = "xn--" not in lower and _PLAIN_DOMAIN.fullmatch(lower)
    domain = lower if plain else _to_ascii(text)
    if len(domain) > MAX_DOMAIN:
        raise AddressError(f"the domain is longer than {MAX_DOMAIN} octets")
    if domain[domain.rindex(".") + 1 :].isdigit():  # an IPv4 address; no top-level domain is a number
        raise AddressError("IP addresses are not accepted as a domain")
    return domain


def _to_ascii(text: str) -> str:
    """The way for what is not plain LDH: names what is wrong with it, or maps it as RFC 5895 §2 does."""
    if text.startswith("["):
        raise AddressError("address literals are not accepted")
    if not text:
        raise AddressError("the address has no domain")
    if text.endswith("."):
        raise AddressError("the domain must not end in a dot")
    # RFC 6531 §3.3: the separator is the ASCII dot; IDNA's look-alikes are not mapped to it
    labels = [_label_to_ascii(label) for label in unicodedata.normalize("NFC", text.lower()).split(".")]
    if len(labels) < 2:
        raise AddressError("the domain must have at least two labels")
    return ".".join(labels)


def _label_to_ascii(label: str) -> str:
    if not label:
        raise AddressError("the domain has an empty label")
    if label.isascii() and not label.startswith("xn--"):
        if not _LABEL.fullmatch(label):
            raise AddressError("the domain has a label that is not 1 to 63 letters, digits and inner hyphens")
        return label
    import idna  # here, because its tables are slow to load and few domains need them

    try:
        return idna.alabel(label).decode("ascii")
    except (UnicodeError, IndexError) as error:  # idna.IDNAError is a UnicodeError
        raise AddressError("the domain has a label that is not valid in IDNA 2008", str(error)) from error


def _parse_local(text: str) -> str:
    if _DOT_STRING.fullmatch(text):
        local = text
    elif quoted := _QUOTED.fullmatch(text):
        content = _QUOTED_PAIR.sub(r"\1", quoted[1])
        # RFC 5321 §4.1.2: "a" and a are the same; the form without quotes is the one to pass on
        local = content if _DOT_STRING.fullmatch(content) else '"' + re.sub(r'(["\\])', r"\\\1", content) + '"'
    else:
        raise AddressError("the part before the @ is not a valid mailbox name")
    if _ENCODED_WORD.search(local):  # RFC 2047 §5: never in an address; decoded by some, it is another one
        raise AddressError("the part before the @ has an encoded word")
    if not local.isascii() and any(unicodedata.category(each) in _UNFIT for each in local):
        raise AddressError("the part before the @ has a control character")
    if len(local.encode("utf-8", "replace")) > MAX_LOCAL:
        raise AddressError(f"the part before the @ is longer than {MAX_LOCAL} octets")
    return local


_UNFIT: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})  # C1 controls, lone surrogates, line and paragraph separators
