"""The table: what is in the shipped one, what is refused, which row is a site's, and which replies slow it down."""

import re
from pathlib import Path

import pytest

from relay.failure_rules import Stage
from relay.ports import RecipientReply
from relay.shaping import FILE, LONGEST_KEY, Heard, ShapingError, Table, judge, site_key
from relay.smtp.mx import DNS_AWAY
from relay.smtp.protocol import NO_TIME

DEFAULT = "[default]\nconnections = 20\nmessages_per_connection = 100\n"
TABLE = Table.parse(
    DEFAULT
    + """slow_down = ["too many"]
[provider.big]
hosts = [".big.example", "mx.elsewhere.example"]
connections = 50
rate = "600/minute"
slow_down = ["\\\\[B1\\\\]"]
[provider.part]
hosts = [".part.big.example"]
connections = 7
"""
)


@pytest.mark.parametrize(
    ("site", "provider", "connections", "rate"),
    [
        (("mx.b.example",), "", 20, 0.0),
        (("mx.big.example",), "big", 50, 10.0),
        (("a.b.c.big.example", "mx.big.example"), "big", 50, 10.0),
        (("mx.big.example", "mx.elsewhere.example"), "big", 50, 10.0),
        (("big.example",), "", 20, 0.0),  # ".big.example" is what is below it
        (("mx.notbig.example",), "", 20, 0.0),
        (("sub.mx.elsewhere.example",), "", 20, 0.0),
        (("mx.part.big.example",), "part", 7, 0.0),  # the longest name
        (("mx.big.example", "mx.part.big.example"), "", 20, 0.0),
        (("mx.big.example", "evil.example"), "", 20, 0.0),  # what evil says is not held against big
    ],
)
def test_a_site_is_a_provider_s_if_all_its_hosts_are(
    site: tuple[str, ...], provider: str, connections: int, rate: float
) -> None:
    shape = TABLE.of(site)
    assert (shape.provider, shape.connections, shape.rate) == (provider, connections, rate)
    assert shape.messages_per_connection == 100
    assert [each.pattern for each in shape.slow_down] == ["too many", r"\[B1\]"][: 1 + (provider == "big")]


def test_sites_of_one_provider_have_one_key_and_nobody_else_can_have_it() -> None:
    one, other, none = ("a.big.example",), ("b.big.example",), ("mx.b.example", "mx.c.example")
    assert site_key(TABLE.of(one), one) == site_key(TABLE.of(other), other) == "provider:big"
    assert site_key(TABLE.of(none), none) == "mx.b.example,mx.c.example"
    many = tuple(f"mx{number}.{'x' * 50}.example" for number in range(100))
    keys = {site_key(TABLE.of(hosts), hosts) for hosts in (many, many[:-1])}
    assert len(keys) == 2
    assert all(len(key) < LONGEST_KEY and key.startswith(many[0]) for key in keys)


@pytest.mark.parametrize(
    ("workers", "connections", "rate"), [(1, 50, 10.0), (20, 2, 0.5), (50, 1, 0.2), (1000, 1, 0.01)]
)
def test_a_worker_s_share(workers: int, connections: int, rate: float) -> None:
    share = TABLE.of(("mx.big.example",)).share(workers)
    assert (share.connections, share.rate) == (connections, pytest.approx(rate))
    assert share.messages_per_connection == 100


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[default", "not TOML: "),
        ("", "[default] connections is missing"),
        ("[default]\nconnections = 5", "[default] messages_per_connection is missing"),
        ("default = 5", "default = 5 is no table such as [default]"),
        (DEFAULT + "[gmail]", "[gmail] is neither [default] nor [provider.NAME]"),
        (DEFAULT + "conections = 5", "[default] conections: there is no such key; there are connections, "),
        (DEFAULT + "hosts = ['.b.example']", "[default] hosts: there is no such key"),
        (DEFAULT.replace("20", "0"), "[default] connections = 0 is no whole number from 1 to 10000"),
        (DEFAULT.replace("20", "true"), "[default] connections = True is no whole number"),
        (DEFAULT.replace("20", "'20'"), "[default] connections = '20' is no whole number"),
        (DEFAULT.replace("100", "1.5"), "[default] messages_per_connection = 1.5 is no whole number from 1 to 100000"),
        (DEFAULT + "rate = 5", "[default] rate = 5 is not as '600/minute' (second, minute or hour)"),
        (DEFAULT + "rate = '0/minute'", "[default] rate = '0/minute' is not as"),
        (DEFAULT + "rate = '5/day'", "[default] rate = '5/day' is not as"),
        (DEFAULT + "slow_down = 'busy'", "[default] slow_down = 'busy' is no list of texts"),
        (DEFAULT + "slow_down = [421]", "[default] slow_down = [421] is no list of texts"),
        (DEFAULT + "slow_down = ['(']", "[default] slow_down: '(' is no regular expression: "),
        (DEFAULT + "slow_down = ['x*']", "[default] slow_down: 'x*' fits every reply"),
        (DEFAULT + "[provider]\nbig = 5", "provider.big = 5 is no table such as [provider.big]"),
        (
            DEFAULT + "[provider.Big]\nhosts = ['.b.example']",
            "[provider.Big]: a provider's name is of a-z, 0-9, - and _",
        ),
        (DEFAULT + "[provider.big]", "[provider.big] hosts is missing: "),
        (DEFAULT + "[provider.big]\nhosts = []", "[provider.big] hosts is missing: "),
        (DEFAULT + "[provider.big]\nhosts = ['*.b.example']", "[provider.big] hosts: '*.b.example' is no host name: "),
        (DEFAULT + "[provider.big]\nhosts = ['.']", "[provider.big] hosts: '.' is no host name: "),
        (
            DEFAULT + "[provider.big]\nhosts = ['.b.example']\n[provider.also]\nhosts = ['.B.example']",
            "[provider.also] hosts: '.b.example' is [provider.big]'s already",
        ),
    ],
    ids=lambda text: text.replace(DEFAULT, "") or "empty",
)
def test_a_mistake_is_named(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ShapingError, match="^" + re.escape(says)):
        Table.parse(text)
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ShapingError, match="^mine.toml: " + re.escape(says)):
        Table.load(file)


# --- the one that is shipped ------------------------------------------------------------------------

SHIPPED = Table.load()


@pytest.mark.parametrize(
    ("provider", "site"),
    [
        ("google", ("gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com")),
        ("google", ("aspmx.l.google.com", "aspmx2.googlemail.com")),
        ("google", ("smtp.google.com",)),
        ("outlook", ("outlook-com.olc.protection.outlook.com",)),
        ("microsoft365", ("contoso-com.mail.protection.outlook.com",)),
        ("microsoft365", ("contoso-com.a-v1.mx.microsoft",)),
        ("yahoo", ("mta5.am0.yahoodns.net", "mta6.am0.yahoodns.net")),
        ("apple", ("mx01.mail.icloud.com", "mx02.mail.icloud.com")),
        ("gmx", ("mx00.gmx.net", "mx01.gmx.net")),
        ("gmx", ("mx-ha02.web.de", "mx-ha03.web.de")),
        ("", ("mail.example.org",)),
    ],
)
def test_the_big_providers_are_known(provider: str, site: tuple[str, ...]) -> None:
    assert SHIPPED.of(site).provider == provider


def test_the_shipped_table_says_what_its_keys_mean() -> None:
    for key in ("connections", "messages_per_connection", "rate", "slow_down", "hosts"):
        assert f"#   {key} " in FILE.read_text()


# --- replies ----------------------------------------------------------------------------------------


def reply(code: int, words: str, stage: str, remote: str = "mx[192.0.2.1]") -> RecipientReply:
    enhanced, _, text = words.partition(" ")
    return RecipientReply("a@b.example", code < 300, code >= 500, code, enhanced, text, remote, stage=stage)


OK = reply(250, "2.0.0 ok", Stage.DOT)
SLOW = [
    reply(421, "4.7.0 closing", Stage.CONNECT),
    reply(421, "4.3.2 not now", Stage.RCPT),
    reply(421, "4.0.0 bye", Stage.DOT),
    reply(450, "4.7.1 your address sends too much", Stage.CONNECT),
    reply(450, "4.7.0 later", Stage.MAIL),
    reply(451, "4.7.0 later", Stage.RCPT),
    reply(451, "4.7.500 Server busy. Please try again later from [192.0.2.9].", Stage.RCPT),
    reply(451, "4.7.651 The mail server [192.0.2.9] has been temporarily rate limited", Stage.RCPT),
    reply(451, "4.3.2 Too many concurrent SMTP connections", Stage.MAIL),
    reply(452, "4.0.0 message rate limit exceeded", Stage.DOT),
    reply(421, "4.7.0 [TSS04] Messages from 192.0.2.9 temporarily deferred due to user complaints", Stage.CONNECT),
]
NOT_SLOW = [
    OK,
    reply(451, "4.7.1 Greylisted, try again later", Stage.RCPT),
    reply(421, "4.7.1 Graylisting in effect", Stage.RCPT),
    reply(450, "4.7.1 Please try again later", Stage.RCPT),  # how some say greylisting
    reply(450, "4.2.1 The user you are trying to contact is receiving mail at a rate limit", Stage.RCPT),
    reply(452, "4.2.2 over quota, too many messages", Stage.RCPT),
    reply(452, "4.5.3 too many recipients", Stage.RCPT),
    reply(550, "5.7.1 not you", Stage.MAIL),
    reply(550, "5.1.1 no such user", Stage.RCPT),
    reply(451, "4.7.5 the domain's MTA-STS policy demands TLS", Stage.EHLO),
    reply(451, "4.4.5 all connections to the destination are in use", Stage.ROUTE, remote=""),
]


@pytest.mark.parametrize("said", SLOW, ids=lambda said: f"{said.code} {said.enhanced} {said.text[:30]}")
def test_slow_down(said: RecipientReply) -> None:
    shape = SHIPPED.of(("mx.b.example",))
    assert judge([said], shape) == (Heard.SLOW, said)
    assert judge([OK, said], shape) == (Heard.SLOW, said)


@pytest.mark.parametrize("said", NOT_SLOW, ids=lambda said: f"{said.code} {said.enhanced} {said.text[:30]}")
def test_no_slow_down(said: RecipientReply) -> None:
    heard = judge([said], SHIPPED.of(("mx.b.example",)))
    assert heard is None or heard[0] is Heard.WELL


def test_a_provider_s_own_words() -> None:
    yahoo, other = (SHIPPED.of((host,)) for host in ("mta5.am0.yahoodns.net", "mx.b.example"))
    said = reply(553, "5.7.1 [TSS09] all messages refused", Stage.MAIL)
    assert judge([said], yahoo) == (Heard.SLOW, said)
    assert judge([said], other) is None


@pytest.mark.parametrize(
    ("replies", "heard"),
    [
        ([reply(451, "4.4.1 connection refused (connect)", Stage.CONNECT)], Heard.AWAY),
        ([reply(451, "4.4.2 connection lost (EHLO)", Stage.EHLO)], Heard.AWAY),
        ([reply(451, "4.4.2 silence (RCPT)", Stage.RCPT)], None),
        ([reply(451, "4.4.2 lost (the final dot)", Stage.DOT)], None),
        ([reply(554, "5.0.0 no SMTP here", Stage.CONNECT)], None),
        ([reply(550, "5.1.1 nobody", Stage.RCPT)], Heard.WELL),
        ([reply(451, "4.3.0 later", Stage.DOT)], Heard.WELL),
        ([reply(451, "4.4.2 lost (RCPT)", Stage.RCPT), OK], Heard.WELL),
        ([reply(DNS_AWAY.code, f"{DNS_AWAY.enhanced} {DNS_AWAY.text}", Stage.ROUTE, remote="")], None),
        ([reply(NO_TIME.code, f"{NO_TIME.enhanced} {NO_TIME.text}", Stage.ROUTE, remote="")], None),
    ],
)
def test_away_or_well(replies: list[RecipientReply], heard: Heard | None) -> None:
    judged = judge(replies, SHIPPED.of(("mx.b.example",)))
    assert (judged[0] if judged else None) is heard
