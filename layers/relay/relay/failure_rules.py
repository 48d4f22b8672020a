"""The table of `relay.failure`: rules in the order they are tried. docs/failures.md shows the same to people."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class FailureClass(StrEnum):
    """Whose matter a failure is.

    ADDRESS: this recipient's address. FULL: their mailbox. POLICY: who sends, and from where. CONTENT: this message.
    RATE: too much or too soon. INFRASTRUCTURE: their servers, or the way there. OURS: the relay.
    """

    ADDRESS = "address"
    FULL = "mailbox full"
    POLICY = "policy"
    CONTENT = "content"
    RATE = "rate"
    INFRASTRUCTURE = "infrastructure"
    OURS = "ours"


class Stage(StrEnum):
    """Where in the dialogue a reply came. ROUTE: before any server was reached (DNS)."""

    ROUTE = "route"
    CONNECT = "connect"
    EHLO = "EHLO"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "the final dot"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a failure has to fit in every respect; what is empty fits everything.

    means: for people. words: phrases, one of which the text has; "..." stands for a few words, "|" at the end for the
    end of a word. statuses: subject.detail of RFC 3463; "7." for all of a subject. codes: 550, or 5 for every 5xx.
    dead: the address does not exist, or takes no mail any more.
    """

    failure: FailureClass
    means: str
    words: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()
    stages: tuple[Stage, ...] = ()
    dead: bool = False


def _of(phrases: str) -> tuple[str, ...]:
    return tuple(" ".join(each.split()) for each in phrases.split(";"))


_WORDS: Final = (
    Rule(FailureClass.OURS, "a part of the relay is away", statuses=("3.",), stages=(Stage.ROUTE,)),
    Rule(FailureClass.CONTENT, "a form that the way there does not carry", statuses=("6.",), stages=(Stage.EHLO,)),
    Rule(FailureClass.RATE, "greylisting", words=_of("greylist; graylist; grey list; gray list; grey-list")),
    Rule(
        FailureClass.RATE,
        "too much in too short a time",
        words=_of(
            """too many connections; too many concurrent; too many messages from; too many messages in; too many emails;
            too many mails; too many recipients; too many sessions; too many errors; rate limit; ratelimit; rate-limit;
            throttl; sending rate; unusual rate; high rate; mail at a rate; too quickly; too fast; slow down;
            connection limit; sending limit; sending quota; hourly limit; daily limit; per hour; excessive volume;
            unexpected volume; mail flood; temporarily deferred; deferred due to; temporarily blocked;
            temporarily rejected; temporary block; server busy; server is busy; server too busy"""
        ),
    ),
    Rule(
        FailureClass.OURS,
        "the relay's own name or address is not in order",
        words=_of(
            """reverse dns; reverse lookup; reverse hostname; reverse name; rdns; fcrdns; ptr record; dns ptr; no ptr;
            helo command rejected; invalid helo; invalid ehlo; bad helo; helo name; need fully-qualified hostname;
            cannot find your hostname"""
        ),
    ),
    Rule(FailureClass.OURS, "the relay's address has no valid PTR record", statuses=("7.25",)),
    Rule(FailureClass.RATE, "mail flood", statuses=("7.28",)),
    Rule(FailureClass.POLICY, "the sender address is refused", statuses=("1.7", "1.8")),
    Rule(
        FailureClass.ADDRESS,
        "unknown at Exchange Online, which says no more than this",
        words=_of("recipient address rejected: access denied"),
        statuses=("4.1",),
        dead=True,
    ),
    Rule(
        FailureClass.INFRASTRUCTURE,
        "a mail loop",
        words=_of("mail loop; routing loop; loops back; too many hops; hop count exceeded"),
    ),
    Rule(
        FailureClass.CONTENT,
        "a link in the message",
        words=_of("url...listed; link...listed; uri...listed; url...block"),
    ),
    Rule(
        FailureClass.POLICY,
        "who sends, and from where",
        words=_of(
            """blocked using; blocklist; block list; blacklist; black list; denylist; dnsbl; rbl|; spamhaus; spamcop;
            reputation; listed at; listed in dns; sender address; sender rejected; sender denied; sender blocked;
            sender domain; domain of sender; envelope blocked; client host rejected; relay access denied;
            relaying denied; relaying not; relay not; relay denied; to relay; allowed rcpthosts; spf|; dmarc; dkim;
            spoof; unauthenticated; authenticat; banned; not authorized; starttls; no smtp service"""
        ),
    ),
    Rule(
        FailureClass.CONTENT,
        "what is in the message",
        words=_of(
            """virus; malware; phish; message contains; attachment; message content; content reject; content filter;
            content restriction; content denied; unsolicited; suspicious; spam content; as spam; spam message;
            spam detected; spam score; like spam; considered spam; is spam; probability of spam; message too large;
            message is too large; message too big; message size exceeds; message exceeds; message size...limit;
            maximum message size; size limit; line too long; bare lf; bare newline; 5322 compliant; 5322...header;
            2822 compliant; from header; missing header; duplicate header"""
        ),
    ),
    Rule(
        FailureClass.POLICY,
        "a rule of theirs",
        words=_of("policy; policies; access denied; prohibit; restricted; service refused; spam"),
    ),
    Rule(
        FailureClass.FULL,
        "their mailbox is full",
        words=_of(
            """mailbox full; mailbox is full; mailbox...is full; mail box full; inbox is full; user is full; overquota;
            over quota; over...quota; out of storage; exceed...quota; quota...exceed; quota full; exceeded storage;
            exceeded...storage; storage full; exhausted allowed storage; too many messages on"""
        ),
    ),
    Rule(
        FailureClass.ADDRESS,
        "no such mailbox",
        words=_of(
            """user unknown; unknown user; user is unknown; user not known; not a known user; no such user;
            no such mailbox; no such recipient; no such address; no such account; no such local; no such person;
            no mailbox; no user; no account; unknown recipient; recipient unknown; recipient is unknown;
            unknown address; unknown account; unknown mailbox; address unknown; addressee unknown; unknown local part;
            unknown or illegal; unrouteable address; unroutable address; undeliverable address; not exist; 't exist;
            no longer exist; no longer valid; user not found; recipient not found; recipientnotfound; recipnotfound;
            mailbox not found; address not found; account not found; not found by smtp address lookup;
            't have a ...account; not have an account; not a valid mailbox; not a valid user; not a valid recipient;
            invalid recipient; invalid mailbox; invalid user; invalid address; not listed in; cuda_nsu"""
        ),
        dead=True,
    ),
    Rule(
        FailureClass.ADDRESS,
        "a mailbox that takes no mail any more",
        words=_of(
            """mailbox is disabled; mailbox disabled; mailbox is inactive; mailbox closed; account is disabled;
            account disabled; account has been disabled; account is inactive; account closed; reach is disabled;
            reach is inactive; user is inactive; user disabled; inactive email address; inactive user;
            inactive mailbox; discontinued; no longer accepts mail"""
        ),
        codes=(5,),
        dead=True,
    ),
    Rule(
        FailureClass.RATE,
        "a 5xx that asks to come later",
        words=_of(
            """try again later; try later; retry later; come back later; try again in; again in a few;
            temporarily unavailable; temporarily suspended; temporarily disabled; temporary failure; temporary error;
            temporary problem"""
        ),
        codes=(5,),
    ),
    Rule(
        FailureClass.ADDRESS,
        "no such mailbox, in the words of RFC 5321 §4.2.2",
        words=_of("mailbox unavailable; mailbox name not allowed"),
        codes=(550, 553),
        stages=(Stage.RCPT,),
        dead=True,
    ),
)

# RFC 3463 §3, and IANA's registry of enhanced status codes
_STATUSES: Final = (
    Rule(FailureClass.ADDRESS, "no such mailbox", statuses=("1.1", "1.3", "1.6", "1.351"), dead=True),
    Rule(
        FailureClass.ADDRESS,
        "no such mailbox at Exchange",
        statuses=("1.10",),
        stages=(Stage.RCPT, Stage.DOT),
        dead=True,
    ),
    Rule(FailureClass.ADDRESS, "the domain takes no mail, or other", statuses=("1.",)),
    Rule(FailureClass.ADDRESS, "the mailbox is disabled", statuses=("2.1",), codes=(5,), dead=True),
    Rule(FailureClass.FULL, "their mailbox is full", statuses=("2.2",)),
    Rule(FailureClass.CONTENT, "too large", statuses=("2.3", "3.4")),
    Rule(FailureClass.INFRASTRUCTURE, "a mailing list that can't be expanded", statuses=("2.4",)),
    Rule(FailureClass.ADDRESS, "the mailbox, for another reason", statuses=("2.",)),
    Rule(FailureClass.INFRASTRUCTURE, "their mail system", statuses=("3.",)),
    Rule(FailureClass.RATE, "congestion", statuses=("4.5",)),
    Rule(FailureClass.INFRASTRUCTURE, "the network, or the way there", statuses=("4.",)),
    Rule(FailureClass.RATE, "too many recipients", statuses=("5.3",)),
    Rule(FailureClass.OURS, "they object to how the relay speaks SMTP", statuses=("5.1", "5.2", "5.4", "5.5", "5.6")),
    Rule(FailureClass.CONTENT, "a form of content that they don't take", statuses=("6.",)),
    Rule(FailureClass.ADDRESS, "the mailbox has another owner now", statuses=("7.17", "7.18")),
    Rule(FailureClass.RATE, "the usual status of throttling", statuses=("7.0",), codes=(421,)),
    Rule(FailureClass.POLICY, "their rules", statuses=("7.",)),
)

# RFC 5321 §4.2.3 and §4.3.2, RFC 7504: what a code means where nothing says more
_BEFORE_RCPT: Final = (Stage.CONNECT, Stage.EHLO, Stage.MAIL)
_CODES: Final = (
    Rule(FailureClass.POLICY, "no mail from this client or sender", codes=(501, 550, 553, 554), stages=_BEFORE_RCPT),
    Rule(FailureClass.ADDRESS, "this recipient", codes=(501, 550, 551, 553), stages=(Stage.RCPT,)),
    Rule(FailureClass.FULL, "no room for this recipient", codes=(552,), stages=(Stage.RCPT,)),
    Rule(FailureClass.CONTENT, "too large, or not wanted", codes=(552,)),
    Rule(FailureClass.POLICY, "not taken, for no reason given", codes=(530, 535, 550, 551, 553, 554)),
    Rule(FailureClass.ADDRESS, "the domain takes no mail", codes=(556,)),
    Rule(FailureClass.OURS, "they object to how the relay speaks SMTP", codes=(500, 501, 502, 503, 504, 555)),
    Rule(FailureClass.INFRASTRUCTURE, "all others"),
)

RULES: Final = (*_WORDS, *_STATUSES, *_CODES)
