"""The TLS context: what is spoken, with which certificates, and their renewal while sessions go on."""

import calendar
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from relay.ports import Clock
from relay.settings import SettingsError
from smtp_gateway.log import Log
from smtp_gateway.settings import KeyPair

# TLS 1.2 with forward secrecy and AEAD only (RFC 9325 §4.2); OpenSSL's suites of TLS 1.3 are all of that kind. Level 2
# refuses keys and signatures below 112 bits: RSA-1024, SHA-1.
SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
CHECK_EVERY: Final = 30.0  # seconds
SOON: Final = 14 * 86_400.0  # seconds: a certificate that ends within them is told of
TELL_EVERY: Final = 86_400.0  # seconds
_KINDS: Final = {  # by the OID of the public key's algorithm, DER
    bytes.fromhex("2a864886f70d010101"): "RSA",  # RFC 3279 §2.3.1
    bytes.fromhex("2a8648ce3d0201"): "ECDSA",  # RFC 5480 §2.1.1
}
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Leaf:
    """kind: of its key, "ECDSA", "RSA", or the algorithm's OID in hex. expires: epoch seconds."""

    kind: str
    expires: float


def tls_context(pairs: Sequence[KeyPair]) -> ssl.SSLContext:
    """TLS 1.2 or later (RFC 8996), with all `pairs`: OpenSSL takes the one that the client can verify. SettingsError
    names the variable and the file that can't be used.

    Key exchange is by OpenSSL's list of groups, X25519 first: Python could only narrow it to a single one. With
    OPENSSL_CONF=smtp_gateway/openssl.cnf it is what Mozilla recommends.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # No tickets: in TLS 1.3 resuming costs what it saves, and no other process would take them (docs/decisions.md).
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    for pair in pairs:
        _load(context, pair)
    return context


def _load(context: ssl.SSLContext, pair: KeyPair) -> None:
    cert, key = f"{pair.cert_variable}={pair.cert_file!r}", f"{pair.key_variable}={pair.key_file!r}"
    for what, path in ((cert, pair.cert_file), (key, pair.key_file)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise SettingsError(f"{what} cannot be read: {error.strerror}") from None
    try:
        context.load_cert_chain(pair.cert_file, pair.key_file, password=lambda: b"")
    except OSError as error:  # ssl.SSLError is one
        reason = getattr(error, "reason", None)
        if reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}:
            raise SettingsError(f"{key} is not the key of {pair.cert_file!r}") from None
        what = key if _is_certificate(pair.cert_file) and "EE_" not in str(reason) else cert
        raise SettingsError(f"{what} is not usable PEM: {reason or error}") from None


def _is_certificate(path: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError:
        return False
    return True


def read_leaf(pem: str) -> Leaf:
    """The first certificate of a chain that OpenSSL has read. ValueError if there is none.

    The ssl module tells neither the kind of key nor the end; so a walk through the DER (RFC 5280 §4.1).
    """
    start, end = pem.index(_BEGIN), pem.index(_END)
    der = ssl.PEM_cert_to_DER_cert(pem[start:end] + _END)
    certificate = next(_elements(der, 0, len(der)))
    signed = next(_elements(der, *certificate[1:]))
    fields = [each for each in _elements(der, *signed[1:]) if each[0] != 0xA0]  # version, which may be left out
    _, _, _, validity, _, public_key = fields[:6]
    _, (tag, *span) = _elements(der, *validity[1:])
    algorithm = next(_elements(der, *public_key[1:]))
    _, start, end = next(_elements(der, *algorithm[1:]))
    oid = der[start:end]
    return Leaf(_KINDS.get(oid, oid.hex()), _time(tag, der[span[0] : span[1]].decode("ascii")))


def _elements(der: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Of each element: its tag, where its value begins and ends (X.690 §8.1)."""
    while start < end:
        tag, length = der[start], der[start + 1]
        start += 2
        if length & 0x80:
            octets = length & 0x7F
            length = int.from_bytes(der[start : start + octets], "big")
            start += octets
        yield tag, start, start + length
        start += length


def _time(tag: int, text: str) -> float:
    """RFC 5280 §4.1.2.5: UTCTime has years of two digits, 50 and later in the last century."""
    if tag == 0x17:
        text = ("19" if text >= "5" else "20") + text
    return float(calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ")))


class Certificates:
    """What new handshakes are made with. `check` regularly, `reload` when told to; a pair that can't be used leaves
    the one before in place, and is tried again at each check. SettingsError if the first can't be used."""

    def __init__(self, pairs: Sequence[KeyPair], clock: Clock, log: Log) -> None:
        self._pairs = tuple(pairs)
        self._clock = clock
        self._log = log
        self._stamp: object = None  # of what was loaded
        self._complaint = ""  # logged already
        self._tell_at = 0.0
        self.context: ssl.SSLContext
        self.expires = 0.0  # epoch seconds: the first of them to end
        self._load()
        self.check()

    def hush(self) -> None:
        """Log nothing from now on."""
        self._log = Log(self._clock, lambda _: None)

    def check(self) -> None:
        """Take files that have changed; tell, once a day, of a certificate that ends soon or has ended."""
        if self._stamp is None or _stamp(self._pairs) != self._stamp:
            self._try()
        now = self._clock.now()
        if self.expires - now < SOON and now >= self._tell_at:
            self._tell_at = now + TELL_EVERY
            self._log.certificate_expires(days=(self.expires - now) / 86_400)

    def reload(self) -> None:
        """Take the files as they are, changed or not."""
        self._complaint = ""
        self._try()
        self.check()

    def _try(self) -> None:
        try:
            self._load()
        except SettingsError as error:
            self._stamp = None
            if str(error) != self._complaint:  # a pair is often written one file after the other
                self._complaint = str(error)
                self._log.certificate_refused(error=str(error))

    def _load(self) -> None:
        stamp = _stamp(self._pairs)  # first: what changes while it is read is read again
        context = tls_context(self._pairs)
        leaves: dict[str, Leaf] = {}
        for pair in self._pairs:
            try:
                leaf = read_leaf(Path(pair.cert_file).read_text("ascii", "replace"))
            except (OSError, ValueError):
                raise SettingsError(f"{pair.cert_variable}={pair.cert_file!r} has no certificate") from None
            if leaf.kind in leaves:  # of two alike OpenSSL would serve the second only
                what = f"{pair.cert_variable}={pair.cert_file!r}"
                raise SettingsError(f"{what} is for the same kind of key ({leaf.kind}) as the other one")
            leaves[leaf.kind] = leaf
        self.context, self._stamp, self._complaint, self._tell_at = context, stamp, "", 0.0
        self.expires = min(leaf.expires for leaf in leaves.values())
        for leaf in leaves.values():
            self._log.certificate_loaded(kind=leaf.kind, expires=leaf.expires)


def _stamp(pairs: Sequence[KeyPair]) -> tuple[tuple[int, ...], ...]:
    """Changes when a file is written or replaced, and when a link on the way to it is (Kubernetes' and others'
    way of swapping several files at once): another inode then."""
    return tuple(_file_stamp(path) for pair in pairs for path in (pair.cert_file, pair.key_file))


def _file_stamp(path: str) -> tuple[int, ...]:
    try:
        found = Path(path).stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
