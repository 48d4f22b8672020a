"""TLS with a mail server: with whoever answers, or with the very host that a policy demands."""

import ssl
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tls:
    """verified: the certificate has to be the host's, and there is no session without one.
    Otherwise TLS is used where it is offered, whosever certificate it is. implicit: from the first octet on, without
    STARTTLS (RFC 8314 §3.3).
    """

    context: ssl.SSLContext
    verified: bool = False
    implicit: bool = False


def opportunistic_tls() -> ssl.SSLContext:
    """Against listeners only, since without a policy nobody is authenticated and the alternative is plaintext
    (RFC 7435)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def verified_tls(ca_file: str | None = None, *, ca: str | None = None) -> ssl.SSLContext:
    """A chain to a CA that the system trusts (or to one in `ca_file`, or in `ca`, which is PEM), and the host among the
    certificate's dNSNames: its CN doesn't count (RFC 8461 §4.2, RFC 9525 §6.3)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file or ca:
        context.load_verify_locations(ca_file, cadata=ca or None)
    else:
        context.load_default_certs()
    return context
