"""relay.failure against what real servers say; and docs/failures.md against the rules."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.failure import RULES, Ends, FailureClass, Rule, Stage, advice, dead, judge
from relay.ports import RecipientReply
from relay.smtp import mx
from relay.smtp.replies import Reply, ReplyReader

DOC = Path(__file__).parents[2] / "docs" / "failures.md"
ADDRESS, FULL, POLICY, CONTENT, RATE, INFRA, OURS = FailureClass
NOW, EXPIRY, MENDED = Ends
RCPT, DOT, MAIL, CONNECT, EHLO, DATA = (
    Stage.RCPT,
    Stage.DOT,
    Stage.MAIL,
    Stage.CONNECT,
    Stage.EHLO,
    Stage.DATA,
)
REMOTE = "mx.example[192.0.2.1]"


@dataclass(frozen=True)
class Said:
    """lines: after the code, as the server sends them. dead: the address is suppressed for it."""

    server: str
    stage: Stage
    code: int
    lines: str
    failure: FailureClass
    ends: Ends
    dead: bool = False

    @property
    def reply(self) -> Reply:
        lines = self.lines.split("\n")
        wire = "".join(f"{self.code}{'-' if each is not lines[-1] else ' '}{each}\r\n" for each in lines)
        (reply,) = ReplyReader().feed(wire.encode())
        return reply

    def answer(self, recipient: str = "jo@there.example") -> RecipientReply:
        reply = self.reply
        return RecipientReply(
            recipient, reply.ok, reply.permanent, reply.code, reply.enhanced, reply.text, REMOTE, stage=self.stage
        )


SAID = (
    # --- Gmail
    Said(
        "Gmail, unknown",
        RCPT,
        550,
        "5.1.1 The email account that you tried to reach does not exist. Please try\n"
        "5.1.1 double-checking the recipient's email address for typos or\n"
        "5.1.1 unnecessary spaces. For more information, go to\n"
        "5.1.1  https://support.google.com/mail/?p=NoSuchUser a1-2 - gsmtp",
        ADDRESS,
        NOW,
        True,
    ),
    Said(
        "Gmail, disabled",
        RCPT,
        550,
        "5.2.1 The email account that you tried to reach is inactive. For more information, go to "
        "https://support.google.com/mail/?p=DisabledUser a1 - gsmtp",
        ADDRESS,
        NOW,
        True,
    ),
    Said("Gmail, full", RCPT, 452, "4.2.2 The recipient's inbox is out of storage space. - gsmtp", FULL, EXPIRY),
    Said("Gmail, full for long", RCPT, 552, "5.2.2 The recipient's inbox is out of storage space.", FULL, NOW),
    Said(
        "Gmail, too fast for a user",
        RCPT,
        450,
        "4.2.1 The user you are trying to contact is receiving mail at a rate that\n"
        "4.2.1 prevents additional messages from being delivered. Please resend your message at a later time.",
        RATE,
        EXPIRY,
    ),
    Said(
        "Gmail, rate as 421",
        DOT,
        421,
        "4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address.",
        RATE,
        EXPIRY,
    ),
    Said(
        "Gmail, rate as 550",
        DOT,
        550,
        "5.7.1 Our system has detected an unusual rate of unsolicited mail originating from your IP address. "
        "To protect our users from spam, mail sent from your IP address has been blocked.",
        RATE,
        EXPIRY,
    ),
    Said("Gmail, 421 4.7.0", DOT, 421, "4.7.0 Try again later, closing connection. (EHLO) - gsmtp", RATE, EXPIRY),
    Said(
        "Gmail, reputation",
        DOT,
        550,
        "5.7.1 Our system has detected that this message is likely suspicious due to the very low reputation of the "
        "sending IP address.",
        POLICY,
        NOW,
    ),
    Said(
        "Gmail, spam",
        DOT,
        550,
        "5.7.1 Our system has detected that this message is likely unsolicited mail.",
        CONTENT,
        NOW,
    ),
    Said(
        "Gmail, not authenticated",
        DOT,
        550,
        "5.7.26 Your email has been blocked because the sender is unauthenticated. Gmail requires all senders to "
        "authenticate with either SPF or DKIM.",
        POLICY,
        NOW,
    ),
    Said(
        "Gmail, DMARC",
        DOT,
        550,
        "5.7.26 Unauthenticated email from shop.example is not accepted due to domain's DMARC policy.",
        POLICY,
        NOW,
    ),
    Said(
        "Gmail, no PTR",
        DOT,
        550,
        "5.7.25 The IP address sending this message does not have a PTR record setup, or the corresponding forward "
        "DNS entry does not point to the sending IP.",
        OURS,
        EXPIRY,
    ),
    Said("Gmail, virus", DOT, 552, "5.7.0 This message was blocked because its content presents a", POLICY, NOW),
    Said("Gmail, too large", DOT, 552, "5.3.4 Your message exceeded Google's message size limits.", CONTENT, NOW),
    Said(
        "Gmail, two Froms",
        DOT,
        550,
        "5.7.1 This message is not RFC 5322 compliant. There are multiple From headers.",
        CONTENT,
        NOW,
    ),
    Said("Gmail, many recipients", RCPT, 452, "4.5.3 Your message has too many recipients.", RATE, EXPIRY),
    # --- Exchange Online, Outlook.com
    Said(
        "Exchange Online, unknown",
        RCPT,
        550,
        "5.4.1 Recipient address rejected: Access denied. For more information see https://aka.ms/EXOSmtpErrors "
        "[AM0EUR05FT004.eop-eur05.prod.protection.outlook.com]",
        ADDRESS,
        NOW,
        True,
    ),
    Said(
        "Exchange Online, not found",
        RCPT,
        550,
        "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
        ADDRESS,
        NOW,
        True,
    ),
    Said(
        "Outlook.com, unknown",
        RCPT,
        550,
        "5.5.0 Requested action not taken: mailbox unavailable (S2017062302). [HE1EUR04FT054.eop-eur04]",
        ADDRESS,
        NOW,
        True,
    ),
    Said(
        "Exchange Online, 4.7.500",
        RCPT,
        451,
        "4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719)",
        RATE,
        EXPIRY,
    ),
    Said(
        "Outlook.com, rate",
        CONNECT,
        451,
        "4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation.",
        RATE,
        EXPIRY,
    ),
    Said(
        "Exchange Online, banned",
        RCPT,
        550,
        "5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal from this list",
        POLICY,
        NOW,
    ),
    Said(
        "Outlook.com, block list",
        MAIL,
        550,
        "5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider "
        "since part of their network is on our block list (S3140).",
        POLICY,
        NOW,
    ),
    Said(
        "Exchange Online, DMARC",
        DOT,
        550,
        "5.7.509 Access denied, sending domain shop.example does not pass DMARC verification",
        POLICY,
        NOW,
    ),
    Said("Exchange, full", RCPT, 552, "5.2.2 mailbox full", FULL, NOW),
    Said("Exchange, too large", DOT, 552, "5.3.4 Message size exceeds fixed maximum message size", CONTENT, NOW),
    Said("Exchange, back pressure", RCPT, 452, "4.3.1 Insufficient system resources", INFRA, EXPIRY),
    Said("Exchange, relay", RCPT, 550, "5.7.54 SMTP; Unable to relay recipient in non-accepted domain", POLICY, NOW),
    Said("Exchange, restricted", RCPT, 550, "5.7.1 RESOLVER.RST.AuthRequired; authentication required", POLICY, NOW),
    Said("Exchange, loop", DOT, 554, "5.4.14 Hop count exceeded - possible mail loop", INFRA, NOW),
    # --- Yahoo, AOL
    Said(
        "Yahoo, unknown",
        DOT,
        554,
        "delivery error: dd This user doesn't have a yahoo.com account (jo@yahoo.com) [-5] - mta4123.mail.ne1",
        ADDRESS,
        NOW,
        True,
    ),
    Said(
        "Yahoo, disabled",
        DOT,
        554,
        "delivery error: dd Sorry, your message to jo@yahoo.com cannot be delivered. "
        "This mailbox is disabled (554.30). - mta4123",
        ADDRESS,
        NOW,
        True,
    ),
    Said("Yahoo, not found", RCPT, 552, "1 Requested mail action aborted, mailbox not found", ADDRESS, NOW, True),
    Said(
        "Yahoo, TSS04",
        MAIL,
        421,
        "4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - "
        "4.16.55.1; see https://postmaster.yahooinc.com/error-codes",
        RATE,
        EXPIRY,
    ),
    Said("Yahoo, policy", DOT, 554, "5.7.9 Message not accepted for policy reasons. See https://x", POLICY, NOW),
    Said(
        "Yahoo, BL21",
        CONNECT,
        553,
        "5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list",
        POLICY,
        NOW,
    ),
    Said("AOL, unknown", RCPT, 550, "MAILBOX NOT FOUND", ADDRESS, NOW, True),
    # --- iCloud
    Said("iCloud, unknown", RCPT, 550, "5.1.1 unknown or illegal alias: jo@icloud.com", ADDRESS, NOW, True),
    Said("iCloud, inactive", RCPT, 550, "5.1.1 <jo@icloud.com>: inactive email address", ADDRESS, NOW, True),
    Said("iCloud, full", RCPT, 552, "5.2.2 <jo@icloud.com>: user is over quota", FULL, NOW),
    Said(
        "iCloud, volume",
        MAIL,
        450,
        "4.7.0 Blocked - see https://support.apple.com/en-us/HT204137: mail from 192.0.2.1 refused due to "
        "excessive volume",
        RATE,
        EXPIRY,
    ),
    Said("iCloud, policy", DOT, 550, "5.7.1 [CS01] Message rejected due to local policy. See https://x", POLICY, NOW),
    # --- GMX, web.de, T-Online, IONOS
    Said(
        "GMX, no PTR",
        CONNECT,
        554,
        "gmx.net (mxgmx016) Nemesis ESMTP Service not available\nNo SMTP service\nBad DNS PTR resource record.",
        OURS,
        EXPIRY,
    ),
    Said(
        "web.de, blocked",
        CONNECT,
        554,
        "web.de (mxweb005) Nemesis ESMTP Service not available\nNo SMTP service\nIP address is black listed.",
        POLICY,
        NOW,
    ),
    Said("GMX, unknown", RCPT, 550, "Requested action not taken: mailbox unavailable", ADDRESS, NOW, True),
    Said(
        "web.de, full",
        RCPT,
        550,
        "Benutzer hat das Speichervolumen ueberschritten. / User has exhausted allowed storage space.",
        FULL,
        NOW,
    ),
    Said("web.de, unknown", RCPT, 550, "Unknown local part jo in <jo@web.de>", ADDRESS, NOW, True),
    Said("T-Online, full", RCPT, 552, "5.2.2 Over STORAGE quota", FULL, NOW),
    Said(
        "GMX, rate",
        RCPT,
        450,
        "Requested mail action not taken: mailbox unavailable\nExceeded rate limit",
        RATE,
        EXPIRY,
    ),
    # --- Zoho, OVH, Comcast, AT&T
    Said("Zoho, unknown", RCPT, 550, "5.1.1 <jo@there.example> User unknown", ADDRESS, NOW, True),
    Said(
        "Zoho, 5.1.1 for policy",
        RCPT,
        552,
        "5.1.1 <jo@there.example> Mailbox delivery failure policy error",
        POLICY,
        NOW,
    ),
    Said("Zoho, DMARC", DOT, 550, "5.7.1 Email rejected per DMARC policy for shop.example", POLICY, NOW),
    Said("Zoho, virus", DOT, 552, "5.7.1 virus EICAR detected by Zoho Mail", CONTENT, NOW),
    Said("Zoho, system", RCPT, 452, "4.3.1 Temporary System Error", INFRA, EXPIRY),
    Said(
        "OVH, unknown",
        RCPT,
        550,
        "5.1.1 <jo@there.example>: Recipient address rejected: User unknown",
        ADDRESS,
        NOW,
        True,
    ),
    Said("OVH, full", RCPT, 552, "5.2.2 The email account that you tried to reach is over quota", FULL, NOW),
    Said("Comcast, 5.1.0 for policy", MAIL, 550, "5.1.0 <s@shop.example> sender rejected : 554 blocked", POLICY, NOW),
    Said("Comcast, many", CONNECT, 421, "resimta-ch2 too many sessions from 192.0.2.1", RATE, EXPIRY),
    Said(
        "AT&T, PTR",
        MAIL,
        550,
        "5.7.1 Connections not accepted from servers without a valid sender domain.flph829 Fix reverse DNS for "
        "192.0.2.1",
        OURS,
        EXPIRY,
    ),
    # --- Proofpoint, Mimecast, Barracuda, Cisco
    Said("Proofpoint, unknown", RCPT, 550, "5.1.1 User Unknown", ADDRESS, NOW, True),
    Said(
        "Proofpoint, PDR",
        CONNECT,
        554,
        "Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1",
        POLICY,
        NOW,
    ),
    Said("Proofpoint, many", MAIL, 421, "4.7.1 Too many messages from 192.0.2.1, slow down", RATE, EXPIRY),
    Said("Proofpoint, spam", DOT, 554, "5.7.1 The message from (s@shop.example) was identified as spam.", CONTENT, NOW),
    Said(
        "Mimecast, unknown",
        RCPT,
        550,
        "Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550 [a.uk1]",
        ADDRESS,
        NOW,
        True,
    ),
    Said(
        "Mimecast, envelope",
        RCPT,
        550,
        "Administrative prohibition - envelope blocked - https://community.mimecast.com/docs/DOC-1369#550",
        POLICY,
        NOW,
    ),
    Said(
        "Mimecast, greylisting",
        RCPT,
        451,
        "Internal resource temporarily unavailable - https://community.mimecast.com/docs/DOC-1369#451 [x.uk100]",
        INFRA,
        EXPIRY,
    ),
    Said("Mimecast, block list", RCPT, 550, "csi.mimecast.org Poor Reputation Sender.", POLICY, NOW),
    Said(
        "Barracuda, unknown",
        RCPT,
        550,
        "cuda_nsu 5.1.1 <jo@there.example>: Recipient address rejected",
        ADDRESS,
        NOW,
        True,
    ),
    Said("Barracuda, spam", DOT, 554, "rejected due to spam content", CONTENT, NOW),
    Said("Cisco, unknown", RCPT, 550, "#5.1.0 Address rejected.", ADDRESS, NOW),
    Said(
        "Cisco, reputation",
        CONNECT,
        554,
        "Your access to this mail system has been rejected due to the sending MTA's poor reputation.",
        POLICY,
        NOW,
    ),
    # --- Postfix
    Said(
        "Postfix, unknown",
        RCPT,
        550,
        "5.1.1 <jo@there.example>: Recipient address rejected: User unknown in virtual mailbox table",
        ADDRESS,
        NOW,
        True,
    ),
    Said(
        "Postfix, an address with a word in it",
        RCPT,
        550,
        "5.1.1 <spam-policy@there.example>: Recipient address rejected: User unknown in local recipient table",
        ADDRESS,
        NOW,
        True,
    ),
    Said(
        "Postfix, unverified",
        RCPT,
        450,
        "4.1.1 <jo@there.example>: Recipient address rejected: unverified address",
        ADDRESS,
        EXPIRY,
    ),
    Said(
        "Postfix, undeliverable",
        RCPT,
        550,
        "5.1.1 <jo@x.example>: Recipient address rejected: undeliverable address: no",
        ADDRESS,
        NOW,
        True,
    ),
    Said(
        "Postfix, postgrey",
        RCPT,
        450,
        "4.2.0 <jo@there.example>: Recipient address rejected: Greylisted, see http://postgrey",
        RATE,
        EXPIRY,
    ),
    Said(
        "Postfix, a greylisting that lies", RCPT, 550, "5.7.1 Greylisted, please try again in 300 seconds", RATE, EXPIRY
    ),
    Said("Postfix, relay", RCPT, 554, "5.7.1 <jo@there.example>: Relay access denied", POLICY, NOW),
    Said(
        "Postfix, block list",
        RCPT,
        554,
        "5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; https://x",
        POLICY,
        NOW,
    ),
    Said(
        "Postfix, HELO", RCPT, 504, "5.5.2 <relay>: Helo command rejected: need fully-qualified hostname", OURS, EXPIRY
    ),
    Said(
        "Postfix, PTR",
        RCPT,
        450,
        "4.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.1]",
        OURS,
        EXPIRY,
    ),
    Said(
        "Postfix, sender domain",
        RCPT,
        450,
        "4.1.8 <s@shop.example>: Sender address rejected: Domain not found",
        POLICY,
        EXPIRY,
    ),
    Said("Postfix, size", MAIL, 552, "5.3.4 Message size exceeds fixed limit", CONTENT, NOW),
    Said("Postfix, full disk", MAIL, 452, "4.3.1 Insufficient system storage", INFRA, EXPIRY),
    Said(
        "Postfix, many connections",
        CONNECT,
        421,
        "4.7.0 mx.example Error: too many connections from 192.0.2.1",
        RATE,
        EXPIRY,
    ),
    Said("Postfix, loop", DOT, 554, "5.4.0 Error: too many hops", INFRA, NOW),
    Said("Postfix, pregreet", CONNECT, 554, "5.7.1 Service unavailable; protocol error", POLICY, NOW),
    Said(
        "Dovecot LMTP, full", RCPT, 552, "5.2.2 <jo@there.example> Quota exceeded (mailbox for user is full)", FULL, NOW
    ),
    # --- Exim, cPanel
    Said("Exim, unrouteable", RCPT, 550, "Unrouteable address", ADDRESS, NOW, True),
    Said("cPanel, unknown", RCPT, 550, "No Such User Here", ADDRESS, NOW, True),
    Said("Exim, full", RCPT, 552, "Mailbox is full / Blockage in mailbox", FULL, NOW),
    Said("Exim, local problem", RCPT, 451, "Temporary local problem - please try later", INFRA, EXPIRY),
    Said("Exim, greylisting", RCPT, 451, "Greylisting in action, please come back later", RATE, EXPIRY),
    Said("Exim, later though 5xx", DOT, 554, "Service currently unavailable, try again later", RATE, EXPIRY),
    Said("Exim, relay", RCPT, 550, "relay not permitted", POLICY, NOW),
    Said("Exim, line", DOT, 550, "maximum allowed line length is 998 octets, got 1022", POLICY, NOW),
    Said("Exim, sender", RCPT, 550, "Sender verify failed", ADDRESS, NOW),
    # --- sendmail, qmail
    Said("sendmail, unknown", RCPT, 550, "5.1.1 <jo@there.example>... User unknown", ADDRESS, NOW, True),
    Said(
        "sendmail, sender",
        MAIL,
        553,
        "5.1.8 <s@x.example>... Domain of sender address s@x.example does not exist",
        POLICY,
        NOW,
    ),
    Said("sendmail, relay", RCPT, 550, "5.7.1 <jo@there.example>... Relaying denied", POLICY, NOW),
    Said("sendmail, load", CONNECT, 421, "4.3.2 Connection rate limit exceeded.", RATE, EXPIRY),
    Said("sendmail, loop", DOT, 554, "5.0.0 Too many hops 26 (25 max)", INFRA, NOW),
    Said("qmail, unknown", DOT, 554, "sorry, no mailbox here by that name. (#5.1.1)", ADDRESS, NOW, True),
    Said("qmail, a status at the end", RCPT, 550, "sorry, that one is not here (#5.1.1)", ADDRESS, NOW, True),
    Said("qmail, relay", RCPT, 553, "sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", POLICY, NOW),
    Said("qmail, full", DOT, 552, "sorry, the recipient's mailbox is over quota (#5.2.2)", FULL, NOW),
    # --- bare codes
    Said("bare 550 at RCPT", RCPT, 550, "No", ADDRESS, NOW),
    Said("bare 550 at the dot", DOT, 550, "No", POLICY, NOW),
    Said("bare 550 to the greeting", CONNECT, 550, "No", POLICY, NOW),
    Said("bare 552 at RCPT", RCPT, 552, "Exceeded storage allocation", FULL, NOW),
    Said("bare 552 at the dot", DOT, 552, "No", CONTENT, NOW),
    Said("bare 554 at DATA", DATA, 554, "Transaction failed", POLICY, NOW),
    Said("bare 555", MAIL, 555, "Parameters not recognized", OURS, EXPIRY),
    Said("bare 503", RCPT, 503, "Bad sequence of commands", OURS, EXPIRY),
    Said("bare 421", EHLO, 421, "closing", INFRA, EXPIRY),
    Said("bare 450", RCPT, 450, "mailbox busy", INFRA, EXPIRY),
    Said("552 for too many recipients", RCPT, 552, "Too many recipients", RATE, EXPIRY),  # RFC 5321 §4.5.3.1.10
    Said("521", CONNECT, 521, "host accepts no mail", INFRA, NOW),  # RFC 7504
)


@pytest.mark.parametrize("said", SAID, ids=lambda said: said.server)
def test_what_servers_say(said: Said) -> None:
    reply = said.reply
    judged = judge(reply.code, reply.enhanced, reply.text, said.stage, REMOTE)
    assert (judged.failure, judged.ends) == (said.failure, said.ends), judged.rule.means
    assert bool(dead([said.answer()])) == said.dead, judged.rule.means


def test_there_are_enough_and_of_each_class() -> None:
    assert len(SAID) >= 100
    assert {said.failure for said in SAID} == set(FailureClass)
    assert len({said.server for said in SAID}) == len(SAID)


@pytest.mark.parametrize(
    ("reply", "failure", "ends"),
    [
        (mx.NULL_MX, ADDRESS, NOW),
        (mx.NO_DOMAIN, ADDRESS, NOW),
        (mx.NO_ROUTE, INFRA, NOW),
        (mx.DNS_AWAY, INFRA, EXPIRY),
        (Reply.ours(451, "4.4.5", "all connections to the destination are in use"), RATE, EXPIRY),
        (Reply.ours(451, "4.4.7", "no time left in this attempt"), INFRA, EXPIRY),
        (Reply.ours(451, "4.3.0", "the relay's own DNS does not answer"), OURS, MENDED),
    ],
    ids=lambda value: value.text if isinstance(value, Reply) else str(value),
)
def test_what_we_say_ourselves(reply: Reply, failure: FailureClass, ends: Ends) -> None:
    judged = judge(reply.code, reply.enhanced, reply.text, Stage.ROUTE)
    assert (judged.failure, judged.ends) == (failure, ends)


# --- dead addresses ----------------------------------------------------------------------------


UNKNOWN = next(said for said in SAID if said.server == "qmail, unknown")
AT_RCPT = next(said for said in SAID if said.server == "Postfix, unknown")


def test_of_several_at_the_final_dot_nobody_knows_who_is_dead() -> None:
    assert dead([UNKNOWN.answer("a@x.example")]) == {"a@x.example"}
    assert dead([UNKNOWN.answer("a@x.example"), UNKNOWN.answer("b@x.example")]) == frozenset()
    assert dead([UNKNOWN.answer("a@x.example"), AT_RCPT.answer("b@x.example")]) == {"a@x.example", "b@x.example"}


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.EHLO, Stage.MAIL, Stage.DATA, Stage.ROUTE])
def test_before_rcpt_nothing_is_about_an_address(stage: Stage) -> None:
    assert not dead([AT_RCPT.answer()._replace(stage=stage)])


def test_only_a_server_can_tell() -> None:
    ours = mx.NULL_MX
    assert not dead([RecipientReply("a@x.example", False, True, ours.code, ours.enhanced, ours.text)])


def test_a_temporary_refusal_never_kills() -> None:
    assert not dead([RecipientReply("a@x.example", False, False, 450, "4.1.1", "User unknown", REMOTE, stage=RCPT)])
    assert not dead([RecipientReply("a@x.example", True, False, 250, "2.1.5", "User unknown", REMOTE, stage=RCPT)])


# --- properties --------------------------------------------------------------------------------


@given(
    st.integers(400, 599),
    st.tuples(st.integers(0, 9), st.integers(0, 999)),
    st.text(max_size=300),
    st.sampled_from(["", *Stage]),
)
def test_any_reply_is_of_one_class(code: int, detail: tuple[int, int], text: str, stage: str) -> None:
    judged = judge(code, f"{code // 100}.{detail[0]}.{detail[1]}", text, stage, REMOTE)
    assert judged.ends is not Ends.MENDED
    if code < 500 or judged.failure in (FailureClass.RATE, FailureClass.OURS):
        assert judged.ends is Ends.EXPIRY
    else:
        assert judged.ends is Ends.NOW


def test_hostile_words_cost_little() -> None:
    """No pattern backtracks: the longest text that a Reply has, in a few milliseconds."""
    text = ("exceed over url link uri 't have a mailbox " * 30)[:1000]
    begun = time.process_time()
    for _ in range(20):
        judge(550, "5.0.0", text, Stage.DOT, REMOTE)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.failure}: {rule.means}")
def test_each_rule_decides_something(rule: Rule) -> None:
    """No rule stands in the shade of another one."""
    stage = rule.stages[0] if rule.stages else Stage.DATA
    code = next((each if each > 99 else each * 100 + 50 for each in rule.codes), 451)
    status = (
        f"{rule.statuses[0]}0" if rule.statuses and rule.statuses[0].endswith(".") else (rule.statuses or ("0.0",))[0]
    )
    for words in rule.words or ("nothing",):
        text = words.replace("...", " a ").removesuffix("|")
        judged = judge(code, f"{code // 100}.{status}", text, stage, REMOTE)
        if judged.rule is rule:
            return
    raise AssertionError(f"never reached: {rule}")


# --- what a person reads -----------------------------------------------------------------------


def test_advice() -> None:
    assert advice(None) == ""
    assert "full" in advice(FailureClass.FULL)
    assert advice(FailureClass.POLICY) != advice(FailureClass.CONTENT)


def rows() -> list[str]:
    return [f"| {index} | {_cells(rule)} |" for index, rule in enumerate(RULES, 1)]


def _cells(rule: Rule) -> str:
    fits = []
    if rule.words:
        fits.append("says " + ", ".join(f"`{each.removesuffix('|')}`" for each in rule.words))
    if rule.statuses:
        fits.append("status " + ", ".join(f"X.{each}{'*' if each.endswith('.') else ''}" for each in rule.statuses))
    if rule.codes:
        fits.append("code " + ", ".join(str(each) if each > 99 else f"{each}xx" for each in rule.codes))
    if rule.stages:
        fits.append("at " + ", ".join(rule.stages))
    return " | ".join([rule.failure + (", dead" if rule.dead else ""), rule.means, "; ".join(fits) or "anything"])


def test_the_published_table_is_the_rules() -> None:
    found = [line for line in DOC.read_text("utf-8").splitlines() if re.match(r"\| \d+ \|", line)]
    assert found == rows()
