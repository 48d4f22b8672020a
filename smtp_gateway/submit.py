"""A session's message onto ValidateQueue. "250 queued" is said in one place, after the queue has answered."""

from time import monotonic
from typing import Final

from relay import encoding
from relay.errors import PermanentError, TemporaryError
from relay.header import read_header
from relay.ids import new_id
from relay.ports import Clock, ContentStore, Queue
from relay.proof.ruling import Question
from relay.submission import Content, Dsn, Inline, Stored, Submission, content_key
from smtp_gateway import replies
from smtp_gateway.events import Message
from smtp_gateway.log import Log
from smtp_gateway.message import LoopError, Shown, Trace, other_domains, prepare
from smtp_gateway.metrics import Time
from smtp_gateway.patience import Patience
from smtp_gateway.peer import Peer
from smtp_gateway.replies import Reply
from smtp_gateway.senders import Senders

PATIENCE: Final = 30.0  # seconds for store and queue; the client waits 10 minutes (RFC 5321 §4.5.3.2.6)


class Submit:
    """host_name: ours. patience: seconds until we give up on store and queue. shown: of the client, to recipients."""

    def __init__(
        self,
        queue: Queue,
        store: ContentStore,
        senders: Senders,
        clock: Clock,
        log: Log,
        host_name: str,
        patience: float = PATIENCE,
        shown: Shown = Shown.NONE,
    ) -> None:
        self._queue = queue
        self._store = store
        self._senders = senders
        self._clock = clock
        self._log = log
        self._host_name = host_name
        self._patience = Patience(patience)
        self._shown = shown

    async def __call__(self, message: Message, peer: Peer) -> Reply:
        """The reply to the message: 250 only once it is stored, 5xx only for what is wrong with the message or its
        sender, 451 for whatever goes wrong here (DESIGN promises 1, 5 and 6)."""
        now = self._clock.now()
        id = new_id(now, message.account)
        trace = Trace(id, self._host_name, message.helo, peer.ip, peer.tls, message.smtputf8, now, self._shown)
        try:
            header = read_header(message.content)
            others = other_domains(header, message.sender)
            content = prepare(header, trace)
        except PermanentError as error:
            reply = replies.LOOP if isinstance(error, LoopError) else replies.bad_content(error.safe)
            return self._refused(reply, message, peer)
        if others and (refusal := await self._not_proved(message.account, others)):
            return self._refused(refusal, message, peer)
        try:
            with self._patience:
                await self._hand_over(id, message, content, now)
        except (TemporaryError, PermanentError, TimeoutError) as error:
            # A PermanentError is about the queue entry that we made: our bug, not the sender's.
            self._log.not_stored(id=id, account=message.account, error=error)
            return replies.NOT_STORED
        size, recipients = len(content), len(message.recipients)
        self._log.submitted(id=id, account=message.account, peer=peer.ip, size=size, recipients=recipients)
        return replies.queued(id)

    def _refused(self, reply: Reply, message: Message, peer: Peer) -> Reply:
        self._log.refused(account=message.account, peer=peer.ip, reply=reply)
        return reply

    async def _not_proved(self, account: str, domains: tuple[str, ...]) -> Reply | None:
        # no address of the header is the SMTP sender: RFC 7208 §4.3 has postmaster where there is none
        questions = [Question(domain, account, f"postmaster@{domain}") for domain in domains]
        return await self._senders(account, questions)

    async def _hand_over(self, id: str, message: Message, content: bytes, now: float) -> None:
        submission = Submission(
            id=id,
            account=message.account,
            mail_from=message.sender,
            rcpt_to=message.recipients,
            received=now,
            content=await self._place(id, content),
            # Undeclared 8-bit content is 8-bit content to the next server, which must be told (RFC 6152 §3).
            eightbit=message.eightbit or not content.isascii(),
            smtputf8=message.smtputf8,
            ret=message.ret,
            envid=message.envid,
            dsn={recipient: Dsn(*asked) for recipient, asked in message.dsn.items()},
        )
        body = encoding.encode_submission(submission)
        began = monotonic()
        await self._queue.send(body, group=message.account)
        self._log.metrics.time(Time.QUEUE, monotonic() - began)

    async def _place(self, id: str, content: bytes) -> Content:
        if encoding.fits_inline(content):
            return Inline(content)
        key = content_key(id)
        await self._store.put(key, content)
        return Stored(key, len(content))
