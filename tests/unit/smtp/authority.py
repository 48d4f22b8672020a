"""A private CA, and servers' TLS contexts with its certificates."""

import ssl
from pathlib import Path

from local.certificates import Authority


class Servers:
    """ca_file: the CA that clients are told to trust."""

    def __init__(self, folder: Path) -> None:
        self._authority = Authority(folder)
        self.ca_file = str(self._authority.ca_file)

    def tls(self, *hosts: str) -> ssl.SSLContext:
        """With a certificate for `hosts`."""
        made = self._authority.issue(hosts[0].replace("*", "star"), hosts)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.cert_file, made.key_file)
        return context
