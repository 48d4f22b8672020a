"""Over real sockets: what is said over quota, the delay of logins, and the end of a login that holds no more."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from relay.account import BouncePause
from relay.errors import TemporaryError
from relay.quota import DAY, LEASE, Limits, day_of
from smtp_gateway import quotas, replies
from smtp_gateway.accounts import DISTRUST
from smtp_gateway.deadlines import Timeouts
from smtp_gateway.quotas import CUT_OFF, FAILED_OF_ADDRESS, Allowance
from tests.fakes import FakeAccounts, FakeClock, FakeUsage
from tests.gateway import GENEROUS, PASSWORD, USER, Gateway, Run, Wire, account, plain, running, until

MAIL = b"MAIL FROM:<jo@example.com>"
ENVELOPE = MAIL + b"\r\nRCPT TO:<a@b.example>\r\nDATA\r\n"
CONTENT = b"From: jo@example.com\r\n\r\nHello\r\n.\r\n"
WRONG = b"AUTH PLAIN " + plain(USER, "wrong")
RIGHT = b"AUTH PLAIN " + plain(USER, PASSWORD)
LOOP_BACK = "127.0.0.1"
ONE_A_DAY = replace(GENEROUS, per_day=1)
LEFT_OF_DAY = DAY - FakeClock().now() % DAY
USED_UP = replies.too_many_today(1, int(LEFT_OF_DAY)).wire


async def greeted(gateway: Gateway) -> Wire:
    wire = await Wire.open(gateway.tls_port, tls=True)
    await wire.reply()
    await wire.ask(b"EHLO app.example")
    return wire


def fail(gateway: Gateway, times: int, *, account: str = USER, address: str = "192.0.2.1") -> None:
    """So many logins have."""
    for _ in range(times):
        gateway.site.quotas.attempts.begin(account, address, asyncio.get_running_loop().time())


# --- sessions ---------------------------------------------------------------------------------


def test_an_address_has_so_many_sessions_at_once(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), allowance=Allowance(address_sessions=1)) as gateway:
            first = await Wire.logged_in(gateway)
            second = await Wire.open(gateway.port)
            assert await second.rest() == replies.TOO_MANY_OF_ADDRESS.wire
            assert await (await Wire.open(gateway.tls_port)).rest() == b""
            assert (await first.ask(b"QUIT")).startswith(b"221 ")
            first.writer.close()
            await until(lambda: not gateway.site.connections)
            assert (await (await Wire.open(gateway.port)).reply()).startswith(b"220 ")
            assert {each["why"] for each in gateway.events("cut_off")} == {"quota of the address"}

    run(main())


def test_who_is_turned_away_takes_no_place(run: Run) -> None:
    """Not even while it doesn't close its side."""

    async def main() -> None:
        async with running(Gateway(), allowance=Allowance(address_sessions=1), max_connections=3) as gateway:
            inside = await Wire.logged_in(gateway)
            crowd = [await Wire.open(gateway.port) for _ in range(10)]
            for each in crowd:
                assert await each.rest() == replies.TOO_MANY_OF_ADDRESS.wire
            await until(lambda: len(gateway.site.connections) == 1)
            assert await inside.ask(b"NOOP") == replies.OK.wire

    run(main())


def test_an_address_connects_so_often_in_a_minute(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), allowance=Allowance(address_connections=2)) as gateway:
            for _ in range(2):
                assert (await (await Wire.open(gateway.port)).reply()).startswith(b"220 ")
            assert await (await Wire.open(gateway.port)).rest() == replies.too_fast(30).wire

    run(main())


@pytest.mark.parametrize(
    ("said", "blamed"),
    [
        (b"GET / HTTP/1.1\r\n", True),
        (b"X\r\n" * 20, True),
        (b"EHLO a.example\r\n" * 60, True),
        (b"BDAT 10\r\n", True),
        (b"QUIT\r\n", False),
        (b"EHLO a.example\r\nNOOP\r\n" * 3 + b"QUIT\r\n", False),
    ],
    ids=ascii,
)
def test_who_is_cut_off_for_what_it_said_is_turned_away_in_the_end(run: Run, said: bytes, blamed: bool) -> None:
    async def main() -> None:
        async with running(Gateway(), timeouts=Timeouts(linger=0.01)) as gateway:
            for _ in range(CUT_OFF.count):
                wire = await Wire.open(gateway.port)
                wire.writer.write(said)
                assert (await wire.rest()).startswith(b"220 ")
                wire.writer.close()
            heard = await (await Wire.open(gateway.port)).reply()
            assert heard.startswith(b"421 4.7.0 Too many sessions of your address" if blamed else b"220 ")

    run(main())


def test_behind_a_balancer_the_client_s_address_counts(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), allowance=Allowance(address_sessions=1), proxy_from=("127.0.0.0/8",)) as gateway:
            heard = []
            wires = [await Wire.open(gateway.port) for _ in range(3)]
            for wire, address in zip(wires, ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"), strict=True):
                wire.writer.write(f"PROXY TCP6 {address} 2001:db8:2::1 4000 587\r\n".encode())
                heard.append((await wire.reply())[:3])
            assert heard == [b"220", b"421", b"220"]

    run(main())


def test_an_account_has_so_many_sessions_at_once(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), allowance=Allowance(account_sessions=1)) as gateway:
            first = await Wire.logged_in(gateway)
            second = await greeted(gateway)
            assert await second.ask(RIGHT) == replies.TOO_MANY_OF_ACCOUNT.wire
            assert await second.rest() == b""
            assert (await first.ask(b"QUIT")).startswith(b"221 ")
            first.writer.close()
            await until(lambda: not gateway.site.logins.count(USER))
            await Wire.logged_in(gateway)

    run(main())


# --- messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sender", [MAIL, b"MAIL FROM:<>"])
def test_an_account_sends_so_much_in_a_day(run: Run, sender: bytes) -> None:
    async def main() -> None:
        async with running(Gateway(), account_limits=ONE_A_DAY) as gateway:
            wire = await Wire.logged_in(gateway)
            wire.writer.write((ENVELOPE + CONTENT) * 2 + sender + b"\r\nRCPT TO:<a@b.example>\r\nNOOP\r\n")
            heard = [await wire.reply() for _ in range(11)]
            assert heard[3].startswith(b"250 2.0.0 queued")
            assert heard[7:] == [USED_UP, USED_UP, replies.MAIL_FIRST.wire, replies.OK.wire]
            assert len(gateway.queue.sent) == 1
            lines = [each for each in gateway.events("refused") if each["code"] == 451]
            assert [each["account"] for each in lines] == [USER] * 2
            again = await Wire.logged_in(gateway)  # another session doesn't help
            assert await again.ask(sender) == USED_UP
            gateway.clock.advance(LEFT_OF_DAY)
            assert await again.ask(sender) == replies.SENDER_OK.wire

    run(main())


def test_an_account_sends_so_many_octets_in_an_hour(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), allowance=Allowance(account_octets=31)) as gateway:
            wire = await Wire.logged_in(gateway)
            wire.writer.write(ENVELOPE + CONTENT + MAIL + b"\r\n")
            heard = [await wire.reply() for _ in range(5)]
            assert heard[3].startswith(b"250 2.0.0 queued")
            assert heard[4] == replies.too_many_octets(117).wire  # 3600/31: there is one octet again

    run(main())


def test_two_gateways_take_no_more_than_one(run: Run) -> None:
    async def main() -> None:
        usage = FakeUsage()
        first, second = Gateway(usage=usage), Gateway(usage=usage)
        limits = replace(GENEROUS, per_day=10)
        async with running(first, account_limits=limits), running(second, account_limits=limits):
            wires = [await Wire.logged_in(gateway) for gateway in (first, second) * 2]
            for _ in range(4):
                for wire in wires:
                    wire.writer.write(ENVELOPE + CONTENT)
            heard = [await wire.reply() for wire in wires for _ in range(4)]
            assert len([each for each in heard if each.startswith(b"250 2.0.0 queued")]) <= 10
            await asyncio.sleep(0)
        assert len(first.queue.sent) + len(second.queue.sent) == 10

    run(main())


def test_what_comes_too_fast_is_held_back(run: Run) -> None:
    async def main() -> None:
        waits: list[float] = []
        async with running(Gateway(), account_limits=replace(GENEROUS, per_second=2)) as gateway:

            async def sleep(seconds: float) -> None:
                waits.append(round(seconds, 3))

            gateway.site.leases._sleep = sleep
            wire = await Wire.logged_in(gateway)
            wire.writer.write((ENVELOPE + CONTENT) * 13)
            heard = [(await wire.reply()) for _ in range(4 * 13)]
            assert waits == [0.5 * number for number in range(1, 11)]
            assert heard[-1] == replies.too_many_a_second(2, 6).wire
            assert len(gateway.queue.sent) == 12

    run(main())


def test_a_paused_account_is_told_so(run: Run) -> None:
    async def main() -> None:
        paused = replace(account(), pause=BouncePause(1.0, 60, 200))
        async with running(Gateway(accounts=FakeAccounts(paused))) as gateway:
            wire = await Wire.logged_in(gateway)
            assert await wire.ask(MAIL) == replies.paused(60, 200).wire
            gateway.accounts.items[USER] = replace(paused, pause=None)
            await gateway.site.logins.look()
            assert await wire.ask(MAIL) == replies.SENDER_OK.wire
            gateway.accounts.items[USER] = paused
            await gateway.site.logins.look()
            wire.writer.write(b"RCPT TO:<a@b.example>\r\nDATA\r\n" + CONTENT)
            assert [await wire.reply() for _ in range(3)][2] == replies.paused(60, 200).wire
            assert not gateway.queue.sent

    run(main())


def test_limits_of_its_own_hold_after_the_login(run: Run) -> None:
    async def main() -> None:
        limited = replace(account(), limits=Limits(recipients=2, size=70_000))
        async with running(Gateway(accounts=FakeAccounts(limited))) as gateway:
            wire = await Wire.logged_in(gateway)
            assert b"SIZE 70000\r\n" in await wire.ask(b"EHLO app.example")
            assert await wire.ask(MAIL + b" SIZE=70001") == replies.too_big(70_000).wire
            assert await wire.ask(MAIL) == replies.SENDER_OK.wire
            for number in range(2):
                assert await wire.ask(b"RCPT TO:<a%d@b.example>" % number) == replies.RECIPIENT_OK.wire
            assert await wire.ask(b"RCPT TO:<a3@b.example>") == replies.TOO_MANY_RECIPIENTS.wire

    run(main())


def test_without_the_table_mail_goes_on(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), account_limits=ONE_A_DAY) as gateway:
            gateway.usage.fail = TemporaryError("away")
            wire = await Wire.logged_in(gateway)
            wire.writer.write((ENVELOPE + CONTENT) * 2)
            assert [(await wire.reply())[:3] for _ in range(8)] == [b"250", b"250", b"354", b"250"] * 2
            (line,) = gateway.events("usage_away")
            assert line["account"] == USER
            gateway.usage.fail = None
            gateway.clock.advance(LEASE)
            await gateway.site.leases.settle()
            assert gateway.usage.items[USER, day_of(gateway.clock.now())].messages == 2

    run(main())


def test_a_message_that_was_not_taken_does_not_count(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), account_limits=ONE_A_DAY) as gateway:
            wire = await Wire.logged_in(gateway)

            async def refuse(*_: object) -> replies.Reply:
                return replies.NOT_STORED

            submit, gateway.site.submit = gateway.site.submit, refuse
            wire.writer.write(ENVELOPE + CONTENT)
            assert [(await wire.reply()) for _ in range(4)][3] == replies.NOT_STORED.wire
            gateway.site.submit = submit
            wire.writer.write(ENVELOPE + CONTENT)
            assert [(await wire.reply())[:3] for _ in range(4)][3] == b"250"

    run(main())


# --- logins -----------------------------------------------------------------------------------


def test_the_address_is_told_when_to_come_again(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            fail(gateway, FAILED_OF_ADDRESS.count, account="x", address=LOOP_BACK)
            wire = await greeted(gateway)
            assert await wire.ask(RIGHT) == replies.too_many_failed_logins(90).wire
            assert await wire.rest() == b""
            assert not gateway.events("auth_failed")

    run(main())


@pytest.mark.parametrize(("line", "code"), [(RIGHT, b"235"), (WRONG, b"535")], ids=["right", "wrong"])
def test_a_delayed_login_is_not_checked_before_and_not_cut_off(
    run: Run, monkeypatch: pytest.MonkeyPatch, line: bytes, code: bytes
) -> None:
    monkeypatch.setattr(quotas, "LONGEST", 0.3)

    async def main() -> None:
        async with running(Gateway(), timeouts=Timeouts(login=0.1)) as gateway:
            fail(gateway, 100)
            checked = gateway.site.authenticate
            calls: list[float] = []

            async def authenticate(credentials: Any) -> Any:
                calls.append(asyncio.get_running_loop().time())
                return await checked(credentials)

            gateway.site.authenticate = authenticate
            wire = await greeted(gateway)
            began = asyncio.get_running_loop().time()
            assert (await wire.ask(line))[:3] == code
            assert len(calls) == 1
            assert calls[0] - began >= 0.29

    run(main())


def test_wrong_passwords_are_delayed_and_who_is_known_is_not(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    begin = quotas.Attempts.begin

    def spy(*args: Any) -> quotas.Attempt:
        attempt = begin(*args)
        asked.append(attempt.delay)
        return attempt._replace(delay=0.0)

    monkeypatch.setattr(quotas.Attempts, "begin", spy)

    async def main() -> None:
        async with running(Gateway()) as gateway:
            await Wire.logged_in(gateway)
            fail(gateway, 50)
            asked.clear()
            assert (await (await greeted(gateway)).ask(RIGHT)).startswith(b"235 ")
            wire = await greeted(gateway)
            assert [(await wire.ask(WRONG))[:3] for _ in range(2)] == [b"535", b"535"]
            other = await greeted(gateway)
            assert (await other.ask(b"AUTH PLAIN " + plain("AL@example.com", "x")))[:3] == b"535"
            fail(gateway, 50, account="al@example.com", address="192.0.2.2")
            assert (await other.ask(b"AUTH PLAIN " + plain("Al@example.com", "x")))[:3] == b"535"
            assert (asked[:4], asked[-1]) == ([0.0, 0.0, 0.0, 0.0], quotas.LONGEST)

    run(main())


def test_an_outage_is_no_failed_login(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            wire = await greeted(gateway)
            for _ in range(FAILED_OF_ADDRESS.count + 1):
                gateway.accounts.fail_next(TemporaryError("away"))
                assert await wire.ask(RIGHT) == replies.CANNOT_CHECK_LOGIN.wire
            assert (await wire.ask(RIGHT)).startswith(b"235 ")

    run(main())


def test_who_goes_during_the_delay_takes_no_place_and_is_not_checked(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            fail(gateway, 100)
            wire = await greeted(gateway)
            wire.writer.write(RIGHT + b"\r\n")
            (connection,) = gateway.site.connections
            await until(lambda: connection._gone)  # type: ignore[attr-defined]
            wire.writer.transport.abort()
            await until(lambda: not gateway.site.connections)
            assert not gateway.events("auth_ok")

    run(main())


# --- a login that holds no more ---------------------------------------------------------------


def disable(gateway: Gateway) -> None:
    gateway.accounts.items[USER] = account(disabled=True)


def test_a_disabled_account_s_sessions_end_and_another_login_fails(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            idle, begun, sending = [await Wire.logged_in(gateway) for _ in range(3)]
            stranger = await greeted(gateway)
            assert await begun.ask(MAIL) == replies.SENDER_OK.wire
            sending.writer.write(ENVELOPE + b"From: jo@example.com\r\n")
            assert [(await sending.reply())[:3] for _ in range(3)][2] == b"354"
            await gateway.site.logins.look()
            assert await idle.ask(b"NOOP") == replies.OK.wire
            disable(gateway)
            await gateway.site.logins.look()
            for wire in (idle, begun, sending):
                assert await wire.rest() == replies.LOGIN_ENDED.wire
            assert not gateway.queue.sent
            assert [each["why"] for each in gateway.events("cut_off")] == ["login ended"] * 3
            gateway.clock.advance(DISTRUST + 1)
            assert (await stranger.ask(RIGHT)).startswith(b"535 ")

    run(main())


def test_another_password_ends_sessions_and_the_new_one_works(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            wire = await Wire.logged_in(gateway)
            gateway.accounts.items[USER] = account(password="new")
            await gateway.site.logins.look()
            assert await wire.rest() == replies.LOGIN_ENDED.wire
            fresh = await greeted(gateway)
            assert (await fresh.ask(b"AUTH PLAIN " + plain(USER, "new"))).startswith(b"235 ")
            await gateway.site.logins.look()
            assert await fresh.ask(b"NOOP") == replies.OK.wire

    run(main())


def test_what_waits_for_a_ruling_is_answered_and_nothing_after_it(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            gateway.ask.answer.clear()
            wire = await Wire.logged_in(gateway)
            wire.writer.write(ENVELOPE + CONTENT)
            await until(lambda: gateway.ask.asked)
            disable(gateway)
            await gateway.site.logins.look()
            gateway.ask.answer.set()
            assert await wire.rest() == replies.SENDER_OK.wire + replies.LOGIN_ENDED.wire
            assert not gateway.queue.sent

    run(main())


def test_a_message_on_its_way_to_the_queue_gets_its_250(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            asked, answer = asyncio.Event(), asyncio.Event()
            submit = gateway.site.submit

            async def slow(*args: Any) -> replies.Reply:
                asked.set()
                await answer.wait()
                return await submit(*args)

            gateway.site.submit = slow
            wire = await Wire.logged_in(gateway)
            wire.writer.write(ENVELOPE + CONTENT + ENVELOPE + CONTENT)
            await asked.wait()
            disable(gateway)
            await gateway.site.logins.look()
            answer.set()
            heard = (await wire.rest()).splitlines(keepends=True)
            assert [each[:3] for each in heard] == [b"250", b"250", b"354", b"250", b"421"]
            assert heard[-1] == replies.LOGIN_ENDED.wire
            assert len(gateway.queue.sent) == 1

    run(main())


def test_what_comes_while_the_sender_is_being_proved_has_its_answer_after_that(run: Run) -> None:
    """Also if the quota is used up meanwhile, by another session of the account."""

    async def main() -> None:
        async with running(Gateway(), account_limits=ONE_A_DAY) as gateway:
            gateway.ask.answer.clear()
            wire = await Wire.logged_in(gateway)
            wire.writer.write(MAIL + b"\r\n")
            await until(lambda: gateway.ask.asked)
            assert await gateway.site.leases.take(account()) is None
            (connection,) = gateway.site.connections
            wire.writer.write(b"RCPT TO:<a@b.example>\r\n")
            await until(lambda: connection._session.backlog)  # type: ignore[attr-defined]
            gateway.ask.answer.set()
            assert [await wire.reply() for _ in range(2)] == [replies.SENDER_OK.wire, replies.RECIPIENT_OK.wire]
            wire.writer.close()
            await until(lambda: not gateway.site.connections)

    run(main())
