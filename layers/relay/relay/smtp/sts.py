"""MTA-STS (RFC 8461): the TXT record that announces a policy, and the policy. Both pure."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LONGEST_AGE: Final = 31_557_600  # seconds, RFC 8461 §3.2

_BLANKS: Final = " \t"
_ID: Final = re.compile(r"[A-Za-z0-9]{1,32}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")  # of a field that may come to be, §3.1, §3.2
_VALUE: Final = re.compile(r"[\x21-\x3a\x3c\x3e-\x7e]+")  # of such a field in the TXT record: no blank, "=" or ";"
_AGE: Final = re.compile(r"[0-9]{1,10}")
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_MX: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")


class PolicyError(Exception):
    """What is wrong with a policy, for a person."""


class Mode(StrEnum):
    """RFC 8461 §5."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Policy:
    """mx: patterns in lower case. max_age: seconds from its fetch."""

    mode: Mode
    mx: tuple[str, ...]
    max_age: int

    def names(self, host: str) -> bool:
        """Whether `host` (in lower case) is one of the policy's (§4.1): "*." stands for exactly one label."""
        return any(
            host.partition(".")[2] == pattern[2:] and not host.startswith(".")
            if pattern.startswith("*.")
            else host == pattern
            for pattern in self.mx
        )


def announced(records: tuple[bytes, ...]) -> str | None:
    """The id in the TXT records of `_mta-sts.<domain>`; None if they announce no policy (§3.1)."""
    found = [record for record in records if re.match(rb"v[ \t]*=[ \t]*STSv1[ \t]*;", record)]
    if len(found) != 1:
        return None
    try:
        _version, *fields = found[0].decode("ascii").split(";")
    except UnicodeDecodeError:
        return None
    id: str | None = None
    if fields and not fields[-1].strip(_BLANKS):
        fields.pop()
    for field in fields:
        name, _, value = (part.strip(_BLANKS) for part in field.partition("="))
        if not (_ID if name == "id" else _VALUE).fullmatch(value) or not _NAME.fullmatch(name):
            return None
        if name == "id" and id is None:
            id = value
    return id


def parse(body: bytes) -> Policy:
    """A policy as it was fetched (§3.2). PolicyError; of a field that comes twice the first counts."""
    try:
        lines = body.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError:
        raise PolicyError("is no UTF-8") from None
    fields: dict[str, str] = {}
    mx: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip(_BLANKS):
            continue
        name, colon, value = line.partition(":")
        value = value.strip(_BLANKS)
        if not colon or not _NAME.fullmatch(name) or not value or not value.isprintable():
            raise PolicyError(f"line {number} is no field")
        if name == "mx":
            if len(value) > 255 or not _MX.fullmatch(value):
                raise PolicyError(f"line {number} names no mail server")
            mx.append(value.lower())
        else:
            fields.setdefault(name, value)
    if fields.get("version") != "STSv1":
        raise PolicyError("version is not STSv1")
    if fields.get("mode") not in tuple(Mode):
        raise PolicyError("mode is none of enforce, testing, none")
    mode = Mode(fields["mode"])
    if not _AGE.fullmatch(fields.get("max_age", "")):
        raise PolicyError("max_age is no number of seconds")
    if not mx and mode is not Mode.NONE:
        raise PolicyError("names no mail server")
    return Policy(mode, tuple(dict.fromkeys(mx)), min(int(fields["max_age"]), LONGEST_AGE))
