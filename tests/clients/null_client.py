"""A Postfix of our own as the guide's null client: its own configuration, queue and master process, in a folder;
the system's Postfix is not touched."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.programs import environment
from tests.system import wait_for

# What a second instance needs; the guide's settings come after and so count. No smtpd: mail comes by sendmail(1).
INSTANCE = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file_prefixes = {home}
maillog_file = {home}/log
myhostname = app.corp.example
multi_instance_enable = no
import_environment = MAIL_CONFIG
smtp_host_lookup = native
inet_protocols = ipv4
"""
MASTER = """\
pickup    unix  n - n 1   1 pickup
cleanup   unix  n - n -   0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -   - trivial-rewrite
bounce    unix  - - n -   0 bounce
defer     unix  - - n -   0 bounce
trace     unix  - - n -   0 bounce
verify    unix  - - n -   1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -   - proxymap
smtp      unix  - - n -   - smtp
relay     unix  - - n -   - smtp
showq     unix  n - n -   - showq
error     unix  - - n -   - error
retry     unix  - - n -   - error
scache    unix  - - n -   1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


@contextmanager
def running(home: Path) -> Iterator[Path]:
    """Postfix with the guide's main.cf and sasl_passwd in `home`, until the block ends; gives its log."""
    home.chmod(0o755)  # Postfix's daemons drop root
    settings = (home / "main.cf").read_text()
    (home / "main.cf").write_text(INSTANCE.format(home=home) + settings)
    (home / "master.cf").write_text(MASTER)
    (home / "queue").mkdir()
    (home / "data").mkdir()
    subprocess.run(["chown", "postfix", str(home / "data")], check=True)
    log = home / "log"
    # Postfix makes the folders of its queue; start-fg keeps master our child.
    command = ["postfix", "-c", str(home)]
    with (home / "out").open("wb") as out:
        master = subprocess.Popen(
            [*command, "start-fg"], env=environment(home), stdout=out, stderr=out, start_new_session=True
        )
    try:
        wait_for("Postfix", lambda: (log.exists() and "daemon started" in log.read_text(errors="replace")) or None, 30)
        yield log
    finally:
        subprocess.run([*command, "stop"], env=environment(home), capture_output=True, check=False)
        master.wait(30)
