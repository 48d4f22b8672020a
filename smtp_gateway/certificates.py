"""The TLS context: what is spoken, and with which certificate."""

import ssl
from pathlib import Path

from relay.settings import SettingsError


def tls_context(cert_file: str, key_file: str) -> ssl.SSLContext:
    """TLS 1.2 or later (RFC 8996). SettingsError names the file that can't be used."""
    for name, path in (("GATEWAY_CERT_FILE", cert_file), ("GATEWAY_KEY_FILE", key_file)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise SettingsError(f"{name}={path!r} cannot be read: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(cert_file, key_file, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(f"GATEWAY_KEY_FILE={key_file!r} is not the key of {cert_file!r}") from None
        name, path = ("GATEWAY_KEY_FILE", key_file) if _is_certificate(cert_file) else ("GATEWAY_CERT_FILE", cert_file)
        raise SettingsError(f"{name}={path!r} is not usable PEM: {error.reason or error}") from None
    return context


def _is_certificate(path: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return False
    return True
