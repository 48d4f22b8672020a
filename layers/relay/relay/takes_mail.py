"""Whether a domain takes mail at all, as far as DNS says (RFC 5321 §5.1, RFC 7505)."""

from relay.errors import PermanentError, TemporaryError
from relay.ports import DnsStatus, Resolver


async def check_takes_mail(domain: str, resolver: Resolver) -> None:
    """domain: A-labels. PermanentError says why it takes none; TemporaryError if DNS doesn't answer."""
    try:
        answer = await resolver.mx(domain)
        if answer.status is DnsStatus.NO_NAME:
            raise PermanentError(f"{domain} does not exist in DNS")
        if answer.records:
            if any(host for _, host in answer.records):
                return
            raise PermanentError(f"{domain} takes no mail (its MX record is a null MX)")
        for ask in (resolver.a, resolver.aaaa):  # §5.1: without MX records, the domain itself
            if (await ask(domain)).addresses:
                return
    except TemporaryError as error:
        raise TemporaryError(
            f"the DNS of {domain} does not answer now: try again", error.detail or error.safe
        ) from None
    raise PermanentError(f"{domain} takes no mail (it has neither MX nor address records)")
