"""What session tickets cost the server (CPU of its side alone, per connection), with and without resumption.

Both ends are in this process, over memory; only the server's calls are timed. P-256 as the baselines have it.
python -m bench.tickets [connections]
"""

import ssl
import statistics
import sys
import time
from pathlib import Path

from smtp_gateway.certificates import tls_context
from smtp_gateway.tls import Tls
from tests.gateway import certificate, client_context, key_pair

ROUNDS = 5
REPLIES = 6  # greeting, EHLO twice, AUTH, MAIL, 250: what a short session reads and writes


class Client:
    def __init__(self, context: ssl.SSLContext, session: ssl.SSLSession | None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost", session=session)
        self.ready = False

    def receive(self, data: bytes) -> bytes:
        self.incoming.write(data)
        try:
            if not self.ready:
                self.object.do_handshake()
                self.ready = True
            self.object.read(65536)
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()


def connection(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[float, Client]:
    """Seconds of the server's CPU for a handshake and a short session."""
    client = Client(client_context, session)
    flight = client.receive(b"")
    spent = -time.thread_time()
    server = Tls(server_context)
    spent += time.thread_time()
    while flight:
        spent -= time.thread_time()
        server.receive(flight)
        answer = server.outgoing()
        spent += time.thread_time()
        flight = client.receive(answer)
    for _ in range(REPLIES):
        client.object.write(b"x" * 40)
        flight = client.outgoing.read()
        spent -= time.thread_time()
        server.receive(flight)
        server.send(b"250 2.0.0 OK\r\n")
        answer = server.outgoing()
        spent += time.thread_time()
        client.receive(answer)
    return spent, client


def main(connections: int) -> None:
    print("version  tickets  client   ms/connection")
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        for tickets in (2, 1, 0):
            if version is ssl.TLSVersion.TLSv1_2 and tickets == 2:
                continue
            for resumes in (False, True) if tickets else (False,):
                server_context = tls_context((key_pair(*certificate()),))
                server_context.num_tickets = tickets
                if not tickets:
                    server_context.options |= ssl.OP_NO_TICKET
                else:
                    server_context.options &= ~ssl.OP_NO_TICKET
                context = client_context()
                context.maximum_version = version
                medians = []
                for _ in range(ROUNDS):
                    _, client = connection(server_context, context, None)
                    total, resumed = 0.0, 0
                    for _ in range(connections):
                        spent, client = connection(server_context, context, client.object.session if resumes else None)
                        total += spent
                        resumed += bool(client.object.session_reused)
                    assert resumed == (connections if resumes else 0), resumed
                    medians.append(total / connections * 1000)
                how = "resumes" if resumes else "new"
                print(f"{version.name:8} {tickets:7}  {how:8} {statistics.median(medians):.3f}")


if __name__ == "__main__":
    assert Path("bench").is_dir()
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
