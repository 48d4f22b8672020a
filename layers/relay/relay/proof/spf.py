"""SPF: RFC 7208. `relay.proof.spf_record` has the grammar, `spf_macro` the macros, `spf_walk` the evaluation.

    check_host    may this address send for the domain? (§4)
    reaches       the same without an address: does evaluation come to `include:` of the relay's SPF domain, or a
                  redirect= to it, and pass there?

Terms are taken in order, as a receiver takes them: what stands behind `all` is never reached, and what stands
before the include costs lookups.
"""

import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from relay.address import AddressError, parse_domain
from relay.errors import TemporaryError
from relay.ports import AddressAnswer, DnsStatus, Resolver
from relay.proof.lookup import Lookup
from relay.proof.spf_macro import depends_on_sender, dotted, expand, letters, target_name, validated_name
from relay.proof.spf_record import EXPLANATION, Directive, Mechanism, Record, SpfPermError, parse_record, select, shown
from relay.proof.spf_walk import Decided, Walk
from relay.proof.spf_walk import Result as Result

MAX_HOSTS: Final = 10  # §4.6.4: of one MX answer; of one PTR answer that are looked at
_LABEL: Final = re.compile(r"[^.]{1,63}")


@dataclass(frozen=True, slots=True)
class SpfResult:
    """why: the end of "its SPF record ...". explanation: of a fail, in the domain's own words (§6.2), "" if it has
    none. term: the directive that decided, "" if none did. record: as found at the domain. per_sender: another
    sender of the domain may get another result."""

    result: Result
    why: str = ""
    explanation: str = ""
    term: str = ""
    record: bytes = b""
    per_sender: bool = False

    def __str__(self) -> str:
        return self.result.value


class Reach(Enum):
    REACHED = "reached"
    NOT_REACHED = "not reached"
    NO_RECORD = "no record"
    BROKEN = "broken"  # permerror


@dataclass(frozen=True, slots=True)
class SpfReach:
    """why: what is wrong, as the end of "its SPF record ..."; "" if reached. record: as found at the domain."""

    reach: Reach
    why: str = ""
    record: bytes = b""


async def check_host(
    ip: str | IPv4Address | IPv6Address,
    domain: str,
    sender: str,
    helo: str,
    resolver: Resolver,
    *,
    receiver: str = "unknown",
    now: float = 0.0,
) -> SpfResult:
    """RFC 7208 §4: may `ip` send mail of `sender` for `domain`? Never raises for what DNS holds or doesn't answer.

    sender: the MAIL FROM address, "" for the null reverse-path. helo: the client's name. receiver, now (epoch
    seconds): for the macros r and t, which only an explanation has. ValueError for an `ip` that is none.
    """
    address = ip_address(ip) if isinstance(ip, str) else ip
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    name = _domain(domain)
    if name is None:
        return SpfResult(Result.NONE, "is not looked for: the domain is no name in DNS")
    lookup = resolver if isinstance(resolver, Lookup) else Lookup(resolver)
    walk = _ByAddress(lookup, mapped or address, sender or f"postmaster@{helo}", helo, receiver, now)
    text = b""
    try:
        found = select(await lookup.txt(name))
        if found is None:
            return SpfResult(Result.NONE, "is missing")
        text = found
        decided = await walk.evaluate(name, parse_record(text))
        term = str(decided.directive) if decided.directive else ""
        explanation = await walk.explain(decided) if decided.result is Result.FAIL else ""
        return SpfResult(decided.result, _why(decided), explanation, term, text, walk.per_sender)
    except SpfPermError as error:
        return SpfResult(Result.PERMERROR, f"is invalid: {error.safe}", record=text, per_sender=walk.per_sender)
    except TemporaryError as error:
        return SpfResult(Result.TEMPERROR, f"cannot be read: {error.safe}", record=text, per_sender=walk.per_sender)


async def reaches(domain: str, relay_domain: str, resolver: Resolver) -> SpfReach:
    """Whether `domain`'s record reaches `relay_domain` with a pass. TemporaryError if DNS doesn't answer (§2.6.6)."""
    lookup = resolver if isinstance(resolver, Lookup) else Lookup(resolver)
    text: bytes | None = b""
    try:
        text = select(await lookup.txt(domain))
        if text is None:
            return SpfReach(Reach.NO_RECORD)
        record = parse_record(text)
        walk = _ByInclude(lookup, relay_domain)
        if domain == relay_domain or (await walk.evaluate(domain, record)).result is Result.PASS:
            return SpfReach(Reach.REACHED, record=text)
        return SpfReach(Reach.NOT_REACHED, walk.why or f"does not include {relay_domain}", text)
    except SpfPermError as error:
        return SpfReach(Reach.BROKEN, f"is invalid: {error.safe}", text or b"")


def with_include(record: bytes, relay_domain: str) -> str:
    """The record with the relay's include put first, where nothing can keep a receiver from it."""
    include = f"include:{relay_domain}"
    text = record.decode("ascii", "replace")
    others = [each for each in text.split(" ")[1:] if each and each.lower().lstrip("+-~?") != include]
    return " ".join(["v=spf1", include, *others])


def _domain(text: str) -> str | None:
    """What can be asked about, lower case; None for what is malformed or of a single label (§4.3)."""
    name = text.lower().removesuffix(".")
    if not name.isascii():
        try:
            name = parse_domain(name)
        except AddressError:
            return None
    parts = name.split(".")
    return name if len(parts) > 1 and all(map(_LABEL.fullmatch, parts)) and len(name) <= 253 else None


def _why(decided: Decided) -> str:
    match decided.directive:
        case None:
            return "has nothing that matches it"
        case Directive(mechanism=Mechanism.ALL):
            return f'has nothing that matches it before "{decided.directive}"'
        case directive:
            return f'has "{shown(str(directive))}", which matches it'


class _ByInclude(Walk):
    """The sender is "a server of the relay": `include:<relay_domain>` matches it; addresses, names and macros (which
    we can't compare) don't, and only what was reached for sure counts."""

    def __init__(self, lookup: Lookup, relay_domain: str) -> None:
        super().__init__(lookup)
        self.relay_domain = relay_domain
        self.why = ""  # the first obstacle worth telling

    def result(self, directive: Directive) -> Result:
        if directive.mechanism is Mechanism.ALL:
            return Result.FAIL  # everybody isn't the relay
        result = super().result(directive)
        if result is not Result.PASS:
            self._note(f'has "{shown(str(directive))}", which does not pass')
        return result

    async def target(self, spec: str, domain: str) -> str | None:  # noqa: ARG002 - macros don't count
        if "%" in spec:
            self._note(f'has "{shown(spec)}", which depends on the sender')
            return None
        return spec.removesuffix(".")

    def arrived(self, target: str) -> Decided | None:
        return Decided(Result.PASS, None, Record(), target) if target == self.relay_domain else None

    async def matches(self, directive: Directive, domain: str) -> bool:
        """`a` and `mx` don't match us, but where they lead nowhere they use up the void lookups."""
        name = directive.domain or domain
        if directive.mechanism in (Mechanism.A, Mechanism.MX) and "%" not in name:
            ask = self.lookup.a if directive.mechanism is Mechanism.A else self.lookup.mx
            self.count_void(void=(await ask(name)).status is not DnsStatus.OK)
        return False

    def _note(self, obstacle: str) -> None:
        self.why = self.why or obstacle


class _ByAddress(Walk):
    """The sender is at `ip`. sender: never empty."""

    def __init__(
        self, lookup: Lookup, ip: IPv4Address | IPv6Address, sender: str, helo: str, receiver: str, now: float
    ) -> None:
        super().__init__(lookup)
        local, _, of = sender.rpartition("@")
        self.per_sender = False
        self._ip = ip
        self._ask = lookup.a if ip.version == 4 else lookup.aaaa
        self._names: list[str] | None = None  # validated, once they were needed
        local = local or "postmaster"  # §4.3
        self._values = {
            "s": f"{local}@{of}",
            "l": local,
            "o": of,
            "i": dotted(ip),
            "v": "in-addr" if ip.version == 4 else "ip6",
            "h": helo,
            "c": str(ip),
            "r": receiver,
            "t": str(int(now)),
        }

    async def matches(self, directive: Directive, domain: str) -> bool:
        if directive.network is not None:
            return self._ip in directive.network
        name = await self.target(directive.domain, domain) if directive.domain else domain
        match directive.mechanism:
            case Mechanism.A:
                return self._covers(await self._addresses(name, counted=True), directive)
            case Mechanism.MX:
                return await self._matches_mx(name, directive)
            case Mechanism.EXISTS:  # §5.7: type A, whatever the client's address is
                answer = await self.lookup.a(name)
                self.count_void(void=not answer.addresses)
                return bool(answer.addresses)
            case _:  # ptr, §5.5
                wanted = name.lower()
                return any(each == wanted or each.endswith(f".{wanted}") for each in await self._validated())

    async def target(self, spec: str, domain: str) -> str:
        self.per_sender = self.per_sender or depends_on_sender(spec)
        return target_name(spec, await self._expansions(spec, domain))

    async def explain(self, decided: Decided) -> str:
        """§6.2: what the domain says to those it fails; "" for whatever is wrong with that."""
        record, domain = decided.record, decided.domain
        if not record.exp:
            return ""
        try:
            name = target_name(record.exp, await self._expansions(record.exp, domain))
            texts = (await self.lookup.txt(name)).records
            text = texts[0].decode("ascii") if len(texts) == 1 else ""
            return expand(text, await self._expansions(text, domain)) if EXPLANATION.fullmatch(text) else ""
        except (TemporaryError, UnicodeDecodeError):
            return ""

    async def _expansions(self, text: str, domain: str) -> dict[str, str]:
        """What its macros stand for, in the record of `domain`; only %{p} costs lookups."""
        if "%" not in text:
            return {}
        values = {**self._values, "d": domain}
        if "p" in letters(text):
            values["p"] = validated_name(await self._validated(), domain)
        return values

    async def _addresses(self, name: str, *, counted: bool = False) -> list[IPv4Address | IPv6Address]:
        """Of our kind. counted: to find none is a void lookup."""
        answer: AddressAnswer = await self._ask(name)
        if counted:
            self.count_void(void=not answer.addresses)
        return [ip_address(each) for each in answer.addresses]

    def _covers(self, addresses: list[IPv4Address | IPv6Address], directive: Directive) -> bool:
        """§5.3: as many leading bits as the directive says are the same."""
        cidr = directive.cidr4 if self._ip.version == 4 else directive.cidr6
        return any(self._ip in ip_network(f"{each}/{cidr}", strict=False) for each in addresses)

    async def _matches_mx(self, name: str, directive: Directive) -> bool:
        answer = await self.lookup.mx(name)
        self.count_void(void=not answer.records)
        hosts = [host for _, host in sorted(answer.records) if host]  # not the null MX (RFC 7505)
        if len(hosts) > MAX_HOSTS:
            raise SpfPermError(f'"{shown(str(directive))}" has more than {MAX_HOSTS} hosts')
        for host in hosts:
            if self._covers(await self._addresses(host), directive):
                return True
        return False

    async def _validated(self) -> list[str]:
        """The client's names that lead back to its address (§5.5); where DNS doesn't answer there is none."""
        if self._names is None:
            self._names = []
            try:
                answer = await self.lookup.ptr(self._ip.reverse_pointer)
            except TemporaryError:
                return self._names
            for name in answer.names[:MAX_HOSTS]:
                try:
                    if self._ip in await self._addresses(name):
                        self._names.append(name)
                except TemporaryError:
                    continue
        return self._names
