"""SPF: RFC 7208. `relay.proof.spf_record` has the grammar, `spf_macro` the macros, `spf_walk` the evaluation.

    check_host    may this address send for the domain? (§4)
    reaches       the same without an address: does evaluation come to `include:` of the relay's SPF domain, or a
                  redirect= to it, and pass there?

Terms are taken in order, as a receiver takes them: what stands behind `all` is never reached, and what stands
before the include costs lookups.
"""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from relay.address import AddressError, parse_domain
from relay.errors import TemporaryError
from relay.ports import Resolver
from relay.proof.lookup import Lookup
from relay.proof.spf_macro import MAX_NAME, dotted, expand, host_name, is_domain, letters, target_name
from relay.proof.spf_record import EXPLANATION, Directive, Mechanism, Record, SpfPermError, parse_record, select, shown
from relay.proof.spf_walk import MAX_HOSTS, Decided, Walk
from relay.proof.spf_walk import Result as Result

LONGEST: Final = 1024  # characters of a sender or HELO name; valid ones are shorter (RFC 5321 §4.5.3.1)


@dataclass(frozen=True, slots=True)
class SpfResult:
    """why: the end of "its SPF record ...". explanation: of a fail, in the domain's own words (§6.2), "" if it has
    none. term: the directive that decided, as written, "" if none did. record: as found at the domain. per_sender:
    another sender or HELO name may get another result; another explanation alone doesn't count."""

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
    address = _client(ip)
    name = _domain(domain)
    if name is None:
        return SpfResult(Result.NONE, "is not looked for: the domain is no name in DNS")
    lookup = resolver if isinstance(resolver, Lookup) else Lookup(resolver)
    walk = _ByAddress(lookup, address, name, sender, helo, receiver, now)
    text = b""
    try:
        found = select(await lookup.txt(name))
        if found is None:
            return SpfResult(Result.NONE, "is missing")
        text = found
        decided = await walk.evaluate(name, parse_record(text))
        term = str(decided.directive) if decided.directive else ""
        explanation = await walk.explain(decided) if decided.result is Result.FAIL else ""
        return SpfResult(decided.result, _why(decided, name), explanation, term, text, walk.per_sender)
    except SpfPermError as error:
        return SpfResult(Result.PERMERROR, f"is invalid: {error.safe}", record=text, per_sender=walk.per_sender)
    except TemporaryError as error:
        why = f"cannot be read: {shown(error.safe, 300)}"
        return SpfResult(Result.TEMPERROR, why, record=text, per_sender=walk.per_sender)


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


def _client(ip: str | IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4-mapped address as the IPv4 one that it is (§5); without an IPv6 zone."""
    address = ip_address(ip)
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))


def _domain(text: str) -> str | None:
    """What can be asked about, lower case; None for what is malformed or of a single label (§4.3)."""
    if len(text) > MAX_NAME + 1:
        return None
    if not text.isascii():
        try:
            return parse_domain(text)
        except AddressError:
            return None
    name = text.lower().removesuffix(".")
    return name if is_domain(name) else None


def _why(decided: Decided, domain: str) -> str:
    """domain: where the evaluation began."""
    match decided.directive:
        case None:
            what = "has no match"
        case Directive(mechanism=Mechanism.ALL):
            what = f'has no match before "{decided.directive}"'
        case directive:
            what = f'has "{shown(str(directive))}", which matches'
    return what if decided.domain == domain else f"redirects to {shown(decided.domain)}, which {what}"


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

    async def target(self, spec: str, domain: str) -> str:  # noqa: ARG002 - it has no macros
        return target_name(spec, {})

    async def follow(self, term: str, spec: str, domain: str) -> Decided | None:
        if "%" in spec:
            self._note(f'has "{shown(term)}", which depends on the sender')
            return None
        return await super().follow(term, spec, domain)

    def arrived(self, target: str) -> Decided | None:
        return Decided(Result.PASS, None, Record(), target) if target == self.relay_domain else None

    async def matches(self, directive: Directive, domain: str) -> bool:
        """`a` and `mx` don't match us, but where they lead nowhere they use up the void lookups."""
        if "%" not in directive.domain:
            name = target_name(directive.domain, {}) or domain
            if directive.mechanism is Mechanism.A:
                await self.addresses(self.lookup.a, name)
            elif directive.mechanism is Mechanism.MX:
                await self.mail_hosts(directive, name)
        return False

    def _note(self, obstacle: str) -> None:
        self.why = self.why or obstacle


class _ByAddress(Walk):
    """The client is at `ip`. domain: the one in question."""

    def __init__(
        self,
        lookup: Lookup,
        ip: IPv4Address | IPv6Address,
        domain: str,
        sender: str,
        helo: str,
        receiver: str,
        now: float,
    ) -> None:
        super().__init__(lookup)
        helo = helo[-LONGEST:]
        local, _, origin = sender[-LONGEST:].rpartition("@")
        local, origin = local or "postmaster", origin if sender else helo  # §4.3, §2.4
        self.per_sender = False
        # The letters that are others for another sender of the domain, or under another HELO name
        self._telling = frozenset("slh" if origin.lower() == domain else "sloh")
        self._ip = ip
        self._ask = lookup.a if ip.version == 4 else lookup.aaaa
        self._names: tuple[str, ...] | None = None  # that the client's address points to, once they were needed
        self._values = {
            "s": f"{local}@{origin}",
            "l": local,
            "o": origin,
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
                return self._covers(await self.addresses(self._ask, name), directive)
            case Mechanism.MX:
                for host in await self.mail_hosts(directive, name):
                    if self._covers((await self._ask(host)).addresses, directive):
                        return True
                return False
            case Mechanism.EXISTS:  # §5.7: type A, whatever the client's address is
                return bool(await self.addresses(self.lookup.a, name))
            case _:
                return await self._matches_ptr(name.lower())

    async def target(self, spec: str, domain: str) -> str:
        if "%" not in spec:
            return target_name(spec, {})
        found = letters(spec)
        self.per_sender = self.per_sender or not found.isdisjoint(self._telling)
        if "p" in found and self._names is None:
            self.count()  # §4.6.4: of %{p} too; not in an explanation
        return target_name(spec, await self._expansions(spec, domain))

    async def explain(self, decided: Decided) -> str:
        """§6.2: what the domain says to those it fails; "" for whatever is wrong with that."""
        spec, domain = decided.record.exp, decided.domain
        if not spec:
            return ""
        try:
            name = target_name(spec, await self._expansions(spec, domain))
            texts = (await self.lookup.txt(name)).records
            text = texts[0].decode("ascii") if len(texts) == 1 else ""
            if not EXPLANATION.fullmatch(text):
                return ""
            explanation = expand(text, await self._expansions(text, domain))
        except (TemporaryError, UnicodeDecodeError):
            return ""
        return explanation if explanation.isascii() and explanation.isprintable() else ""

    async def _expansions(self, text: str, domain: str) -> dict[str, str]:
        """What its macros stand for, in the record of `domain`; only %{p} costs lookups."""
        if "%" not in text:
            return {}
        values = {**self._values, "d": domain}
        if "p" in letters(text):
            values["p"] = await self._validated_name(domain)
        return values

    def _covers(self, addresses: tuple[str, ...], directive: Directive) -> bool:
        """§5.3: whether as many leading bits as the directive says are the same."""
        width = self._ip.max_prefixlen
        free = width - (directive.cidr4 if width == 32 else directive.cidr6)
        wanted = int(self._ip) >> free
        return any(int(ip_address(each)) >> free == wanted for each in addresses)

    async def _matches_ptr(self, target: str) -> bool:
        """§5.5. Where DNS doesn't answer it doesn't match."""
        try:
            names = await self._pointers()
        except TemporaryError:
            return False
        self.count_void(void=not names)
        for name in names:
            if (name == target or name.endswith(f".{target}")) and await self._validates(name):
                return True
        return False

    async def _validated_name(self, domain: str) -> str:
        """%{p} (§7.3): of the validated names `domain` itself, else one below it, else any, else "unknown"."""
        try:
            names = await self._pointers()
        except TemporaryError:
            return "unknown"
        for name in sorted(names, key=lambda each: (each != domain, not each.endswith(f".{domain}"))):
            if await self._validates(name):
                return name
        return "unknown"

    async def _pointers(self) -> tuple[str, ...]:
        if self._names is None:
            answer = await self.lookup.ptr(self._ip.reverse_pointer)
            self._names = tuple(map(host_name, answer.names[:MAX_HOSTS]))
        return self._names

    async def _validates(self, name: str) -> bool:
        """Whether it leads back to the client's address; one that DNS doesn't answer about is passed over (§5.5)."""
        try:
            addresses = (await self._ask(name)).addresses
        except TemporaryError:
            return False
        return any(ip_address(each) == self._ip for each in addresses)
