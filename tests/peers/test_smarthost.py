"""The back end smarthost against Postfix, which relays for nobody without SASL."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from local.certificates import Authority
from relay.failure import Ends, FailureClass, Stage, judge
from relay.ports import RecipientReply
from relay.settings import Smarthost
from relay.smtp.limits import Limits
from relay.smtp.login import Login
from relay.smtp.smarthost import smarthost_transport
from relay.submission import Delivery, Inline
from tests.fakes import FakeClock
from tests.peers.servers import POSTFIX, SASLPASSWD, Peer, place, postfix
from tests.unit.smtp.zone import Zone

pytestmark = pytest.mark.skipif(
    not POSTFIX.exists() or not SASLPASSWD.exists() or os.geteuid() != 0,
    reason="postfix with SASL is not here (tests/clients/install.sh), or not to be started by this user",
)
HOST = "mx.b.example"
LOGIN = Login("relay", "pässword with blanks")
CONTENT = (
    b"From: s@a.example\r\nTo: a@b.example\r\nDate: Wed, 25 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@a.example>\r\n"
    b"Subject: x\r\n\r\nhello\r\n.\r\n"
)
A, B = "a@b.example", "b@b.example"


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with place() as folder:
        yield Authority(folder)


@pytest.fixture(params=["PLAIN LOGIN", "LOGIN"])
def peer(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Peer]:
    certificate = authority.issue(f"sasl-{len(request.param)}", (HOST,))
    login = LOGIN.user, LOGIN.password
    with (
        place() as folder,
        postfix(folder, certificate.cert_file, certificate.key_file, login=login, mechanisms=request.param) as running,
    ):
        yield running


def send(
    port: int,
    authority: Authority | None,
    *recipients: str,
    login: Login | None = LOGIN,
    implicit: bool = False,
    times: int = 1,
) -> list[RecipientReply]:
    async def given() -> Login:
        assert login
        return login

    async def scenario() -> list[RecipientReply]:
        clock = FakeClock()
        ca = authority.ca_file.read_text() if authority else ""
        transport = smarthost_transport(
            Smarthost(HOST, port, implicit, ("127.0.0.0/8",), ca),
            resolver=Zone(a_records={HOST: ("127.0.0.1",)}),
            host_name="relay.example",
            clock=clock,
            limits=Limits(),
            login=given if login else None,
        )
        to = recipients or (A,)
        delivery = Delivery("id", "account", "s@a.example", "b.example", 0, to, 0.0, Inline(CONTENT))
        try:
            replies: list[RecipientReply] = []
            for _ in range(times):
                replies += await transport.send(delivery, to, CONTENT, deadline=clock.now() + 250)
            return replies
        finally:
            transport.close()
            await asyncio.sleep(0)

    return asyncio.run(asyncio.wait_for(scenario(), 60))


def is_ours_and_later(reply: RecipientReply) -> bool:
    judged = judge(reply.code, reply.enhanced, reply.text, reply.stage, reply.remote)
    return not reply.permanent and (judged.failure, judged.ends) == (FailureClass.OURS, Ends.MENDED)


@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "implicit TLS"])
def test_relayed_byte_for_byte_for_who_has_the_login(peer: Peer, authority: Authority, implicit: bool) -> None:
    replies = send(peer.tls_port if implicit else peer.port, authority, A, B, implicit=implicit, times=2)
    assert [(reply.ok, reply.enhanced) for reply in replies] == [(True, "2.0.0")] * 4, replies
    assert {reply.tls for reply in replies} == {"TLSv1.3 verified"}
    assert {reply.remote for reply in replies} == {f"{HOST}[127.0.0.1]"}
    for stored in peer.contents(2):
        assert stored.endswith(CONTENT.replace(b"\r\n", b"\n"))


def test_a_wrong_password_is_the_relay_s_own_matter(peer: Peer, authority: Authority) -> None:
    (reply,) = send(peer.port, authority, login=Login("relay", "wrong"))
    assert is_ours_and_later(reply)
    assert f"the smarthost {HOST}[127.0.0.1]: 535 5.7.8" in reply.text
    assert reply.stage == Stage.ROUTE


def test_so_is_a_login_that_is_missing(peer: Peer, authority: Authority) -> None:
    (reply,) = send(peer.port, authority, login=None)
    assert is_ours_and_later(reply), reply


def test_a_certificate_that_nobody_vouches_for_gets_no_password(peer: Peer) -> None:
    (reply,) = send(peer.port, None)
    assert is_ours_and_later(reply)
    assert "certificate: unable to get local issuer certificate" in reply.text
