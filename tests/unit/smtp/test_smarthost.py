"""The smarthost: one way for all, verified TLS, AUTH; and which of its refusals are the relay's own matter."""

import asyncio
import ssl
from dataclasses import replace
from typing import Any

import pytest

from local.certificates import Authority
from relay.errors import OutageError
from relay.failure import Ends, FailureClass, Stage, dead, judge
from relay.ports import RecipientReply
from relay.settings import Smarthost
from relay.smtp.login import Login
from relay.smtp.smarthost import SmarthostTransport, smarthost_transport
from relay.submission import Delivery, Inline
from tests.fakes import FakeClock
from tests.unit.smtp.scripted import CAPABILITIES, Script, Sink
from tests.unit.smtp.world import CONTENT, SHORT, SOON, A, B
from tests.unit.smtp.zone import Zone

HOST = "smart.example"
LOGIN = Login("relay", "secret")


class Pki:
    """A CA as PEM, and a server's TLS context for HOST."""

    def __init__(self, authority: Authority) -> None:
        self.ca = authority.ca_file.read_text()
        made = authority.issue("smart", (HOST,))
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(made.cert_file, made.key_file)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(Authority(tmp_path_factory.mktemp("ca")))


def script(pki: Pki, **more: Any) -> Script:
    fields: dict[str, Any] = {
        "tls": pki.server,
        "capabilities": (*CAPABILITIES, "STARTTLS"),
        "after_tls_capabilities": (*CAPABILITIES, "AUTH LOGIN PLAIN"),
    }
    return Script(**{**fields, **more})


def send(
    server: Script,
    pki: Pki,
    *recipients: str,
    login: Login | OutageError | None = LOGIN,
    addresses: tuple[str, ...] = ("127.0.0.1",),
    ca: str | None = None,
    **options: Any,
) -> tuple[list[RecipientReply], Sink]:
    async def given() -> Login:
        assert login is not None
        if isinstance(login, OutageError):
            raise login
        return login

    async def scenario() -> tuple[list[RecipientReply], Sink]:
        async with Sink(server) as sink:
            clock = FakeClock()
            fields: dict[str, Any] = {"networks": ("127.0.0.0/8",), **options}
            transport = smarthost_transport(
                Smarthost(HOST, sink.port, ca=pki.ca if ca is None else ca, **fields),
                resolver=Zone(a_records={HOST: addresses}),
                host_name="relay.example",
                clock=clock,
                limits=replace(SHORT, auth=SOON),
                login=given if login is not None else None,
            )
            to = recipients or (A,)
            delivery = Delivery("id", "account", "s@a.example", "b.example", 0, to, 0.0, Inline(CONTENT))
            replies = await transport.send(delivery, to, CONTENT, deadline=clock.now() + 30)
            transport.close()
            return list(replies), sink

    return asyncio.run(asyncio.wait_for(scenario(), 30))


def is_ours(reply: RecipientReply) -> bool:
    judged = judge(reply.code, reply.enhanced, reply.text, reply.stage, reply.remote)
    ours = (judged.failure, judged.ends) == (FailureClass.OURS, Ends.MENDED)
    assert not ours or not reply.permanent
    return ours


def test_any_domain_s_mail_goes_there_over_verified_tls_with_auth(pki: Pki) -> None:
    replies, sink = send(script(pki), pki, A, "c@other.example")
    assert [(reply.ok, reply.remote, reply.tls) for reply in replies] == [
        (True, f"{HOST}[127.0.0.1]", "TLSv1.3 verified")
    ] * 2
    assert [(each.rcpts, each.content, each.tls) for each in sink.received] == [([A, "c@other.example"], CONTENT, True)]
    assert [line.split()[0] for line in sink.commands[0]][:5] == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL"]


def test_without_a_login_there_is_no_auth(pki: Pki) -> None:
    (reply,), sink = send(script(pki), pki, login=None)
    assert reply.ok
    assert not any(line.startswith("AUTH") for line in sink.commands[0])


SECRETIVE = {
    "no TLS offered": ({"capabilities": (*CAPABILITIES, "AUTH PLAIN")}, {}),
    "STARTTLS refused": ({"starttls": "454 4.7.0 no"}, {}),
    "somebody else's certificate": ({}, {"ca": ""}),
    "TLS from the first octet on, where there is none": ({}, {"implicit": True}),
}


@pytest.mark.parametrize(("more", "options"), SECRETIVE.values(), ids=SECRETIVE)
def test_no_password_without_verified_tls(pki: Pki, more: dict[str, Any], options: dict[str, Any]) -> None:
    (reply,), sink = send(script(pki, **more), pki, **options)
    assert is_ours(reply)
    assert not any(line.startswith("AUTH") for lines in sink.commands for line in lines)
    assert sink.received == []


OURS = {
    "greeting 554": {"greeting": "554 5.7.1 no"},
    "greeting 421": {"greeting": "421 4.7.0 busy"},
    "no answer": {"greeting": "drop"},
    "EHLO refused": {"ehlo": "550 5.7.1 no", "helo": "550 5.7.1 no"},
    "AUTH not offered": {"after_tls_capabilities": CAPABILITIES},
    "AUTH refused": {"auth": "535 5.7.8 no"},
    "AUTH later": {"auth": "454 4.7.0 no"},
    "AUTH and silence": {"auth": "hang"},
    "AUTH wanted at MAIL": {"mail": "530 5.7.0 Authentication required"},
    "relaying denied": {"rcpt": "554 5.7.1 <a@b.example>: Relay access denied"},
    "unable to relay": {"rcpt": "550 5.7.54 Unable to relay recipient in non-accepted domain"},
}
THEIRS = {
    "no such user": ({"rcpt": "550 5.1.1 no such user"}, True, Stage.RCPT),
    "busy": ({"rcpt": "450 4.2.0 later"}, False, Stage.RCPT),
    "the sender": ({"mail": "553 5.7.1 sender not owned by user"}, True, Stage.MAIL),
    "the content": ({"content": "554 5.7.1 spam"}, True, Stage.DOT),
    "no answer to the content": ({"content": "drop"}, False, Stage.DOT),
    "too small": ({"after_tls_capabilities": ("AUTH PLAIN", "SIZE 5")}, True, Stage.EHLO),
}


@pytest.mark.parametrize("more", OURS.values(), ids=OURS)
def test_that_it_is_away_or_lets_nobody_in_ends_nobody_s_mail(pki: Pki, more: dict[str, Any]) -> None:
    replies, sink = send(script(pki, **more), pki, A, B)
    assert all(map(is_ours, replies)), replies
    assert {(reply.stage, reply.remote, reply.enhanced) for reply in replies} == {(Stage.ROUTE, "", "4.3.0")}
    assert all(f"the smarthost {HOST}[127.0.0.1]: " in reply.text for reply in replies)
    assert sink.received == []


@pytest.mark.parametrize(("more", "permanent", "stage"), THEIRS.values(), ids=THEIRS)
def test_what_it_says_of_a_message_counts(pki: Pki, more: dict[str, Any], permanent: bool, stage: Stage) -> None:
    (reply,), _ = send(script(pki, **more), pki)
    assert (reply.ok, reply.permanent, reply.stage, reply.remote) == (False, permanent, stage, f"{HOST}[127.0.0.1]")


def test_but_not_of_an_address(pki: Pki) -> None:
    """Whether a mailbox exists is for its own server to say."""
    (reply,), _ = send(script(pki, rcpt="550 5.1.1 no such user"), pki)
    assert dead([reply]) == {A}
    assert dead([reply._replace(via="mx")]) == {A}
    assert dead([reply._replace(via="smarthost")]) == frozenset()


@pytest.mark.parametrize("addresses", [("10.0.0.1",), ("127.0.0.1",), ()], ids=["private", "loopback", "none"])
def test_an_inside_address_only_where_the_operator_opened_it(pki: Pki, addresses: tuple[str, ...]) -> None:
    (reply,), sink = send(script(pki), pki, addresses=addresses, networks=("192.168.0.0/16",))
    assert is_ours(reply)
    assert sink.commands == []


def test_without_the_secret_it_waits(pki: Pki) -> None:
    (reply,), _ = send(script(pki), pki, login=OutageError("a service is away", "for the log"))
    assert is_ours(reply)
    assert "a service is away" in reply.text
    assert "for the log" not in reply.text


@pytest.mark.parametrize(("enhanced", "text"), [("4.4.7", "no time"), ("4.4.5", "in use")])
def test_want_of_time_is_nothing_to_mend(enhanced: str, text: str) -> None:
    """It lets the message expire: else one that never gets its turn would stay for ever."""
    reply = RecipientReply(A, False, False, 451, enhanced, text, stage=Stage.ROUTE)
    assert SmarthostTransport._judged(SmarthostTransport(None, HOST), reply) == reply  # type: ignore[arg-type]


def test_the_words_stay_within_what_an_outcome_holds() -> None:
    long = RecipientReply(A, False, True, 554, "5.0.0", "ü" * 500, "h[1]", stage=Stage.CONNECT)
    assert len(SmarthostTransport._judged(SmarthostTransport(None, HOST), long).text.encode()) <= 1_000  # type: ignore[arg-type]
