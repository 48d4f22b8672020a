"""`mailrelay`: the command for senders and operators. Exit codes: 0 done, 1 refused or failed, 2 wrong usage."""

import argparse
import asyncio
import getpass
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NoReturn

from relay.errors import RelayError
from relayctl import (
    accounts,
    audit,
    cancel,
    check,
    completion,
    dkim,
    dlq,
    dns,
    messages,
    resend,
    send,
    sites,
    status,
    suppressions,
    system,
    trace,
    usage,
)
from relayctl.context import Cloud, Context, Target
from relayctl.errors import FAILED, WRONG_USAGE, CommandError

EPILOG = """\
examples:
  mailrelay demo
  mailrelay local
  mailrelay dns app@mycorp.se
  mailrelay check app@mycorp.se
  mailrelay messages --since 1h --state bounced

`mailrelay COMMAND --help` tells more. Exit codes: 0 done, 1 refused or failed,
2 wrong usage.
"""
# in the order that the help has them
MODULES = (
    system,
    dns,
    check,
    accounts,
    usage,
    audit,
    dkim,
    send,
    messages,
    trace,
    cancel,
    resend,
    suppressions,
    sites,
    dlq,
    status,
    completion,
)
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Help(argparse.RawDescriptionHelpFormatter):
    """Texts keep their lines; room for the longest command, which argparse forgets to indent."""

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += self._indent_increment


class Parser(argparse.ArgumentParser):
    """Errors in one line."""

    def __init__(self, **options: Any) -> None:
        options["formatter_class"] = Help
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    whole = Parser(prog="mailrelay", description="An outbound mail relay.", epilog=EPILOG)
    commands = whole.add_subparsers(metavar="COMMAND", required=True)
    for module in MODULES:
        module.add(commands)
    return whole


def run(argv: Sequence[str], context: Context) -> int:
    """Runs one command; what it can't do is said on standard error in one line."""
    try:
        arguments = parser().parse_args(argv)
    except SystemExit as exit_:  # help, or wrong usage: said already
        return int(exit_.code or 0)
    try:
        return int(arguments.run(arguments, context))
    except CommandError as error:
        return _failed(str(error), error.code)
    except RelayError as error:
        return _failed(str(error), FAILED)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


def main() -> int:
    def connect(target: Target) -> AbstractAsyncContextManager[Cloud]:
        from relayctl import cloud  # only the commands that need AWS pay for its import

        return cloud.connect(target)

    context = Context(
        out=sys.stdout,
        environment=os.environ,
        folder=Path(),
        now=time.time,
        ask=getpass.getpass,
        connect=connect,
    )
    return run(sys.argv[1:], context)


def _failed(line: str, code: int) -> int:
    sys.stderr.write("mailrelay: " + " ".join(line.split()) + "\n")
    return code
