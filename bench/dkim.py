"""What the relay's own DKIM signature costs: CPU of this process for a message, the key at hand. `make bench`.

Signing is the RSA operation (OpenSSL's, by `cryptography`), the header's canonical form, and the body's hash.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key
from rich.console import Console
from rich.table import Table

from relay.dkim_keys import make_key_pair
from relay.header import read_header
from relay.proof.dkim_sign import SigningKey, sign

GOAL_MS = 1.5  # for 5 KB
SIZES = {"5 KB": 5_000, "100 KB": 100_000, "10 MB": 10_000_000}
HEADER = (
    b"Received: by smtp.relay.example with ESMTPSA id 0192f0c4-0000-7000-8000-000000000001;\r\n"
    b"\tMon, 23 Nov 2026 10:00:00 +0000\r\nFrom: Bench <news@bench.example>\r\nTo: Somebody <to@in.example>\r\n"
    b"Subject: What a message of an application is about\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n"
    b"Message-ID: <bench@bench.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\nList-Unsubscribe: <https://bench.example/u?id=1>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\n"
)
LINE = b"A line as people write them, of some seventy characters with its end.\r\n"


def message(size: int) -> bytes:
    return HEADER + (LINE * (size // len(LINE) + 1))[: size - len(HEADER) - 2] + b"\r\n"


def key() -> SigningKey:
    private = load_der_private_key(make_key_pair().private, None)
    assert isinstance(private, rsa.RSAPrivateKey)
    return SigningKey("bench.example", "mr20261126-0001", private)


def cpu_ms(work: Callable[[], object], rounds: int) -> float:
    """The median of five runs, for one."""
    work()
    found = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(rounds):
            work()
        found.append(1000 * (time.process_time() - began) / rounds)
    return round(sorted(found)[2], 3)


def run(rounds: int) -> dict[str, Any]:
    keys = [key()]
    result: dict[str, Any] = {}
    for name, size in SIZES.items():
        content = message(size)
        header = read_header(content)
        many = max(3, rounds * 5_000 // max(size, 5_000))
        result[name] = cpu_ms(lambda c=content, h=header: sign(c, h, keys, now=time.time()), many)  # type: ignore[misc]
    result["goal_ms_5_kb"] = GOAL_MS
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = run(options.rounds)
    if options.json:
        print(json.dumps(result))
        return 0
    table = Table(title="DKIM signature, RSA-2048")
    for column in ("message", "CPU ms", "goal"):
        table.add_column(column, justify="left" if column == "message" else "right")
    for name in SIZES:
        table.add_row(name, f"{result[name]:.3f}", f"< {GOAL_MS}" if name == "5 KB" else "")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
