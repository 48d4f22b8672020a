"""The server's side of TLS, sans-IO: ciphertext in, plaintext out, and back.

Not loop.start_tls(): octets that come between STARTTLS and its return reach whichever protocol the loop has at that
moment (uvloop and asyncio differ), and a half-closed TLS connection can't be had from it.
"""

import ssl
from collections.abc import Mapping
from typing import Final

_RECORD: Final = 16_384  # octets of plaintext in a record at most (RFC 8446 §5.1); OpenSSL reads no more at once
_CHACHA20: Final = "CHACHA20_POLY1305_SHA256"
IANA_NAMES: Final[Mapping[str, str]] = {  # of TLS 1.2's suites, by OpenSSL's; TLS 1.3's are the same in both
    "ECDHE-ECDSA-AES128-GCM-SHA256": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305": f"TLS_ECDHE_ECDSA_WITH_{_CHACHA20}",
    "ECDHE-RSA-AES128-GCM-SHA256": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305": f"TLS_ECDHE_RSA_WITH_{_CHACHA20}",
}


class Tls:
    """One connection. `receive` and `send` return what to do with their octets; after each, write `outgoing()`."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.ready = False  # the handshake is over
        self.ended = False  # the client has said that it sends no more

    @property
    def suite(self) -> str:
        """The cipher suite, as IANA names it, such as "TLS_AES_256_GCM_SHA384"; "" before `ready`."""
        cipher = self._object.cipher()
        return IANA_NAMES.get(cipher[0], cipher[0]) if cipher else ""

    def receive(self, data: bytes) -> bytes:
        """Ciphertext -> plaintext. ssl.SSLError when it isn't TLS, or not as we want it."""
        self._incoming.write(data)
        plain: list[bytes] = []
        try:
            if not self.ready:
                self._object.do_handshake()
                self.ready = True
            while self._incoming.pending or self._object.pending():  # to ask for nothing costs an exception
                if not (piece := self._object.read(_RECORD)):
                    self.ended = True  # close_notify
                    break
                plain.append(piece)
        except ssl.SSLWantReadError:  # half a record
            pass
        return b"".join(plain)

    def send(self, data: bytes) -> None:
        """Only once `ready`."""
        written = self._object.write(data)
        while written < len(data):  # a record at a time
            written += self._object.write(data[written : written + _RECORD])

    def end(self) -> None:
        """close_notify: we send no more (RFC 8446 §6.1)."""
        try:
            self._object.unwrap()
        except ssl.SSLError:  # the client's own is not there yet
            pass

    def outgoing(self) -> bytes:
        return self._outgoing.read()
