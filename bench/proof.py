"""What a verdict costs: from memory, and cold against a DNS server in another process. `make bench`.

The figures are our own process's CPU; the DNS server's is its own. The cold record has three includes, one of them
the relay's; every domain is a new one, so nothing is remembered between verdicts.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from relay.account import Account
from relay.clock import SystemClock
from relay.dns import DnspythonResolver
from relay.ports import Resolver, TxtAnswer
from relay.proof.judge import Judge, Judged
from relay.proof.receipt import Known
from relay.proof.ruling import Question, Standing
from relay.proof.token import token_value
from relay.proof.verdict import Terms, Verdict, judge

USER = "app@bench.example"
INCLUDES = ("a.bench.example", "b.bench.example", "elastx.email")
BY_INCLUDE = Terms("elastx-mrs", "elastx.email", helo="smtp.elastx.email")
BY_ADDRESS = Terms("elastx-mrs", "elastx.email", ("192.0.2.1",), "smtp.elastx.email")
GOAL_CACHED, GOAL_COLD = 50_000, 2.5


def zone(domains: int) -> str:
    records = [
        'a.bench.example. 300 TXT "v=spf1 ip4:198.51.100.0/24 -all"',
        'b.bench.example. 300 TXT "v=spf1 ip4:203.0.113.0/24 ip6:2001:db8:1::/48 -all"',
        'elastx.email. 300 TXT "v=spf1 ip4:192.0.2.0/24 -all"',
    ]
    spf = " ".join(f"include:{each}" for each in INCLUDES)
    for number in range(domains):
        name = f"d{number}.bench.example."
        records += [
            f'{name} 300 TXT "{token_value(USER, "elastx-mrs")}"',
            f'{name} 300 TXT "v=spf1 {spf} -all"',
            f'_dmarc.{name} 300 TXT "v=DMARC1; p=reject"',
        ]
    return "\n".join(records) + "\n"


@contextmanager
def dns_server(text: str) -> Iterator[str]:
    """Its address; it runs in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "zone"
        path.write_text(text)
        process = subprocess.Popen([sys.executable, "-m", "local.dns", str(path)], stdout=subprocess.PIPE)  # noqa: S603
        try:
            assert process.stdout is not None
            yield f"127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        finally:
            process.terminate()
            process.wait()


class Counting:
    """A resolver that counts its questions."""

    def __init__(self, resolver: Resolver) -> None:
        self.count = 0
        self._resolver = resolver
        self.a, self.aaaa, self.mx, self.ptr = resolver.a, resolver.aaaa, resolver.mx, resolver.ptr

    async def txt(self, name: str) -> TxtAnswer:
        self.count += 1
        return await self._resolver.txt(name)


class NoTable:
    """An empty Receipts: what is measured is this process."""

    async def find(self, domain: str, account: str) -> Known | None:
        return None

    async def put(self, account: str, known: Known, before: Known | None) -> bool:
        return True

    async def keep(self, account: str, verdict: Verdict, now: float) -> None:
        return None

    async def receipt(self, domain: str, account: str, name: str) -> Verdict | None:
        return None


class OneAccount:
    """Accounts that has USER."""

    async def find(self, user: str) -> Account | None:
        return Account(USER, b"", b"", "", 0.0)

    async def create(self, account: Account) -> bool:
        return False

    async def remove(self, user: str) -> None:
        return None

    async def list(self) -> tuple[Account, ...]:
        return ()


def judge_of(resolver: Resolver) -> Judge:
    return Judge(resolver=resolver, accounts=OneAccount(), receipts=NoTable(), clock=SystemClock(), terms=BY_INCLUDE)


async def cached(address: str, questions: int) -> dict[str, Any]:
    """A thousand at once on one domain, then one after the other from memory."""
    resolver = Counting(DnspythonResolver((address,)))
    asked = judge_of(resolver)
    question = Question("d0.bench.example", USER, "news@d0.bench.example")
    found: list[Judged] = await asyncio.gather(*(asked(question) for _ in range(1000)))
    lookups = resolver.count
    assert {each.standing for each in found} == {Standing.PASSED}
    began = time.process_time()
    for _ in range(questions):
        await asked(question)
    took = time.process_time() - began
    assert resolver.count == lookups
    return {"lookups_of_1000_at_once": lookups, "cached_verdicts_per_cpu_second": round(questions / took)}


async def cold(address: str, terms: Terms, domains: int) -> dict[str, Any]:
    """One after the other; each costs what a first message of a domain costs."""
    resolver = Counting(DnspythonResolver((address,)))
    await judge("d0.bench.example", USER, terms=terms, resolver=resolver)  # what is imported at the first doesn't count
    resolver.count = 0
    cpu, wall = time.process_time(), time.monotonic()
    for number in range(1, domains):
        verdict = await judge(f"d{number}.bench.example", USER, terms=terms, resolver=resolver)
        assert verdict.passed, verdict.problems
    measured = domains - 1
    return {
        "cpu_ms": round(1000 * (time.process_time() - cpu) / measured, 2),
        "wall_ms": round(1000 * (time.monotonic() - wall) / measured, 2),
        "lookups": round(resolver.count / measured, 1),
    }


def run(domains: int, questions: int) -> dict[str, Any]:
    with dns_server(zone(domains)) as address:
        result = asyncio.run(cached(address, questions))
        result["cold_by_include"] = asyncio.run(cold(address, BY_INCLUDE, domains))
        result["cold_by_address"] = asyncio.run(cold(address, BY_ADDRESS, domains))
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", type=int, default=500)
    parser.add_argument("--questions", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = run(options.domains, options.questions)
    if options.json:
        print(json.dumps(result))
        return 0
    table = Table(title="Verdicts")
    for column in ("figure", "measured", "goal"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    cached_rate = result["cached_verdicts_per_cpu_second"]
    table.add_row("from memory, verdicts per CPU second", f"{cached_rate:,}", f">= {GOAL_CACHED:,}")
    table.add_row("1,000 at once on one domain, lookups", str(result["lookups_of_1000_at_once"]), "one set")
    for name, title in (("cold_by_include", "cold, SPF by include"), ("cold_by_address", "cold, SPF by address")):
        each = result[name]
        table.add_row(f"{title}: CPU ms", f"{each['cpu_ms']:.2f}", f"<= {GOAL_COLD}")
        table.add_row(f"{title}: lookups; wall ms", f"{each['lookups']}; {each['wall_ms']:.2f}", "")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
