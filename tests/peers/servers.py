"""Real mail servers on loopback: Debian's Postfix and Exim with TLS, and Postfix's smtp-sink with its failures.

Each is a process of the test's own, with its own configuration and spool in the test's folder, and ends with it.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
POSTFIX = Path("/usr/sbin/postfix")
SASLPASSWD = Path("/usr/sbin/saslpasswd2")
EXIM = ROOT / ".local/peers/usr/sbin/exim4"
SINK = shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SECONDS = 15.0  # for a server to come up, or to put a message into its mailbox

DOMAIN = "b.example"
BOXES = ("a", "b", "ü")


@dataclass(frozen=True)
class Peer:
    """port: on 127.0.0.1. mailbox: a Maildir's `new`, where each message ends up. tls_port: for TLS from the first
    octet on, 0 if there is none."""

    port: int
    mailbox: Path
    tls_port: int = 0

    def contents(self, count: int) -> list[bytes]:
        """Of `count` messages, once they are there, in the order of their arrival."""
        end = time.monotonic() + SECONDS
        while len(files := sorted(self.mailbox.glob("*"), key=lambda path: path.stat().st_mtime_ns)) < count:
            assert time.monotonic() < end, f"{len(files)} of {count} messages"
            time.sleep(0.02)
        return [path.read_bytes() for path in files]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            said = "".join(path.read_text(errors="replace") for path in log.parent.glob("*log"))
            assert process.poll() is None, f"the server has ended: {said}"
            assert time.monotonic() < end, f"the server does not listen: {said}"
            time.sleep(0.05)
        else:
            return


def end(process: "subprocess.Popen[bytes]") -> None:
    """It and what it started: it leads a process group of its own."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)  # Exim's children, which end their sessions and log that
    except ProcessLookupError:
        pass


@contextmanager
def place() -> Iterator[Path]:
    """A folder that everybody may enter, as servers' users have to; pytest's may be root's alone."""
    with tempfile.TemporaryDirectory(prefix="mailrelay-peer-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def running(command: list[str], port: int, log: Path, **environment: str) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True, env={**os.environ, **environment}
        )
    try:
        wait_for(port, process, log)
        yield
    finally:
        end(process)


@contextmanager
def smtp_sink(folder: Path, *options: str) -> Iterator[int]:
    """The port it listens on."""
    assert SINK
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    with running([SINK, *user, *options, f"127.0.0.1:{port}", "100"], port, folder / "log"):
        yield port


# --- Postfix -------------------------------------------------------------------------------------

MAIN_CF = """
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.b.example
mydestination =
local_recipient_maps =
mynetworks = 192.0.2.1/32
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
biff = no
smtputf8_enable = yes
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = {level}
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
message_size_limit = 1000000
virtual_mailbox_domains = b.example
virtual_mailbox_maps = inline:{{ {maps} }}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_limit = 0
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
"""
MASTER_CF = """
{port}    inet  n - n - 20 smtpd
postlog   unix-dgram n - n - 1 postlogd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
proxymap  unix  - - n - - proxymap
proxywrite unix - - n - 1 proxymap
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
"""
SASL_CF = """
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
virtual_mailbox_domains =
default_transport = virtual:
smtpd_sasl_auth_enable = yes
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = mx.b.example
smtpd_tls_auth_only = yes
"""
SASL_MASTER_CF = """
{tls_port}    inet  n - n - 20 smtpd -o smtpd_tls_wrappermode=yes
"""
SASL_CONF = """
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {folder}/etc/sasl/db
mech_list: {mechanisms}
"""


@contextmanager
def postfix(
    folder: Path,
    certificate: Path,
    key: Path,
    *,
    level: str = "may",
    login: tuple[str, str] | None = None,
    mechanisms: str = "PLAIN LOGIN",
) -> Iterator[Peer]:
    """Takes mail for BOXES at b.example. level: smtpd_tls_security_level. login: user and password of the one who may
    send, to any domain, by one of SASL's `mechanisms`; None for anybody."""
    import pwd

    nobody, owner = pwd.getpwnam("nobody"), pwd.getpwnam("postfix")
    for name in ("etc", "etc/dynamicmaps.cf.d", "spool", "data", "mail"):
        (folder / name).mkdir()
    os.chown(folder / "data", owner.pw_uid, owner.pw_gid)
    os.chown(folder / "mail", nobody.pw_uid, nobody.pw_gid)
    port = free_port()
    main = MAIN_CF.format(
        folder=folder,
        level=level,
        certificate=certificate,
        key=key,
        uid=nobody.pw_uid,
        gid=nobody.pw_gid,
        maps=", ".join(f"{{ {box}@{DOMAIN} = box/ }}" for box in BOXES),
    )
    master = MASTER_CF.format(port=port)
    tls_port = 0
    if login is not None:
        tls_port = free_port()
        main += SASL_CF
        master += SASL_MASTER_CF.format(tls_port=tls_port)
        _sasl(folder, login, mechanisms, owner.pw_uid)
    (folder / "etc/main.cf").write_text(main.lstrip())
    (folder / "etc/master.cf").write_text(master.lstrip())
    command = [str(POSTFIX), "-c", str(folder / "etc")]
    # The master listens in the order of its table: who waits for the last port has all.
    with running([*command, "start-fg"], tls_port or port, folder / "log"):
        try:
            yield Peer(port, folder / "mail/box/new", tls_port)
        finally:  # its master leaves our process group
            subprocess.run([*command, "stop"], check=True, capture_output=True)


def _sasl(folder: Path, login: tuple[str, str], mechanisms: str, owner: int) -> None:
    """Cyrus SASL with a database of its own. Debian looks for smtpd.conf beside main.cf."""
    (folder / "etc/sasl").mkdir()
    (folder / "etc/sasl/smtpd.conf").write_text(SASL_CONF.format(folder=folder, mechanisms=mechanisms).lstrip())
    user, password = login
    database = folder / "etc/sasl/db"
    command = [str(SASLPASSWD), "-p", "-c", "-u", "mx.b.example", "-f", str(database), user]
    subprocess.run(command, input=password.encode(), check=True, capture_output=True)
    os.chown(database, owner, -1)


# --- Exim ----------------------------------------------------------------------------------------

EXIM_CONF = """
exim_path = {exim}
primary_hostname = mx.b.example
spool_directory = {folder}/spool
log_file_path = {folder}/log-%slog
pid_file_path = {folder}/exim.pid
exim_user = {user}
exim_group = {user}
never_users =
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
tls_advertise_hosts = *
tls_certificate = {certificate}
tls_privatekey = {key}
smtputf8_advertise_hosts = *
accept_8bitmime = true
prdr_enable = false
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_queue_per_connection = 0
message_size_limit = 1M
acl_smtp_rcpt = rcpt
keep_environment = LD_LIBRARY_PATH
begin acl
rcpt:
  accept local_parts = a : b : ü
         domains = b.example
  deny message = 5.1.1 no such mailbox
begin routers
here:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = {folder}/mail/box
  maildir_format = true
  create_directory = true
  user = {user}
  group = {group}
  delivery_date_add = false
  envelope_to_add = false
  return_path_add = false
"""


@contextmanager
def exim(folder: Path, certificate: Path, key: Path) -> Iterator[Peer]:
    """Takes mail for BOXES at b.example."""
    import grp
    import pwd

    user = pwd.getpwnam("mail")
    for name in ("spool", "mail"):
        (folder / name).mkdir()
        os.chown(folder / name, user.pw_uid, user.pw_gid)
    os.chown(folder, user.pw_uid, user.pw_gid)
    for path in (certificate, key):
        path.chmod(0o644)
    port = free_port()
    configuration = folder / "exim.conf"
    configuration.write_text(
        EXIM_CONF.format(
            exim=EXIM,
            folder=folder,
            user=user.pw_name,
            group=grp.getgrgid(user.pw_gid).gr_name,
            port=port,
            certificate=certificate,
            key=key,
        ).lstrip()
    )
    libraries = ":".join(map(str, EXIM.parents[2].glob("usr/lib/*")))
    command = [str(EXIM), "-C", str(configuration), "-bdf"]
    with running(command, port, folder / "log", LD_LIBRARY_PATH=libraries):
        yield Peer(port, folder / "mail/box/new")
