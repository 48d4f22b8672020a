"""What a person is told when a command can't do its work: one line each, and the exit code."""

from typing import Final

DONE: Final = 0
FAILED: Final = 1  # refused or failed
WRONG_USAGE: Final = 2


class CommandError(Exception):
    """One line: what is wrong, which value, what to do."""

    code = FAILED


class UsageError(CommandError):
    """The command line asks for something that makes no sense; also one line."""

    code = WRONG_USAGE
