"""AUTH, sans-IO: what is written after which reply."""

from base64 import b64encode

import pytest

from relay.smtp.login import Login, authenticate
from relay.smtp.protocol import Capabilities, Phase, RefusedError
from relay.smtp.replies import ProtocolError, Reply

LOGIN = Login("relay@example.com", "pässword")
USER, PASSWORD = b64encode(b"relay@example.com") + b"\r\n", b64encode("pässword".encode()) + b"\r\n"
PLAIN = b"AUTH PLAIN " + b64encode(b"\0relay@example.com\0" + "pässword".encode()) + b"\r\n"
BOTH, ONLY_LOGIN = (b"LOGIN", b"PLAIN"), (b"NTLM", b"LOGIN")


def dialogue(auth: tuple[bytes, ...], *codes: int) -> list[bytes]:
    """What is written, with these replies in turn."""
    exchange = authenticate(Capabilities(auth=auth), LOGIN)
    written = []
    ask = next(exchange)
    try:
        for code in codes:
            assert ask.phase is Phase.AUTH
            written.append(ask.data)
            ask = exchange.send(Reply(code, (b"5.7.8 words",)))
    except StopIteration:
        assert len(written) == len(codes)
        return written
    raise AssertionError("it goes on")


@pytest.mark.parametrize(
    ("auth", "codes", "written"),
    [
        (BOTH, (235,), [PLAIN]),
        ((b"PLAIN",), (235,), [PLAIN]),
        (ONLY_LOGIN, (334, 334, 235), [b"AUTH LOGIN\r\n", USER, PASSWORD]),
    ],
    ids=["PLAIN goes first", "PLAIN", "LOGIN"],
)
def test_taken(auth: tuple[bytes, ...], codes: tuple[int, ...], written: list[bytes]) -> None:
    assert dialogue(auth, *codes) == written


@pytest.mark.parametrize(
    ("auth", "codes"),
    [(BOTH, (535,)), (BOTH, (454,)), (ONLY_LOGIN, (504,)), (ONLY_LOGIN, (334, 535)), (ONLY_LOGIN, (334, 334, 535))],
)
def test_refused(auth: tuple[bytes, ...], codes: tuple[int, ...]) -> None:
    with pytest.raises(RefusedError) as refused:
        dialogue(auth, *codes)
    assert (refused.value.phase, refused.value.reply.code) == (Phase.AUTH, codes[-1])


@pytest.mark.parametrize("auth", [(), (b"CRAM-MD5",)])
def test_no_mechanism(auth: tuple[bytes, ...]) -> None:
    with pytest.raises(RefusedError, match="neither AUTH PLAIN nor AUTH LOGIN"):
        next(authenticate(Capabilities(auth=auth), LOGIN))


@pytest.mark.parametrize(
    ("auth", "codes"), [(BOTH, (250,)), (BOTH, (334,)), (ONLY_LOGIN, (250,)), (ONLY_LOGIN, (334, 334, 334))]
)
def test_nonsense(auth: tuple[bytes, ...], codes: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError):
        dialogue(auth, *codes)


def test_neither_part_is_shown() -> None:
    assert str(LOGIN) == "Login()"
