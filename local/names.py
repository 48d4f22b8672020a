"""The DNS names that the local system brings along, and the account that a newcomer sends with."""

from typing import Final

from relay.proof.token import records_to_publish

DEMO_USER: Final = "demo@demo.example"
DEMO_DOMAIN: Final = "demo.example"
INBOX_DOMAIN: Final = "in.example"  # its server is the mail sink


def default_zone(*, spf_domain: str, host_name: str, token_name: str) -> str:
    """A master file: the relay's own domain, an example sender domain and an example recipient domain."""
    sender = "\n".join(str(record) for record in records_to_publish(DEMO_DOMAIN, DEMO_USER, token_name, spf_domain))
    return f"""\
; The relay's own names.
{spf_domain}. TXT "v=spf1 ip4:127.0.0.1 -all"
{host_name}. A 127.0.0.1

; A domain whose mail goes to the sink, as does that of the sender domain below.
{INBOX_DOMAIN}. MX 10 mx.{INBOX_DOMAIN}.
mx.{INBOX_DOMAIN}. A 127.0.0.1
{DEMO_DOMAIN}. MX 10 mx.{INBOX_DOMAIN}.

; What {DEMO_USER} has published for {DEMO_DOMAIN}.
{sender}
"""
