"""The client's side of AUTH (RFC 4954), sans-IO: PLAIN (RFC 4616), or LOGIN for servers that offer nothing else."""

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Final

from relay.smtp.protocol import Ask, Capabilities, Exchange, Phase, RefusedError
from relay.smtp.replies import ProtocolError, Reply

NO_MECHANISM: Final = Reply.ours(504, "5.5.4", "the server offers neither AUTH PLAIN nor AUTH LOGIN")
GO_ON: Final = 334
DONE: Final = 235


@dataclass(frozen=True, slots=True)
class Login:
    """Neither part in any log or error."""

    user: str = field(repr=False)
    password: str = field(repr=False)


def authenticate(offered: Capabilities, login: Login) -> Exchange[None]:
    """RefusedError if the server doesn't take `login`, or offers no way to. Over TLS only: the caller sees to it."""
    user, password = login.user.encode(), login.password.encode()
    if b"PLAIN" in offered.auth:
        reply = yield Ask(b"AUTH PLAIN %b\r\n" % b64encode(b"\0%b\0%b" % (user, password)), Phase.AUTH)
    elif b"LOGIN" in offered.auth:
        reply = yield Ask(b"AUTH LOGIN\r\n", Phase.AUTH)
        for answer in (user, password):
            if reply.code != GO_ON:
                break
            reply = yield Ask(b64encode(answer) + b"\r\n", Phase.AUTH)
    else:
        raise RefusedError(Phase.AUTH, NO_MECHANISM)
    if reply.code >= 400:
        raise RefusedError(Phase.AUTH, reply)
    if reply.code != DONE:
        raise ProtocolError(f"reply {reply.code} to AUTH makes no sense")
