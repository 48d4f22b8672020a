"""The kinds of fault. A plan is made from kind and seed alone: what is broken, where, for how long, and what is sent.
Which message it hits is up to the processes, which run as they like.
"""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.faults.books import DEAD, Submitted
from tests.faults.remote import Break
from tests.faults.rules import Act, Rule
from tests.faults.world import SPEED, World, content, messages
from tests.system import mailrelay

USUAL = ["ok"] * 6 + ["grey", "nobody", "late"]
CONNECTIONS = 6
CANCEL_SECONDS = 60.0  # a claim lives for 25
LARGE = 260_000  # octets that travel through the bucket
SUBMIT = "gateway sqs SendMessageBatch Validate"
CUTS = ("connect", "hello", "mail", "rcpt", "data", "content")


@dataclass(slots=True)
class Plan:
    """seconds: how long the rules are in force. breaks: of the remote server. words: how it treats recipients.
    large: which share of the messages travels through the bucket. during: what else is done, beside the clients."""

    rules: list[Rule] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    seconds: float = 4.0
    words: list[str] = field(default_factory=lambda: list(USUAL))
    large: float = 0.1
    during: Callable[[World, random.Random, list[Submitted]], None] | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """name: for KINDS=. what: one line for the report. plan: from the seed's chance. standing: for the whole run, as
    in aws.Standing. also: further final states that are right under this fault. speed: of the relay's clock. watch:
    begins what lasts for the whole run."""

    name: str
    what: str
    plan: Callable[[random.Random], Plan]
    copies: int = 1
    visibility: int | None = None
    also: frozenset[str] = frozenset()
    speed: float = SPEED
    watch: Callable[[World], None] | None = None


# --- plans ---


def _killed(points: tuple[str, ...], most: int = 3) -> Callable[[random.Random], Plan]:
    """Whoever makes one of these calls dies before or after the service has done it."""

    def plan(chance: random.Random) -> Plan:
        rules = [
            Rule(chance.choice((Act.KILL_BEFORE, Act.KILL_AFTER)), (point,), times=1, skip=chance.randrange(3))
            for point in chance.sample(points, chance.randint(1, min(most, len(points))))
        ]
        return Plan(rules, seconds=20.0, large=0.2)  # longer than the round: who comes back is in for it, too

    return plan


def _deliver_killed(chance: random.Random) -> Plan:
    points = ("claim", "settle", "advance")
    calls = tuple(f"deliver dynamodb UpdateItem Ledger {step}" for step in points)
    plan = _killed((*calls, "deliver sqs SendMessageBatch *", "deliver s3 *"), most=2)(chance)
    hows = ("kill", "kept kill", "answered kill")
    plan.breaks = [Break("dot", chance.choice(hows)) for _ in range(chance.randint(1, 2))]
    if chance.random() < 0.3:
        plan.breaks.append(Break(chance.choice(("hello", "rcpt", "data", "content")), "kill"))
    return plan


def _service(service: str) -> Callable[[random.Random], Plan]:
    """One service in trouble for some seconds: refusing, slow or throttling, for all who call it."""

    def plan(chance: random.Random) -> Plan:
        calls = tuple(f"{role} {service} *" for role in ("gateway", "validate", "deliver", "record"))
        act = chance.choice((Act.REFUSE, Act.RESET, Act.SLOW, Act.THROTTLE))
        rules = [Rule(act, calls, chance=chance.choice((0.5, 0.8, 1.0)), seconds=chance.uniform(0.3, 2.0))]
        if service == "sqs":
            rules.insert(0, Rule(Act.FAIL_ENTRY, tuple(f"{each[:-1]}SendMessageBatch *" for each in calls), chance=0.2))
        return Plan(rules, seconds=chance.uniform(2.0, 4.0), large=0.5 if service == "s3" else 0.1)

    return plan


def _answers_lost(chance: random.Random) -> Plan:
    calls = ("gateway *", "validate *", "deliver *", "record *")
    acts = [Rule(act, calls, chance=chance.choice((0.1, 0.3, 0.5))) for act in (Act.LOSE, Act.FAIL_AFTER)]
    return Plan(acts, large=0.3)


def _content_missing(chance: random.Random) -> Plan:
    return Plan(large=0.1, words=["ok"])


def _poison(chance: random.Random) -> Plan:
    def during(world: World, chance: random.Random, made: list[Submitted]) -> None:
        queue = chance.choice(("ValidateQueue", "DeliverQueue", "RecordQueue"))
        body = chance.choice(('{"v": 1, "kind": "delivery"', '{"v": 99}', "not JSON at all", "[1, 2]"))
        world.journal.note("fault", at=queue, act="unreadable message", kind="poison")
        url = world.queue_url(queue)
        world.cloud("sqs").send_message(QueueUrl=url, MessageBody=body, MessageGroupId="stranger")

    return Plan(during=during)


def _thrice(_: random.Random) -> Plan:
    return Plan(large=0.2)


def _mid_send(chance: random.Random) -> Plan:
    """The remote takes its time for the dot's answer, longer than the message is hidden."""
    return Plan(breaks=[Break("dot", "kept late") for _ in range(chance.randint(1, 3))], words=["ok", "ok", "grey"])


def _cut(chance: random.Random) -> Plan:
    breaks = [Break(stage, "cut") for stage in CUTS if chance.random() < 0.8]
    breaks += [Break("dot", how) for how in ("cut", "kept cut") for _ in range(chance.randint(0, 2))]
    return Plan(breaks=breaks or [Break("connect", "cut")])


def _silent(chance: random.Random) -> Plan:
    breaks = [Break("dot", chance.choice(("silent", "kept silent")))]
    if chance.random() < 0.5:
        breaks.append(Break(chance.choice(CUTS), "silent"))
    return Plan(breaks=breaks)


def _slow(chance: random.Random) -> Plan:
    stages = chance.sample(("connect", "hello", "mail", "rcpt", "data"), chance.randint(1, 2))
    return Plan(breaks=[Break(stage, "slow") for stage in stages] + [Break("dot", "kept slow")])


def _put_off(chance: random.Random) -> Plan:
    """Some recipients are put off for ever, the rest after trouble with the remote."""
    return Plan(breaks=[Break(stage, "cut") for stage in CUTS if chance.random() < 0.3], words=["ok", "grey", "wait"])


def _refuses(chance: random.Random) -> Plan:
    """Recipients of one message are treated differently; some that are put off for ever are cancelled."""

    def during(world: World, chance: random.Random, made: list[Submitted]) -> None:
        for each in made:
            if _waits(each):
                _cancel(world, each)

    words = ["ok", "ok", "nobody", "policy", "grey", "full", "late", "wait"]
    return Plan(words=words + ["spam"] * chance.randint(0, 1), during=during)


def _waits(each: Submitted) -> bool:
    return any(recipient.startswith("wait.") for recipient in each.recipients)


def _cancel(world: World, each: Submitted) -> None:
    """As a person would, when it has been tried; again while a worker has it in hand."""
    until = time.monotonic() + CANCEL_SECONDS
    state = str(world.system.folder / "state.json")
    while time.monotonic() < until:
        if each.id:
            command = [mailrelay(), "cancel", each.id, "--state", state]
            if not subprocess.run(command, capture_output=True, check=False).returncode:
                return
        time.sleep(0.5)


def _dns(chance: random.Random) -> Plan:
    def during(world: World, chance: random.Random, made: list[Submitted]) -> None:
        time.sleep(chance.uniform(0.0, 0.5))
        with dns_silent(world):
            time.sleep(chance.uniform(2.0, 4.0))

    return Plan(during=during)


@contextmanager
def dns_silent(world: World) -> Iterator[None]:
    dns = world.system.state["pids"]["dns"]
    world.journal.note("fault", at="dns", act="silent")
    os.kill(dns, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(dns, signal.SIGCONT)


# --- for a whole run ---


def _poisonous(world: World) -> None:
    """One delivery whose worker dies at its claim, each time it comes."""
    from relay.encoding import encode_delivery
    from relay.submission import Delivery, Inline

    id = "0199aaaa-0000-7000-8000-000000000bad"
    world.proxy.standing.poison.add(id)
    now = time.time()
    poison = Delivery(
        id, "app@login.example", "news@proved.example", "one.example", 0, ("p@one.example",), now, Inline(b"x")
    )
    world.cloud("sqs").send_message(
        QueueUrl=world.queue_url("DeliverQueue"), MessageBody=encode_delivery(poison), MessageGroupId="stranger"
    )


def _forgetful(world: World) -> None:
    """Of every other object that the bucket takes, nothing is left a moment later."""
    chance = random.Random(1)
    s3 = world.cloud("s3")

    def after_put(path: str) -> None:
        if chance.random() < 0.5:
            key = path.partition("?")[0].strip("/").partition("/")[2]
            world.journal.note("fault", at="s3", act="content gone", key=key)
            threading.Timer(chance.uniform(0, 0.5), lambda: s3.delete_object(Bucket=world.bucket, Key=key)).start()

    world.proxy.standing.after_put = after_put


LEDGER = "deliver dynamodb UpdateItem Ledger"
KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "gateway-killed",
            "the gateway gets SIGKILL before or after SQS or S3 has taken a submission",
            _killed((SUBMIT, "gateway s3 PUT *", "gateway sqs *")),
        ),
        Kind(
            "validate-killed",
            "validate gets SIGKILL around S3, the ledger, SQS",
            _killed(("validate sqs SendMessageBatch *", "validate s3 *", "validate dynamodb *")),
        ),
        Kind(
            "deliver-killed",
            "deliver gets SIGKILL around claim, the remote's stages and answer, settle, SQS, S3, advance",
            _deliver_killed,
        ),
        Kind(
            "record-killed",
            "record gets SIGKILL around rows, suppressions, SQS, S3",
            _killed(("record dynamodb *", "record sqs SendMessageBatch *", "record s3 *")),
        ),
        Kind("thrice", "each queue message comes three times, shuffled over 2 s", _thrice, copies=3),
        Kind(
            "mid-send",
            "the visibility time-out (3 s) passes while the remote takes 5 s for its answer",
            _mid_send,
            visibility=3,
        ),
        Kind("sqs", "SQS refuses, is slow, throttles, or fails single entries", _service("sqs")),
        Kind("dynamodb", "DynamoDB refuses, is slow, or throttles", _service("dynamodb")),
        Kind("s3", "S3 refuses, is slow, or throttles", _service("s3")),
        Kind("answers-lost", "AWS does what it was asked, but its answer is lost or a 500", _answers_lost),
        Kind(
            "content-missing",
            "half of what the bucket took is gone a moment later",
            _content_missing,
            also=frozenset({DEAD}),
            watch=_forgetful,
        ),
        Kind(
            "poison",
            "unreadable messages on the queues, and one that kills its worker each time",
            _poison,
            watch=_poisonous,
        ),
        Kind("remote-cuts", "the remote disconnects at each stage, before and after it has kept the mail", _cut),
        Kind("remote-silent", "the remote takes the dot (or another line) and says nothing", _silent),
        Kind("remote-refuses", "2xx, 4xx, 5xx for recipients of one message; dead addresses; cancel", _refuses),
        Kind(
            "expiry", "the remote puts some recipients off until their 48 h (29 s here) are over", _put_off, speed=6000
        ),
        Kind("dns-silent", "DNS answers nothing for seconds", _dns),
        Kind("remote-slow", "the remote answers an octet a second", _slow),
    )
}


# --- one round ---


def play(world: World, kind: Kind, seed: int, count: int) -> None:
    """Break things by the plan of `seed` while `count` messages are handed over. Doesn't wait until all is quiet."""
    chance = random.Random(f"{kind.name}/{seed}")
    name = f"{kind.name}.{seed}"
    plan = kind.plan(chance)
    made = messages(chance, name, count, plan.words)
    for each in made:
        each.seed = seed
        # Who cancels ends whatever else of the message is still open.
        also = kind.also | ({"cancelled"} if kind.name == "remote-refuses" and _waits(each) else frozenset())
        each.recipients = {to: states | also for to, states in each.recipients.items()}
    pairs = [(each, content(each, LARGE if chance.random() < plan.large else 200, chance)) for each in made]
    for one in plan.breaks:
        one.label = {"kind": kind.name, "seed": seed}
    world.remote.plan(plan.breaks)
    if plan.rules:
        world.rules.arm(plan.rules, random.Random(chance.random()), plan.seconds, kind=kind.name, seed=seed)
    beside = None
    if plan.during is not None:
        arguments = (world, random.Random(chance.random()), made)
        beside = threading.Thread(target=plan.during, args=arguments)
        beside.start()
    world.submit(pairs, CONNECTIONS)
    if beside is not None:
        beside.join()


@contextmanager
def standing(world: World, kind: Kind) -> Iterator[None]:
    """What holds for a whole run of the kind."""
    world.proxy.standing.copies = kind.copies
    world.proxy.standing.visibility = kind.visibility
    if kind.watch is not None:
        kind.watch(world)
    try:
        yield
    finally:
        world.remote.clear()
        world.rules.clear()
        world.proxy.standing.copies = 1
        world.proxy.standing.visibility = None
