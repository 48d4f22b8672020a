"""Near misses: what somebody published who meant to sign D up for USER, and each sentence that this person reads.

For test_hints.py, and for test_check.py, which runs `mailrelay check` against a DNS server that has them.

    python -m tests.unit.proof.near_misses > docs/near-misses.md
"""

import hashlib
from base64 import b64encode
from dataclasses import dataclass

from relay.proof.verdict import Proof

USER = "App@login.example"
D = "mail.corp.example"
NAME = "elastx-mrs"
RELAY = "elastx.email"
BELOW = f"_dmarc.{D}"

Value = str | bytes


def sha256(text: str, encoding: str = "utf-8") -> str:
    return hashlib.sha256(text.encode(encoding)).hexdigest()


HASH = sha256(USER)
TOKEN = f"{NAME}={HASH}"
OTHER = f"{NAME}={sha256('else@login.example')}"
SPF = f"v=spf1 include:{RELAY} -all"
DMARC = "v=DMARC1; p=none"
GOOD: dict[Proof, tuple[str, Value]] = {Proof.TOKEN: (D, TOKEN), Proof.SPF: (D, SPF), Proof.DMARC: (BELOW, DMARC)}


@dataclass(frozen=True)
class Miss:
    """records: (name, value) in place of the right one of `proof`. publish: the mended record; "" if it is as for
    any other problem. elsewhere: found by further lookups only."""

    proof: Proof
    records: tuple[tuple[str, Value], ...]
    says: tuple[str, ...]
    publish: str = ""
    elsewhere: bool = False
    more: str = ""  # other records of the zone

    @property
    def zone(self) -> str:
        """With what is right of the other proofs."""
        own = [value for _, value in self.records if isinstance(value, str)]
        there = {self.proof, *([Proof.SPF] if any(value.startswith(f"{SPF} ") for value in own) else [])}
        others = [record for proof, record in GOOD.items() if proof not in there]
        return "".join(line(name, value) for name, value in (*self.records, *others)) + self.more


def line(name: str, value: Value) -> str:
    """Of a master file, in strings of at most 255 octets."""
    octets = value.encode() if isinstance(value, str) else value
    parts = [octets[start : start + 255] for start in range(0, len(octets), 255)]
    plain = bytes(each for each in range(32, 127) if each not in b'"\\')
    shown = ["".join(chr(each) if each in plain else f"\\{each:03}" for each in part) for part in parts]
    return f"{name}. 60 TXT " + " ".join(f'"{each}"' for each in shown or [""]) + "\n"


def token(value: Value, *says: str) -> Miss:
    return Miss(Proof.TOKEN, ((D, value),), says)


def hashed(text: str, how: str, encoding: str = "utf-8") -> Miss:
    return token(f"{NAME}={sha256(text, encoding)}", f"the {NAME} record of {D} is the hash of {how}")


def its(what: str) -> str:
    return f"the {NAME} record of {D} {what}"


ALONE = "hash the name alone"
TOKENS = {
    "another user's": token(OTHER, its(f"is the hash of another user name: leave it, and publish one for {USER}, too")),
    "two other users'": Miss(
        Proof.TOKEN,
        ((D, OTHER), (D, f"{NAME}={sha256('third@login.example')}")),
        (f"2 {NAME} records of {D} are hashes of other user names: leave them, and publish one for {USER}, too",),
    ),
    "hash of upper case": hashed(USER.upper(), f'"{USER.upper()}": hash app@login.example, in lower case, alone'),
    "hash of another case": hashed(
        "App@Login.Example", '"App@Login.Example": hash app@login.example, in lower case, alone'
    ),
    "hash of upper case, echo": hashed(
        "APP@login.example\n",
        '"APP@login.example" and a line feed after it: hash app@login.example, in lower case, alone',
    ),
    "hash with a line feed": hashed(
        f"{USER}\n", f'{USER} with a line feed after it, which "echo" adds: use "echo -n" or "printf %s"'
    ),
    "hash of lower case with a line feed": hashed(
        f"{USER.lower()}\n",
        f'{USER.lower()} with a line feed after it, which "echo" adds: use "echo -n" or "printf %s"',
    ),
    "hash with CRLF": hashed(f"{USER}\r\n", f"{USER} with a CR and LF after it, as a line of a file has: {ALONE}"),
    "hash with two line feeds": hashed(f"{USER}\n\n", f"{USER} with two line feeds after it: {ALONE}"),
    "hash with a space after": hashed(f"{USER} ", f"{USER} with a space after it: {ALONE}"),
    "hash with a space before": hashed(f" {USER}", f"{USER} with a space before it: {ALONE}"),
    "hash with spaces": hashed(f" {USER} ", f"{USER} with spaces around it: {ALONE}"),
    "hash with quotes": hashed(f'"{USER}"', f"{USER} with quotation marks around it: {ALONE}"),
    "hash with quotes, echo": hashed(
        f'"{USER}"\n', f"{USER} with quotation marks around it and a line feed after it: {ALONE}"
    ),
    "hash with single quotes": hashed(f"'{USER}'", f"{USER} with single quotes around it: {ALONE}"),
    "hash with typographic quotes": hashed(f"“{USER}”", f"{USER} with typographic quotes around it: {ALONE}"),
    "hash with angle brackets": hashed(f"<{USER}>", f"{USER} with < and > around it: {ALONE}"),
    "hash with a dot": hashed(f"{USER}.", f"{USER} with a dot after it: {ALONE}"),
    "hash with mailto": hashed(f"mailto:{USER}", f'{USER} with "mailto:" before it: {ALONE}'),
    "hash of UTF-16": hashed(
        USER, f"{USER} in UTF-16, as PowerShell makes it: hash it in UTF-8 without a mark", "utf-16-le"
    ),
    "hash with a byte order mark": hashed(
        USER, f"{USER} with a byte order mark before it: hash it in UTF-8 without a mark", "utf-8-sig"
    ),
    "hash of the hash": hashed(HASH, "the hash: hash the user name once"),
    "hash of the whole record": hashed(f"{NAME}={USER}", "the whole record: hash the user name alone"),
    "hash of the domain": hashed("login.example", f"login.example alone: hash the whole user name, {USER}"),
    "hash of the sender domain": hashed(f"{D}\n", f"{D} alone: hash the whole user name, {USER}"),
    "hash of the local part": hashed("App", f'"App" alone: hash the whole user name, {USER}'),
    "hash of @domain": hashed("@login.example", f"@login.example alone: hash the whole user name, {USER}"),
    "hash of nothing": hashed("", f"nothing, as of an empty variable: hash the whole user name, {USER}"),
    "hash of the example": hashed(
        "user@domain.com", f"user@domain.com, the guide's example: hash the whole user name, {USER}"
    ),
    "MD5": token(f"{NAME}={'a' * 32}", its("has 32 hex digits, as of MD5: publish the SHA-256 hash, which has 64")),
    "SHA-1": token(f"{NAME}={'a' * 40}", its("has 40 hex digits, as of SHA-1: publish the SHA-256 hash, which has 64")),
    "SHA-512": token(
        f"{NAME}={'a' * 128}", its("has 128 hex digits, as of SHA-512: publish the SHA-256 hash, which has 64")
    ),
    "63 digits": token(f"{NAME}={'a' * 63}", its("has 63 hex digits: publish the SHA-256 hash, which has 64")),
    "cut off": token(TOKEN[:-4], its("is cut off after 60 of the hash's 64 digits: copy all of it")),
    "base64": token(
        f"{NAME}={b64encode(bytes.fromhex(HASH)).decode()}", its("has the hash in base64: publish it in hex, 64 digits")
    ),
    "base64 for URLs": token(
        f"{NAME}={b64encode(bytes.fromhex(HASH), b'-_').decode().rstrip('=')}",
        its("has the hash in base64: publish it in hex, 64 digits"),
    ),
    "the user name itself": token(f"{NAME}={USER}", its("has the user name itself: publish its SHA-256 hash, in hex")),
    "a command not run": token(
        f"{NAME}=$(echo -n $USER)", its('has "$(echo -n $USER)" where the hash belongs: publish 64 hex digits')
    ),
    "typographic quotes": token(f"“{TOKEN}”", its("has typographic quotes (U+201C) in it: publish it again without")),
    "typographic quotes around the value": token(
        f"{NAME}=‘{HASH}’", its("has typographic quotes (U+2018) in it: publish it again without")
    ),
    "typographic quotes taken for Windows-1252": token(
        f"“{TOKEN}”".encode().decode("latin-1").encode(),
        its("has typographic quotes (U+201C) in it: publish it again without"),
    ),
    "typographic quotes in Windows-1252": token(
        f"“{TOKEN}”".encode("cp1252"), its("has typographic quotes (U+201C) in it: publish it again without")
    ),
    "straight quotes": token(f'"{TOKEN}"', its("has quotation marks in it: publish it again without")),
    "straight quotes around the value": token(
        f'{NAME}="{HASH}"', its("has quotation marks in it: publish it again without")
    ),
    "escaped quotes": token(
        f'\\"{TOKEN}\\"', its("has a backslash and quotation marks in it: publish it again without")
    ),
    "single quotes": token(f"'{TOKEN}'", its("has single quotes in it: publish it again without")),
    "a typographic dash": token(
        f"elastx–mrs={HASH}", its("has a typographic dash (U+2013) in it: publish it again without")
    ),
    "an invisible character": token(
        f"{NAME}=\u200b{HASH}", its("has an invisible character (U+200B) in it: publish it again without")
    ),
    "a no-break space": token(
        f"\u00a0{TOKEN}", its("has a space of another kind (U+00A0) in it: publish it again without")
    ),
    "spaces around =": token(f"{NAME} = {HASH}", its('has a space beside its "=": publish it again without')),
    "a space after =": token(f"{NAME}= {HASH}", its('has a space beside its "=": publish it again without')),
    ": for =": token(f"{NAME}:{HASH}", its('has ":" where "=" belongs: publish it again with "="')),
    ": and a space for =": token(f"{NAME}: {HASH}", its('has ":" where "=" belongs: publish it again with "="')),
    "==": token(f"{NAME}=={HASH}", its('has "==" where "=" belongs: publish it again with one')),
    "a space for =": token(f"{NAME} {HASH}", its('has no "=" before the hash: put one there')),
    "no =": token(f"{NAME}{HASH}", its('has no "=" before the hash: put one there')),
    "no name": token(HASH, f'at {D} the hash "{HASH[:17]}..." stands alone: put "{NAME}=" before it'),
    "a misspelt name": token(
        f"elastx-msr={HASH}",
        f'in the record "elastx-msr={HASH[:16]}..." of {D} the name is misspelt: write "{NAME}="',
    ),
    "a misspelt name and another hash": token(
        f"elastxmrs={sha256(f'{USER} ')}",
        f'in the record "elastxmrs={sha256(f"{USER} ")[:17]}..." of {D} the name is misspelt: write "{NAME}="',
        its(f"is the hash of {USER} with a space after it: {ALONE}"),
    ),
    "a dot behind": token(f"{TOKEN}.", its('has "." besides the 64 digits of the hash: take that away')),
    "what sha256sum prints behind": token(
        f"{TOKEN}  -", its('has "-" besides the 64 digits of the hash: take that away')
    ),
    "what openssl prints before": token(
        f"{NAME}=SHA2-256(stdin)= {HASH}",
        its('has "sha2-256(stdin)=" besides the 64 digits of the hash: take that away'),
    ),
    "inside the SPF record": Miss(
        Proof.TOKEN,
        ((D, f"{SPF} {TOKEN}"),),
        (f"the token is inside the SPF record of {D}: publish it as a TXT record of its own",),
    ),
    "several in one record": token(
        f"{OTHER} {TOKEN}", its("holds several tokens: publish each as a TXT record of its own")
    ),
}


def spf(value: Value, publish: str, *says: str) -> Miss:
    return Miss(Proof.SPF, ((D, value),), says, publish)


def term(found: str, meant: str, what: str, rest: str = "mx -all") -> Miss:
    return spf(f"v=spf1 {found} {rest}", f"v=spf1 {meant} {rest}", f"in the SPF record of {D} {what}")


def relays(found: str, what: str) -> Miss:
    """A term that was meant to include the relay."""
    return term(found, f"include:{RELAY}", f'"{found}" {what}: write "include:{RELAY}"')


def others(found: str, meant: str) -> Miss:
    """A term that has nothing to do with the relay, and breaks the record."""
    return term(found, f"include:{RELAY} {meant}", f'"{found}" is no term of SPF: write "{meant}"')


def no_record(value: str, shown: str = "", why: str = 'it has to start with "v=spf1" and a space') -> Miss:
    return spf(value, SPF, f'the TXT record "{shown or value}" of {D} is no SPF record: {why}')


def odd(value: Value, what: str) -> Miss:
    return spf(value, SPF, f"the SPF record of {D} has {what} in it: publish it again without")


HOSTS = f"is about hosts of that name, not about the relay's servers, which {RELAY} lists"
LEFT_OUT = "cannot be read and is left out of what to publish: correct it, then put it back"
MERGE = f"{D} has 2 SPF records, which counts as none (RFC 7208): merge them into one"
SPFS = {
    "two records": Miss(
        Proof.SPF,
        ((D, "v=spf1 mx -all"), (D, f"v=spf1 include:{RELAY} ip4:192.0.2.1 ~all")),
        (MERGE,),
        f"v=spf1 include:{RELAY} ip4:192.0.2.1 mx ~all",
    ),
    "two records, one of them a redirect": Miss(
        Proof.SPF,
        ((D, "v=spf1 redirect=corp.example"), (D, f"v=spf1 include:{RELAY} -all")),
        (MERGE,),
        f"v=spf1 include:{RELAY} include:corp.example -all",
    ),
    "a misspelt domain": relays("include:elastix.email", f"is not the relay's domain, which is spelt {RELAY}"),
    "a domain without its end": relays("include:elastx", f"is not the relay's domain, which is spelt {RELAY}"),
    "the server's name": relays(f"include:smtp.{RELAY}", f"is another name than the relay's domain, {RELAY}"),
    "includes": relays(f"includes:{RELAY}", "is no term of SPF"),
    "inclde": relays(f"inclde:{RELAY}", "is no term of SPF"),
    "include=": relays(f"include={RELAY}", 'has "=" where ":" belongs'),
    "redirect:": relays(f"redirect:{RELAY}", 'has ":" where "=" belongs'),
    "a:": relays(f"a:{RELAY}", HOSTS),
    "mx:": relays(f"mx:{RELAY}", HOSTS),
    "no include": relays(RELAY, "stands alone"),
    "-include": relays(f"-include:{RELAY}", 'has the sign "-", which does not let the relay pass'),
    "~include": relays(f"~include:{RELAY}", 'has the sign "~", which does not let the relay pass'),
    "?include": relays(f"?include:{RELAY}", 'has the sign "?", which does not let the relay pass'),
    "a space behind the colon": term(
        f"include: {RELAY}",
        f"include:{RELAY}",
        f'there is a space beside the ":" of "include: {RELAY}": take it away',
    ),
    "a space before the colon": term(
        f"include :{RELAY}",
        f"include:{RELAY}",
        f'there is a space beside the ":" of "include :{RELAY}": take it away',
    ),
    "behind all": spf(
        f"v=spf1 mx -all include:{RELAY}",
        f"v=spf1 include:{RELAY} mx -all",
        f'in the SPF record of {D} "include:{RELAY}" stands behind "-all", where nobody looks: put it before',
    ),
    "a redirect beside all": spf(
        f"v=spf1 mx redirect={RELAY} -all",
        f"v=spf1 include:{RELAY} mx -all",
        f'in the SPF record of {D} "redirect={RELAY}" counts for nothing beside "-all": write "include:{RELAY}"'
        " before it",
    ),
    "+all": spf(
        "v=spf1 mx +all",
        f"v=spf1 include:{RELAY} mx ~all",
        f'in the SPF record of {D} "+all" lets anybody send: write "~all" or "-all"',
    ),
    "no version": no_record(f"include:{RELAY} -all", why='put "v=spf1" and a space before it'),
    "v=spf1;": no_record(f"v=spf1; include:{RELAY} -all"),
    "v=spf1include": no_record(f"v=spf1include:{RELAY} -all"),
    "spf1": no_record(f"spf1 include:{RELAY} -all"),
    "v=spf": no_record(f"v=spf include:{RELAY} -all"),
    "v=spf 1": no_record(f"v=spf 1 include:{RELAY} -all"),
    "v=spf2": no_record(f"v=spf2 include:{RELAY} -all"),
    "v=sfp1": no_record(f"v=sfp1 include:{RELAY} -all"),
    "a misspelt version beside a right record": Miss(
        Proof.SPF,
        ((D, f"v=spf include:{RELAY} -all"), (D, "v=spf1 mx -all")),
        (
            f'the TXT record "v=spf include:{RELAY} -all" of {D} is no SPF record: it has to start with "v=spf1" and a'
            " space",
        ),
        f"v=spf1 include:{RELAY} mx -all",
    ),
    "a leading space": odd(f" {SPF}", "a leading space"),
    "typographic quotes": odd(f"“{SPF}”", "typographic quotes (U+201C)"),
    "typographic quotes taken for Windows-1252": odd(
        f"“{SPF}”".encode().decode("latin-1").encode(), "typographic quotes (U+201C)"
    ),
    "typographic quotes inside": odd(f"v=spf1 include:“{RELAY}” -all", "typographic quotes (U+201C)"),
    "straight quotes": odd(f'"{SPF}"', "quotation marks"),
    "a typographic dash": odd(f"v=spf1 include:{RELAY} –all", "a typographic dash (U+2013)"),
    "a no-break space": odd(f"v=spf1\u00a0include:{RELAY} -all", "a space of another kind (U+00A0)"),
    "commas": spf(
        f"v=spf1,include:{RELAY},-all",
        SPF,
        f'the TXT record "v=spf1,include:{RELAY},-all" of {D} is no SPF record: it has to start with "v=spf1" and a'
        " space",
        f'in the SPF record of {D} there is "," between terms: put a space in its place',
    ),
    "semicolons": spf(
        f"v=spf1 include:{RELAY}; -all",
        SPF,
        f'in the SPF record of {D} there is ";" between terms: put a space in its place',
    ),
    "grown together": spf(
        f"v=spf1 ip4:192.0.2.1include:{RELAY} -all",
        f"v=spf1 include:{RELAY} ip4:192.0.2.1 -all",
        f'in the SPF record of {D} there is no space between "ip4:192.0.2.1" and "include:{RELAY}" (strings of one'
        " record are joined without): put one there",
    ),
    "grown together with all": spf(
        f"v=spf1 include:{RELAY}-all",
        SPF,
        f'in the SPF record of {D} there is no space between "include:{RELAY}" and "-all" (strings of one record are'
        " joined without): put one there",
    ),
    "ipv4": others("ipv4:192.0.2.1", "ip4:192.0.2.1"),
    "an address in a": others("a:192.0.2.1", "ip4:192.0.2.1"),
    "an address alone": others("192.0.2.0/24", "ip4:192.0.2.0/24"),
    "another include misspelt": others("inlcude:_spf.corp.example", "include:_spf.corp.example"),
    "all with a dot": spf(
        "v=spf1 mx -all.",
        f"v=spf1 include:{RELAY} mx -all",
        f'in the SPF record of {D} "-all." is no term of SPF: write "-all"',
    ),
    "an include of nothing": Miss(
        Proof.SPF,
        ((D, "v=spf1 include:gone.example -all"),),
        (f'in the SPF record of {D} "include:gone.example" leads to no SPF record: take it out',),
        f"v=spf1 include:{RELAY} include:gone.example -all",
    ),
    "15 lookups": Miss(
        Proof.SPF,
        (
            (D, f"v=spf1 a mx include:one.example include:two.example include:three.example include:{RELAY} -all"),
            ("one.example", "v=spf1 a mx include:two.example -all"),
            ("two.example", "v=spf1 a:x.example -all"),
            ("three.example", "v=spf1 a mx -all"),
            (RELAY, "v=spf1 a:a.example a:b.example -all"),
        ),
        (
            f"the SPF record of {D} takes 15 DNS lookups, 10 are allowed, the record to publish takes 15, too:"
            f" include:one.example 5, include:three.example 3, include:{RELAY} 3, include:two.example 2, a 1, mx 1;"
            " take out what is not used any more",
        ),
        f"v=spf1 include:{RELAY} a mx include:one.example include:two.example include:three.example -all",
        more="".join(
            f"{name}. A 192.0.2.1\n{name}. MX 10 {D}.\n" for name in (D, "one.example", "three.example", "x.example")
        ),
    ),
    "30 lookups": Miss(
        Proof.SPF,
        (
            (D, f"v=spf1 {' '.join(f'a:{number}.web.example' for number in range(29))} include:{RELAY} -all"),
            (RELAY, "v=spf1 ip4:192.0.2.0/24 -all"),
        ),
        (
            f"the SPF record of {D} takes 30 DNS lookups, 10 are allowed, the record to publish takes 30, too:"
            f" {', '.join(f'a:{number}.web.example 1' for number in range(11))} and 19 more; take out what is not used"
            " any more",
        ),
        f"v=spf1 include:{RELAY} {' '.join(f'a:{number}.web.example' for number in range(29))} -all",
        more="".join(f"{number}.web.example. A 192.0.2.1\n" for number in range(29)),
    ),
    "10 lookups without the relay": Miss(
        Proof.SPF,
        (
            (D, f"v=spf1 {' '.join(f'a:{number}.web.example' for number in range(10))} -all"),
            (RELAY, "v=spf1 a:a.example -all"),
        ),
        (
            f"the SPF record to publish for {D} takes 12 DNS lookups, 10 are allowed: include:{RELAY} 2,"
            f" {', '.join(f'a:{number}.web.example 1' for number in range(10))}; take out what is not used any more",
        ),
        f"v=spf1 include:{RELAY} {' '.join(f'a:{number}.web.example' for number in range(10))} -all",
        more="".join(f"{number}.web.example. A 198.51.100.1\n" for number in range(10)),
    ),
    "3 void lookups": Miss(
        Proof.SPF,
        (
            (D, f"v=spf1 a mx include:one.example include:{RELAY} -all"),
            ("one.example", "v=spf1 a -all"),
            (RELAY, "v=spf1 ip4:192.0.2.0/24 -all"),
        ),
        (
            f"3 DNS lookups of the SPF record of {D} find no record, 2 such lookups are allowed: a, mx, a of"
            " one.example; take out what is not used any more",
        ),
        f"v=spf1 include:{RELAY} a mx include:one.example -all",
    ),
    "a term with a syntax error": Miss(
        Proof.SPF,
        ((D, f"v=spf1 mx ip4:203.0.113.0.1 include:{RELAY} -all"),),
        (f'in the SPF record of {D} "ip4:203.0.113.0.1" {LEFT_OUT}',),
        f"v=spf1 include:{RELAY} mx -all",
    ),
}


def dmarc(value: Value, what: str, publish: str = DMARC) -> Miss:
    return Miss(Proof.DMARC, ((BELOW, value),), (f"the DMARC record at {BELOW} {what}",), publish)


STARTS = 'it has to start with "v=DMARC1;"'
DMARCS = {
    "v=DMARC": dmarc("v=DMARC; p=none", f'starts with "v=DMARC; p=none": {STARTS}'),
    "v=DMARC2": dmarc("v=DMARC2; p=reject", f'starts with "v=DMARC2; p=reject": {STARTS}', "v=DMARC1; p=reject"),
    "no v": dmarc("DMARC1; p=none", f'starts with "DMARC1; p=none": {STARTS}'),
    "v:": dmarc("v:DMARC1; p=none", f'starts with "v:DMARC1; p=none": {STARTS}'),
    "v=DMRAC1": dmarc("v=DMRAC1; p=none", f'starts with "v=DMRAC1; p=none": {STARTS}'),
    "lower case": dmarc("v=dmarc1; p=none", 'starts with "v=dmarc1;...": DMARC1 has to be in capitals'),
    "no semicolons": dmarc(
        "v=DMARC1 p=quarantine rua=mailto:a@corp.example",
        'has no ";" behind "v=DMARC1": put one there, and between the tags',
        "v=DMARC1; p=quarantine; rua=mailto:a@corp.example",
    ),
    "commas": dmarc("v=DMARC1, p=none", 'has no ";" behind "v=DMARC1": put one there, and between the tags'),
    "one semicolon missing": dmarc(
        "v=DMARC1; p=reject pct=100", 'has no ";" behind "p=reject": put one there', "v=DMARC1; p=reject"
    ),
    "rejct": dmarc("v=DMARC1; p=rejct", 'has "p=rejct": write "p=reject"', "v=DMARC1; p=reject"),
    "block": dmarc("v=DMARC1; p=block", 'has "p=block": p is none, quarantine or reject'),
    "sp": dmarc("v=DMARC1; p=reject; sp=nonne", 'has "sp=nonne": write "sp=none"', "v=DMARC1; p=reject; sp=none"),
    "a leading space": dmarc(f" {DMARC}", "has a leading space in it: publish it again without"),
    "typographic quotes": dmarc(f"“{DMARC}”", "has typographic quotes (U+201C) in it: publish it again without"),
    "straight quotes": dmarc(f'"{DMARC}"', "has quotation marks in it: publish it again without"),
    "escaped semicolons": dmarc("v=DMARC1\\; p=none", "has a backslash in it: publish it again without"),
    "the version last": dmarc(
        "p=reject; v=DMARC1", 'has "v=DMARC1" behind another tag: put it first', "v=DMARC1; p=reject"
    ),
    "the version last, no semicolon": dmarc(
        "p=quarantine v=DMARC1", 'has "v=DMARC1" behind another tag: put it first', "v=DMARC1; p=quarantine"
    ),
    "two records": Miss(
        Proof.DMARC,
        ((BELOW, "v=DMARC1; p=none; rua=mailto:a@corp.example"), (BELOW, "v=DMARC1;p=reject")),
        (f"{BELOW} has 2 DMARC records, which counts as none (RFC 9989): leave one there",),
        "v=DMARC1;p=reject",
    ),
    "two records of one policy": Miss(
        Proof.DMARC,
        ((BELOW, "v=DMARC1; p=none"), (BELOW, "v=DMARC1; p=none; rua=mailto:a@corp.example")),
        (f"{BELOW} has 2 DMARC records, which counts as none (RFC 9989): leave one there",),
        "v=DMARC1; p=none; rua=mailto:a@corp.example",
    ),
    "two records at the domain itself": Miss(
        Proof.DMARC,
        ((D, "v=DMARC1; p=quarantine"), (D, "v=DMARC1; p=none")),
        (f"{D} has 2 DMARC records, which counts as none (RFC 9989): leave one, and move it to {BELOW}",),
        "v=DMARC1; p=quarantine",
    ),
    "at the domain itself, misspelt": Miss(
        Proof.DMARC,
        ((D, "v=DMARC1 p=none"),),
        (
            f'the DMARC record at {D} has no ";" behind "v=DMARC1": put one there, and between the tags',
            f"a DMARC record belongs at {BELOW}, not at {D}: move it",
        ),
        DMARC,
    ),
}


def elsewhere(proof: Proof, name: str, why: str) -> Miss:
    kind, belongs = {
        Proof.TOKEN: ("an ownership token", D),
        Proof.SPF: ("an SPF record", D),
        Proof.DMARC: ("a DMARC record", BELOW),
    }[proof]
    said = f"there is {kind} at {name}, it belongs at {belongs}: {why}"
    value, publish = {
        Proof.TOKEN: (TOKEN, ""),
        Proof.SPF: ("v=spf1 mx -all", f"v=spf1 include:{RELAY} mx -all" if CONSOLE in why else ""),
        Proof.DMARC: ("v=DMARC1; p=quarantine", "v=DMARC1; p=quarantine"),
    }[proof]
    return Miss(proof, ((name, value),), (said,), publish, elsewhere=True)


CONSOLE = "the DNS console adds"


def console(adds: str, enter: str) -> str:
    return f"{CONSOLE} {adds} by itself, so enter {enter} as the name"


TWICE = console(D, '"@" or nothing')
WWW = f"a record at www.{D} is for mail from ...@www.{D}"
PARENT = "what corp.example has is not inherited"
NOWHERE_ELSE = "receivers look nowhere else"
ELSEWHERE = {
    "token at www": elsewhere(Proof.TOKEN, f"www.{D}", WWW),
    "token at _dmarc": elsewhere(Proof.TOKEN, BELOW, "only the DMARC record stands at _dmarc"),
    "token at _spf": elsewhere(Proof.TOKEN, f"_spf.{D}", "nothing stands before the domain"),
    "token at the token's name": elsewhere(
        Proof.TOKEN, f"{NAME}.{D}", f"{NAME} is the start of the value, not of the name"
    ),
    "the hash alone at the token's name": Miss(
        Proof.TOKEN,
        ((f"{NAME}.{D}", HASH.upper()),),
        (
            f"there is an ownership token at {NAME}.{D}, it belongs at {D}: {NAME} is the start of the value, not"
            " of the name",
        ),
        elsewhere=True,
    ),
    "token at the parent": elsewhere(Proof.TOKEN, "corp.example", PARENT),
    "token at the domain twice over": elsewhere(Proof.TOKEN, f"{D}.{D}", console(D, '"@" or nothing')),
    "token with the zone twice over": elsewhere(Proof.TOKEN, f"{D}.corp.example", console("corp.example", '"mail"')),
    "SPF at www": elsewhere(Proof.SPF, f"www.{D}", WWW),
    "SPF at _dmarc": elsewhere(Proof.SPF, BELOW, "only the DMARC record stands at _dmarc"),
    "SPF at _spf": elsewhere(Proof.SPF, f"_spf.{D}", "nothing stands before the domain"),
    "SPF at the parent": elsewhere(Proof.SPF, "corp.example", PARENT),
    "SPF at the domain twice over, with a syntax error": Miss(
        Proof.SPF,
        ((f"{D}.{D}", "v=spf1 mx ip4:999.1.1.1 -all"),),
        (
            f"there is an SPF record at {D}.{D}, it belongs at {D}: {TWICE}",
            f'in the SPF record of {D} "ip4:999.1.1.1" {LEFT_OUT}',
        ),
        f"v=spf1 include:{RELAY} mx -all",
        elsewhere=True,
    ),
    "SPF at the domain twice over": elsewhere(Proof.SPF, f"{D}.{D}", console(D, '"@" or nothing')),
    "DMARC at www": elsewhere(Proof.DMARC, f"www.{D}", NOWHERE_ELSE),
    "DMARC without the underscore": elsewhere(Proof.DMARC, f"dmarc.{D}", "the name starts with an underscore"),
    "DMARC at the domain twice over": elsewhere(Proof.DMARC, f"{BELOW}.{D}", console(D, '"_dmarc"')),
    "DMARC with the zone twice over": elsewhere(
        Proof.DMARC, f"{BELOW}.corp.example", console("corp.example", '"_dmarc.mail"')
    ),
}

MISSES = {
    **{f"token: {name}": miss for name, miss in TOKENS.items()},
    **{f"SPF: {name}": miss for name, miss in SPFS.items()},
    **{f"DMARC: {name}": miss for name, miss in DMARCS.items()},
    **{f"elsewhere: {name}": miss for name, miss in ELSEWHERE.items()},
}

TITLES = {
    "The ownership token": TOKENS,
    "SPF": SPFS,
    "DMARC": DMARCS,
    "At another name": ELSEWHERE,
}
INTRODUCTION = f"""\
# Near misses

What somebody may publish who means to sign `{D}` up for the user `{USER}`, and the sentence that
`mailrelay check` says about it after `hint:`. The first about a domain's own record is also in the SMTP reply and in
the notice of a refusal. The record to publish that follows is their own, mended.

`tests/unit/proof/near_misses.py` makes this page; `tests/unit/proof/test_hints.py` and
`tests/unit/relayctl/test_check.py` hold the code to it, the latter with a DNS server that has these records.
"""


def page() -> str:
    """docs/near-misses.md."""
    parts = [INTRODUCTION]
    for title, misses in TITLES.items():
        rows = (f"| {name} | {'<br>'.join(map(_cell, miss.says))} |\n" for name, miss in misses.items() if miss.says)
        parts.append(f"\n## {title}\n\n| published | what the user reads |\n| --- | --- |\n{''.join(rows)}")
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("$", "\\$").replace("*", "\\*")


if __name__ == "__main__":
    print(page(), end="")
