import asyncio
import json
import os
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from relay.settings import SettingsError
from smtp_gateway.certificates import Certificates, read_leaf, tls_context
from smtp_gateway.log import Log
from smtp_gateway.settings import KeyPair
from smtp_gateway.tls import Tls
from tests.fakes import FakeClock
from tests.gateway import Gateway, Wire, certificate, key_pair, make_certificate, running

DAY = 86_400.0
ROOT = Path(__file__).parents[3]
# Says which of the groups named as arguments a server of ours takes.
GROUPS = """
import ssl, sys
from smtp_gateway.certificates import tls_context
from tests.gateway import certificate, key_pair

for group in sys.argv[1:]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ecdh_curve(group)
    context.load_verify_locations(certificate()[0])
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, there, server_hostname="localhost")
    server = tls_context([key_pair(*certificate())]).wrap_bio(there, back, server_side=True)
    try:
        for each in (client, server, client):
            try:
                each.do_handshake()
            except ssl.SSLWantReadError:
                pass
        print(group)
    except ssl.SSLError:
        pass
"""


def ecdsa_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    def folder(name: str) -> Path:
        (tmp_path / name).mkdir()
        return tmp_path / name

    return folder


@pytest.fixture
def both(folder: Callable[[str], Path], rsa_key: rsa.RSAPrivateKey) -> tuple[KeyPair, KeyPair]:
    """An ECDSA pair and an RSA pair."""
    return (
        key_pair(*make_certificate(folder("ecdsa"), ecdsa_key())),
        key_pair(*make_certificate(folder("rsa"), rsa_key), "_2"),
    )


class Watched:
    """Certificates with their log and clock; `now`: of the certificates' own making."""

    def __init__(self, *pairs: KeyPair) -> None:
        leaf = read_leaf(Path(pairs[0].cert_file).read_text())
        self.clock = FakeClock(leaf.expires - 90 * DAY)
        self.lines: list[str] = []
        self.certificates = Certificates(pairs, self.clock, Log(self.clock, self.lines.append))

    def take(self) -> list[dict[str, Any]]:
        """What was logged since the last time, without the time."""
        events = [{name: value for name, value in json.loads(line).items() if name != "time"} for line in self.lines]
        self.lines.clear()
        return events


CERTIFICATES = {
    "no certificate": ("missing", "key", "GATEWAY_CERT_FILE="),
    "no key": ("cert", "missing", "GATEWAY_KEY_FILE="),
    "not a certificate": ("rubbish", "key", "GATEWAY_CERT_FILE="),
    "a key in its place": ("key", "key", "GATEWAY_CERT_FILE="),
    "not a key": ("cert", "rubbish", "GATEWAY_KEY_FILE="),
    "another's key": ("cert", "other", "GATEWAY_KEY_FILE="),
    "another kind of key": ("cert", "rsa", "GATEWAY_KEY_FILE="),
    "a folder": ("cert", "folder", "GATEWAY_KEY_FILE="),
    "a short key": ("short cert", "short", "GATEWAY_CERT_FILE="),
}


@pytest.mark.parametrize("suffix", ["", "_2"])
@pytest.mark.parametrize(("cert", "key", "start"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_a_bad_certificate_is_named(
    folder: Callable[[str], Path], rsa_key: rsa.RSAPrivateKey, cert: str, key: str, start: str, suffix: str
) -> None:
    files = dict(zip(("cert", "key"), certificate(), strict=True))
    files["other"] = make_certificate(folder("other"), ecdsa_key())[1]
    files["rsa"] = make_certificate(folder("rsa"), rsa_key)[1]
    short = rsa.generate_private_key(65537, 1024)
    files["short cert"], files["short"] = make_certificate(folder("short"), short)
    files |= {"missing": Path("missing"), "folder": folder("folder"), "rubbish": folder("others") / "rubbish"}
    files["rubbish"].write_text("rubbish\n")
    with pytest.raises(SettingsError) as caught:
        tls_context((key_pair(files[cert], files[key], suffix),))
    assert str(caught.value).startswith(start.replace("=", f"{suffix}="))
    assert "\n" not in str(caught.value)


def test_two_of_one_kind_are_refused(folder: Callable[[str], Path]) -> None:
    pairs = [key_pair(*make_certificate(folder(f"pair{each}"), ecdsa_key()), each) for each in ("", "_2")]
    with pytest.raises(SettingsError, match=r"^GATEWAY_CERT_FILE_2=.* is for the same kind of key \(ECDSA\) as"):
        Watched(*pairs)


@pytest.mark.parametrize("days", [-1.0, 90.0, 20_000.0], ids=["expired", "UTCTime", "GeneralizedTime"])
@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
def test_a_leaf_is_read(tmp_path: Path, rsa_key: rsa.RSAPrivateKey, kind: str, days: float) -> None:
    cert_file, _ = make_certificate(tmp_path, rsa_key if kind == "RSA" else ecdsa_key(), days)
    made = cert_file.read_text()
    issuer = certificate()[0].read_text()
    leaf = read_leaf(f"subject=what some tools write above\n{made}{issuer}")
    assert leaf.kind == kind
    assert leaf.expires == x509.load_pem_x509_certificate(made.encode()).not_valid_after_utc.timestamp()


class Client:
    """The other end of a Tls, over memory."""

    def __init__(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.object = context.wrap_bio(self.incoming, self.outgoing, session=session)

    def meet(self, context: ssl.SSLContext) -> "Client":
        """A handshake with a server; ssl.SSLError if either end refuses."""
        server = Tls(context)
        while not server.ready:
            try:
                self.object.do_handshake()
            except ssl.SSLWantReadError:
                pass
            server.receive(self.outgoing.read())
            self.incoming.write(server.outgoing())
        with pytest.raises(ssl.SSLWantReadError):  # takes tickets, if there are some
            self.object.read(1)
        return self

    @property
    def kind(self) -> str:
        der = self.object.getpeercert(binary_form=True)
        assert der
        return read_leaf(ssl.DER_cert_to_PEM_cert(der)).kind


def client(suites: str = "", version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """A client of one version and of `suites` (all that OpenSSL has, without)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(f"{suites or 'ALL'}:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of TLS 1.0 and 1.1
        context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(both: tuple[KeyPair, KeyPair], version: ssl.TLSVersion) -> None:
    with pytest.raises(ssl.SSLError):
        Client(client(version=version)).meet(tls_context(both))


GOOD = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": "ECDSA",
    "ECDHE-ECDSA-AES256-GCM-SHA384": "ECDSA",
    "ECDHE-ECDSA-CHACHA20-POLY1305": "ECDSA",
    "ECDHE-RSA-AES128-GCM-SHA256": "RSA",
    "ECDHE-RSA-AES256-GCM-SHA384": "RSA",
    "ECDHE-RSA-CHACHA20-POLY1305": "RSA",
}


@pytest.mark.parametrize(("suite", "kind"), GOOD.items(), ids=GOOD)
def test_each_good_suite_is_served_with_its_certificate(both: tuple[KeyPair, KeyPair], suite: str, kind: str) -> None:
    met = Client(client(suite)).meet(tls_context(both))
    assert met.object.cipher() == (suite, "TLSv1.2", 256 if "128" not in suite else 128)
    assert met.kind == kind
    assert met.object.compression() is None


def test_every_other_suite_is_refused(both: tuple[KeyPair, KeyPair]) -> None:
    offered = client("ALL:COMPLEMENTOFALL")
    others = [each["name"] for each in offered.get_ciphers() if not each["name"].startswith("TLS_")]
    assert {"AES128-SHA", "ECDHE-RSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256", "NULL-SHA"} <= set(others)
    context = tls_context(both)
    for suite in set(others) - set(GOOD):
        with pytest.raises(ssl.SSLError):
            Client(client(suite)).meet(context)


def test_tls_1_3_is_spoken(both: tuple[KeyPair, KeyPair]) -> None:
    assert Client(client(version=ssl.TLSVersion.TLSv1_3)).meet(tls_context(both)).object.version() == "TLSv1.3"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_tickets_are_given(both: tuple[KeyPair, KeyPair], version: ssl.TLSVersion) -> None:
    context = tls_context(both)
    from_client = client(version=version)
    first = Client(from_client).meet(context)
    assert first.object.session
    assert not first.object.session.has_ticket
    if version is ssl.TLSVersion.TLSv1_2:  # by session id; in 1.3 there is nothing to come back with
        second = Client(from_client, first.object.session).meet(context)
        assert not second.object.session_reused


def replace(pair: KeyPair, other: KeyPair) -> None:
    for to, by in ((pair.cert_file, other.cert_file), (pair.key_file, other.key_file)):
        Path(to).write_bytes(Path(by).read_bytes())


def test_changed_files_are_taken(folder: Callable[[str], Path], both: tuple[KeyPair, KeyPair]) -> None:
    watched = Watched(*both)
    assert [(each["event"], each["kind"]) for each in watched.take()] == [
        ("certificate_loaded", "ECDSA"),
        ("certificate_loaded", "RSA"),
    ]
    first = watched.certificates.context
    watched.certificates.check()
    assert watched.certificates.context is first
    assert watched.take() == []
    replace(both[0], key_pair(*make_certificate(folder("new"), ecdsa_key(), 80)))
    watched.certificates.check()
    assert watched.certificates.context is not first
    assert watched.certificates.expires == read_leaf(Path(both[1].cert_file).read_text()).expires
    assert [each["event"] for each in watched.take()] == ["certificate_loaded"] * 2


def test_links_that_are_swapped_are_followed(folder: Callable[[str], Path], tmp_path: Path) -> None:
    """As Kubernetes does: the names are links through one link to a folder, which is replaced."""
    for version in ("v1", "v2"):
        make_certificate(folder(version), ecdsa_key())
    data = tmp_path / "..data"
    data.symlink_to("v1")
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).symlink_to(data / name)
    watched = Watched(key_pair(tmp_path / "cert.pem", tmp_path / "key.pem"))
    first = watched.certificates.context
    (tmp_path / "..new").symlink_to("v2")
    (tmp_path / "..new").replace(data)
    watched.certificates.check()
    assert watched.certificates.context is not first


def test_a_half_written_pair_waits_for_the_other_half(
    folder: Callable[[str], Path], both: tuple[KeyPair, KeyPair]
) -> None:
    watched = Watched(both[0])
    first = watched.certificates.context
    new = key_pair(*make_certificate(folder("new"), ecdsa_key()))
    watched.take()
    Path(both[0].cert_file).write_bytes(Path(new.cert_file).read_bytes())
    for _ in range(3):
        watched.certificates.check()
        assert watched.certificates.context is first
    why = f"GATEWAY_KEY_FILE={both[0].key_file!r} is not the key of {both[0].cert_file!r}"
    assert watched.take() == [{"event": "certificate_refused", "error": why}]
    Path(both[0].key_file).write_bytes(Path(new.key_file).read_bytes())
    watched.certificates.check()
    assert watched.certificates.context is not first
    assert [each["event"] for each in watched.take()] == ["certificate_loaded"]


def test_a_file_that_goes_away_leaves_the_certificate(both: tuple[KeyPair, KeyPair]) -> None:
    watched = Watched(both[0])
    first = watched.certificates.context
    Path(both[0].cert_file).rename(Path(both[0].cert_file).with_name("away"))
    watched.take()
    watched.certificates.check()
    assert watched.certificates.context is first
    assert "cannot be read" in watched.take()[0]["error"]
    Path(both[0].cert_file).with_name("away").rename(both[0].cert_file)
    watched.certificates.check()
    assert [each["event"] for each in watched.take()] == ["certificate_loaded"]


def test_reload_takes_and_tells_whatever_changed(both: tuple[KeyPair, KeyPair]) -> None:
    watched = Watched(both[0])
    first = watched.certificates.context
    watched.certificates.reload()
    assert watched.certificates.context is not first
    Path(both[0].key_file).write_text("rubbish")
    watched.take()
    for _ in range(2):
        watched.certificates.reload()
    assert [each["event"] for each in watched.take()] == ["certificate_refused"] * 2


def test_an_end_that_is_near_is_told_once_a_day(both: tuple[KeyPair, KeyPair]) -> None:
    watched = Watched(both[0])
    watched.take()
    watched.clock.time = watched.certificates.expires - 14.4 * DAY
    watched.certificates.check()
    assert watched.take() == []
    told = []
    for _ in range(64):  # a quarter of a day each
        watched.clock.time += DAY / 4
        watched.certificates.check()
        told += [each["days"] for each in watched.take()]
    assert told == [round(13.9 - day, 1) for day in range(16)]


def test_an_end_that_is_near_is_told_when_loaded(both: tuple[KeyPair, KeyPair]) -> None:
    clock, lines = FakeClock(read_leaf(Path(both[0].cert_file).read_text()).expires + DAY), list[str]()
    Certificates(both, clock, Log(clock, lines.append))
    last = json.loads(lines[-1])
    assert (last["event"], last["days"]) == ("certificate_expires", -1.0)


def test_sessions_go_on_and_new_ones_get_the_new_certificate(folder: Callable[[str], Path]) -> None:
    pair = key_pair(*make_certificate(folder("old"), ecdsa_key()))
    new = key_pair(*make_certificate(folder("new"), ecdsa_key()))

    async def serial(gateway: Gateway) -> bytes | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.tls_port, ssl=context)
        der: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return der

    async def main() -> None:
        async with running(Gateway()) as gateway:
            wire = await Wire.logged_in(gateway)
            gateway.site.tls = Certificates((pair,), gateway.clock, gateway.log)
            old = await serial(gateway)
            replace(pair, new)
            gateway.site.tls.check()
            assert await serial(gateway) == ssl.PEM_cert_to_DER_cert(Path(new.cert_file).read_text()) != old
            assert await wire.ask(b"NOOP") == b"250 2.0.0 OK\r\n"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("conf", "taken"),
    [("", {"X25519", "prime256v1", "secp384r1", "secp521r1"}), ("openssl.cnf", {"X25519", "prime256v1", "secp384r1"})],
)
def test_our_openssl_conf_narrows_the_groups(conf: str, taken: set[str]) -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "layers/relay")])
    environment = {"PYTHONPATH": path, "OPENSSL_CONF": str(ROOT / "smtp_gateway" / conf) if conf else ""}
    command = [sys.executable, "-c", GROUPS, "X25519", "prime256v1", "secp384r1", "secp521r1"]
    assert set(subprocess.check_output(command, env=environment, text=True).split()) == taken
