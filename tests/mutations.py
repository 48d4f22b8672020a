"""The promises of docs/promises.md, broken one way after the other, to see that a test notices.

    python -m tests.mutations [WORD]     all, or those with WORD in their description

Each change is made in a copy of the project; then the test beside it has to fail. Exit 1 if one doesn't.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
PARTS: Final = ("functions", "layers", "local", "relayctl", "smtp_gateway", "tests", "template.yaml", "pyproject.toml")


class Mutation(NamedTuple):
    """promise: its number. what: in words, as docs/promises.md has it. old: stands once in `file`."""

    promise: int
    what: str
    file: str
    old: str
    new: str
    test: str


MUTATIONS: Final = (
    Mutation(
        1,
        "answer 250 while the queue is still being asked",
        "smtp_gateway/submit.py",
        "await self._queue.send(body, group=message.account)",
        "asyncio.ensure_future(self._queue.send(body, group=message.account))",
        "tests/unit/smtp_gateway/test_server.py::test_250_comes_after_the_queue_has_answered",
    ),
    Mutation(
        1,
        "answer 250 although the queue failed",
        "smtp_gateway/submit.py",
        "            return replies.NOT_STORED",
        "            pass",
        "tests/unit/smtp_gateway/test_submit.py::test_a_queue_that_fails_is_451",
    ),
    Mutation(
        1,
        "queue the reference while the content is still being stored",
        "smtp_gateway/submit.py",
        "await self._store.put(key, content)",
        "asyncio.ensure_future(self._store.put(key, content))",
        "tests/unit/smtp_gateway/test_submit.py::test_a_store_that_fails_is_451_and_nothing_is_queued",
    ),
    Mutation(
        1,
        "take an entry for queued before SQS answers",
        "layers/relay/relay/aws/queue.py",
        "        await entry.done\n",
        "        await asyncio.sleep(0)\n",
        "tests/unit/aws/test_queue.py::test_nothing_is_acknowledged_before_the_answer",
    ),
    Mutation(
        1,
        "take an entry that the answer doesn't mention for queued",
        "layers/relay/relay/aws/queue.py",
        "if entry.id in sent:",
        "if entry.id not in failed:",
        "tests/unit/aws/test_queue.py::test_an_entry_that_is_not_mentioned_is_not_sent",
    ),
    Mutation(
        2,
        "swallow a refusal",
        "layers/relay/relay/validate.py",
        "if entry.refused:",
        "if False:",
        "tests/unit/test_validate.py::test_refused",
    ),
    Mutation(
        2,
        "don't queue the next attempt",
        "layers/relay/relay/deliver.py",
        "        await self._wait(later, due)\n",
        "",
        "tests/unit/test_deliver.py::test_what_is_left_is_the_next_attempt",
    ),
    Mutation(
        2,
        "move the ledger on before the next attempt is queued",
        "layers/relay/relay/deliver.py",
        "        await self._wait(later, due)\n",
        "        await self._ledger.advance(delivery.key, owner=owner, attempt=attempt, due=due)\n"
        "        await self._wait(later, due)\n",
        "tests/unit/test_deliver_crashes.py::test_a_fault_at_every_step",
    ),
    Mutation(
        2,
        "don't pass on what was put off",
        "layers/relay/relay/deliver.py",
        "        await self._report(delivery, tuple(known.values()) if final else outcomes)\n",
        "        if final:\n            await self._report(delivery, tuple(known.values()))\n",
        "tests/unit/test_deliver.py::test_states",
    ),
    Mutation(
        2,
        "drop a message that finds its delivery final",
        "layers/relay/relay/deliver.py",
        "await self._report(delivery, tuple(entry.outcomes.values()), stage)",
        "pass",
        "tests/unit/test_deliver.py::test_a_final_delivery_is_reported_again_and_nothing_else",
    ),
    Mutation(
        2,
        "drop a message that meets a living claim",
        "layers/relay/relay/deliver.py",
        "await self._wait(delivery, theirs)",
        "pass",
        "tests/unit/test_deliver.py::test_a_living_claim_sends_it_back_until_then",
    ),
    Mutation(
        1,
        "let a message on its last receive run beside others",
        "layers/relay/relay/turns.py",
        "    if last:",
        "    if False:",
        "tests/unit/test_turns.py::test_a_message_on_its_last_receive_is_safe_from_whom_it_meets",
    ),
    Mutation(
        2,
        "report a failed record as done",
        "layers/relay/relay/worker.py",
        '            self._log("record failed", record, error)\n            raise RecordFailedError from None',
        '            self._log("record failed", record, error)',
        "tests/unit/test_worker.py::test_unreadable_message_fails_and_the_rest_is_unharmed",
    ),
    Mutation(
        2,
        "queue what our own parts refuse again, for ever",
        "layers/relay/relay/worker.py",
        " and not isinstance(error, FaultError)",
        "",
        "tests/unit/test_worker.py::test_an_outage_of_ours_queues_it_again_and_a_fault_of_ours_does_not",
    ),
    Mutation(
        2,
        "write no rows",
        "layers/relay/relay/record.py",
        "await self._messages.put(tuple(_row(report, outcome) for outcome in report.outcomes))",
        "pass",
        "tests/unit/test_record.py::test_a_row_for_every_outcome",
    ),
    Mutation(
        2,
        "take the answer to the next MAIL for the final dot's",
        "layers/relay/relay/smtp/order.py",
        "if followed and status.startswith(ADDRESS):",
        "if False:",
        "tests/unit/smtp/test_overlap.py::test_answers_in_another_order_are_taken_for_no_other_message",
    ),
    Mutation(
        2,
        "end the claim of what is put off before it is queued again",
        "layers/relay/relay/deliver.py",
        "                    await self._put_off(delivery, put_off.until)\n",
        "                    await self._ledger.advance(delivery.key, owner=owner, attempt=delivery.attempt, due=0.0)\n"
        "                    await self._put_off(delivery, put_off.until)\n",
        "tests/unit/test_deliver_put_off.py::test_it_is_queued_before_the_claim_ends",
    ),
    Mutation(
        2,
        "put off for ever what no server is asked about",
        "layers/relay/relay/deliver.py",
        "return self._retry.may_be_put_off(received=delivery.received, due=delivery.due, now=self._clock.now())",
        "return True",
        "tests/unit/test_deliver_put_off.py::test_it_expires_while_the_destination_is_left_alone",
    ),
    Mutation(
        3,
        "don't settle",
        "layers/relay/relay/deliver.py",
        "            await self._settle(delivery, owner, outcomes, final, deadline + self._timing.settle)",
        "            pass",
        "tests/unit/test_deliver.py::test_a_settled_attempt_is_not_made_again",
    ),
    Mutation(
        3,
        "settle after the outcomes are passed on",
        "layers/relay/relay/deliver.py",
        "        if outcomes is not noted or final:\n            await self._settle(",
        "        await self._report(delivery, outcomes)\n"
        "        if outcomes is not noted or final:\n            await self._settle(",
        "tests/unit/test_deliver.py::test_a_lost_claim_reports_nothing",
    ),
    Mutation(
        3,
        "claim what somebody else has claimed",
        "layers/relay/relay/aws/ledger.py",
        'NO_LIVING_CLAIM: Final = "#claimed_until <= :now"',
        'NO_LIVING_CLAIM: Final = "(#claimed_until <= :now OR #claimed_until > :now)"',
        "tests/unit/aws/test_contract_ledger.py::test_a_living_claim_holds_until_its_end",
    ),
    Mutation(
        3,
        "claim an attempt that the ledger has left behind",
        "layers/relay/relay/aws/ledger.py",
        'NOT_LATER: Final = "#attempt <= :attempt"',
        'NOT_LATER: Final = "(#attempt <= :attempt OR #attempt > :attempt)"',
        "tests/unit/aws/test_contract_ledger.py::test_an_older_attempt_is_superseded",
    ),
    Mutation(
        3,
        "send to recipients that have their final state",
        "layers/relay/relay/deliver.py",
        "tuple(each for each in recipients if not _is_final(entry.outcomes, each))",
        "recipients",
        "tests/unit/test_deliver.py::test_only_recipients_that_are_not_final_yet_are_sent_to",
    ),
    Mutation(
        3,
        "give up noting what was sent at the first failure",
        "layers/relay/relay/deliver.py",
        "                if self._clock.now() + pause >= deadline:\n                    raise",
        "                raise",
        "tests/unit/test_deliver.py::test_the_note_of_what_was_sent_is_tried_until_time_is_out",
    ),
    Mutation(
        3,
        "try the next host when the answer to the content is lost",
        "layers/relay/relay/smtp/transport.py",
        "over=error.phase is Phase.CONTENT",
        "over=False",
        "tests/unit/smtp/test_transport.py::test_never_a_second_host_once_the_contents_answer_is_lost",
    ),
    Mutation(
        3,
        "try the next back end when content was sent",
        "layers/relay/relay/dispatch.py",
        'in ("", Stage.DOT)',
        'in ("",)',
        "tests/unit/test_dispatch.py::test_nobody_gets_it_by_two",
    ),
    Mutation(
        3,
        "repeat a call to SES whose answer is lost",
        "layers/relay/relay/aws/ses.py",
        "once=True, ",
        "",
        "tests/unit/aws/test_ses.py::test_answers",
    ),
    Mutation(
        3,
        "give a notice a new id each time",
        "layers/relay/relay/ids.py",
        "hashlib.sha256(name.encode()).digest()[:10]",
        "secrets.token_bytes(10)",
        "tests/unit/test_record.py::test_twice_is_the_same_notice",
    ),
    Mutation(
        5,
        "answer 5xx when the queue is away",
        "smtp_gateway/submit.py",
        "            return replies.NOT_STORED",
        '            return replies.bad_content("not stored")',
        "tests/unit/smtp_gateway/test_submit.py::test_a_queue_that_fails_is_451",
    ),
    Mutation(
        5,
        "answer 5xx to a message at which we have a bug",
        "smtp_gateway/connection.py",
        "            reply = replies.NOT_STORED",
        '            reply = replies.bad_content("bug")',
        "tests/unit/smtp_gateway/test_server.py::test_our_fault_is_451_and_the_session_goes_on",
    ),
    Mutation(
        5,
        "end a session with 5xx over a bug",
        "smtp_gateway/connection.py",
        "session.close(replies.INTERNAL_CLOSE,",
        "session.close(replies.LINE_HAS_NO_END,",
        "tests/unit/smtp_gateway/test_server.py::test_a_bug_in_the_session_is_421",
    ),
    Mutation(
        5,
        "call a password wrong when accounts can't be read",
        "smtp_gateway/connection.py",
        "            site.log.auth_unavailable(peer=self._peer.ip, error=error)\n"
        "            return session.authentication_failed(replies.CANNOT_CHECK_LOGIN)",
        "            return session.authentication_failed(replies.WRONG_LOGIN)",
        "tests/unit/smtp_gateway/test_server.py::test_accounts_away_is_454",
    ),
    Mutation(
        5,
        "let an outage of ours run out a sender's time",
        "layers/relay/relay/validate.py",
        "case OutageError():",
        "case OutageError() if False:",
        "tests/unit/test_validate.py::test_an_outage_of_ours_is_not_silence_of_the_senders_dns",
    ),
    Mutation(
        5,
        "refuse for DNS that doesn't answer",
        "layers/relay/relay/validate.py",
        "            await self._defer(submission, why, proved)",
        '            await self._refuse(submission, _Final(State.REJECTED, 550, "5.7.1", "no answer"))',
        "tests/unit/test_validate.py::test_dns_failure_is_a_later_attempt",
    ),
    Mutation(
        5,
        "bounce for DNS that doesn't answer",
        "layers/relay/relay/smtp/mx.py",
        "            raise NoRouteError(await self._away()) from None",
        "            raise NoRouteError(NO_DOMAIN) from None",
        "tests/unit/smtp/test_mx.py::test_no_route",
    ),
    Mutation(
        5,
        "bounce what a remote puts off",
        "layers/relay/relay/judgement.py",
        "    elif judged.ends is Ends.NOW:",
        "    elif judged.ends is not Ends.MENDED:",
        "tests/unit/test_deliver.py::test_states",
    ),
    Mutation(
        5,
        "bounce mail when the smarthost refuses the relay's login",
        "layers/relay/relay/smtp/smarthost.py",
        "if reply.ok or not _is_ours(reply):",
        "if True:",
        "tests/unit/smtp/test_smarthost.py::test_that_it_is_away_or_lets_nobody_in_ends_nobody_s_mail",
    ),
    Mutation(
        5,
        "bounce mail whose content is gone",
        "layers/relay/relay/deliver.py",
        "                content = await self._content.get(key)",
        "                try:\n                    content = await self._content.get(key)\n"
        "                except Exception:\n                    now = self._clock.now()\n"
        '                    return (Outcome(recipients[0], State.BOUNCED, now, 1, 554, "5.0.0", ""),)',
        "tests/unit/test_deliver.py::test_missing_content_is_our_fault_and_bounces_nothing",
    ),
    Mutation(
        5,
        "let our own outage expire mail",
        "layers/relay/relay/deliver.py",
        "Ends.MENDED: self._retry.later(attempt=attempt, now=now, chance=chance)",
        "Ends.MENDED: None",
        "tests/unit/test_deliver_stops.py::test_our_own_outage_ends_no_mail_however_long_it_lasts",
    ),
    Mutation(
        5,
        "let mail expire that lay in our queues too long for one attempt",
        "layers/relay/relay/deliver.py",
        "chance=chance, least=LEAST",
        "chance=chance",
        "tests/unit/test_deliver.py::test_states",
    ),
    Mutation(
        8,
        "let a message through over the day's limit",
        "layers/relay/relay/quota.py",
        "    if left <= 0:",
        "    if left < 0:",
        "tests/unit/test_quota.py::test_over",
    ),
    Mutation(
        8,
        "take another process's lease for one's own",
        "smtp_gateway/leases.py",
        "                if found == after:",
        "                if found.messages == after.messages:",
        "tests/unit/smtp_gateway/test_leases.py::test_the_day_is_exact_over_all_processes",
    ),
    Mutation(
        8,
        "pause nobody whose mail bounces",
        "layers/relay/relay/bounces.py",
        "if more.bounced and self._threshold.passed(bounces):",
        "if more.bounced and self._threshold.passed(bounces) and False:",
        "tests/unit/test_bounces.py::test_who_is_paused",
    ),
    Mutation(
        8,
        "send a disabled account's queued mail",
        "layers/relay/relay/deliver.py",
        "        if stopped:",
        "        if stopped and False:",
        "tests/unit/test_deliver_stops.py::test_a_disabled_account_s_mail_waits_and_goes_on",
    ),
    Mutation(
        4,
        "sign the header's bytes alone of large content",
        "layers/relay/relay/proof/message.py",
        "return verifies or any(each.key for each in asked.values())",
        "return verifies",
        "tests/unit/test_signing_stage.py::test_stored_content_is_signed_whole_and_stays",
    ),
    Mutation(
        5,
        "send mail unsigned while KMS is away",
        "layers/relay/relay/proof/message.py",
        'signature = (await self._signing.sign(content, header, ours)).decode("ascii") if ours else ""',
        "signature = (await asyncio.gather(self._signing.sign(content, header, ours), return_exceptions=True))[0]\n"
        '        signature = signature.decode("ascii") if isinstance(signature, bytes) else ""',
        "tests/unit/test_signing_stage.py::test_an_outage_of_ours_sends_nothing_unsigned_and_ends_nothing",
    ),
    Mutation(
        8,
        "ask a server that wants to be left alone",
        "layers/relay/relay/smtp/transport.py",
        "if put_off is not None:",
        "if False:",
        "tests/unit/smtp/test_shaped.py::test_a_421_stops_the_rest_before_a_server_is_asked",
    ),
    Mutation(
        8,
        "let each worker try a destination when its pause is over",
        "layers/relay/relay/sites.py",
        "there = await self._put(here, trial, pause)",
        "there = trial",
        "tests/unit/test_sites.py::test_when_it_is_over_one_delivery_of_all_workers_tries",
    ),
    Mutation(
        8,
        "let no mail out while the table of pauses is away",
        "layers/relay/relay/sites.py",
        "except (TemporaryError, TimeoutError) as error:",
        "except ZeroDivisionError as error:",
        "tests/unit/test_sites.py::test_without_the_table_each_worker_goes_by_what_it_sees",
    ),
    Mutation(
        8,
        "hold what one host says against a provider that has others",
        "layers/relay/relay/shaping.py",
        "if len(found) == 1 else self._default",
        "if found else self._default",
        "tests/unit/test_shaping.py::test_a_site_is_a_provider_s_if_all_its_hosts_are",
    ),
)


def survives(mutation: Mutation, copy: Path) -> bool:
    """Whether the test passes all the same."""
    file = copy / mutation.file
    whole = file.read_text()
    file.write_text(whole.replace(mutation.old, mutation.new))
    try:
        return passes(mutation.test, copy)
    finally:
        file.write_text(whole)


def passes(test: str, copy: Path) -> bool:
    """RuntimeError where it neither passes nor fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", test]
    path = os.pathsep.join((str(copy / "layers" / "relay"), str(copy)))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if run.returncode not in (0, 1):
        raise RuntimeError(run.stdout + run.stderr)
    return run.returncode == 0


def main(word: str) -> int:
    chosen = [each for each in MUTATIONS if word in each.what]
    left = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in PARTS:
            copied = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copied(ROOT / part, copy / part)
        for test in sorted({each.test for each in chosen}):
            if not passes(test, copy):
                print(f"fails unchanged: {test}")
                return 1
        for each in chosen:
            lives = survives(each, copy)
            left += lives
            print(f"{'SURVIVES' if lives else 'noticed '}  {each.promise}  {each.what}", flush=True)
    print(f"{len(chosen) - left} of {len(chosen)} noticed")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
