"""`mailrelay completion`: what makes a shell complete this command's words."""

import argparse
from typing import Any, Final

from relayctl.context import Context
from relayctl.errors import DONE, CommandError

SHELLS: Final = ("bash", "zsh")
FILES: Final = frozenset({"file", "state_file", "ca_file", "zone", "state"})  # by argparse's name, where FILE is wanted

EPILOG: Final = """\
examples:
  source <(mailrelay completion bash)
  mailrelay completion bash >~/.bash_completion.d/mailrelay
  mailrelay completion zsh >~/.zfunc/_mailrelay

For zsh the folder must be in fpath before compinit runs; a file for bash must
be sourced, as bash-completion does with its own folders.
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("completion", help="completion for bash or zsh", epilog=EPILOG)
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=" or ".join(SHELLS))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    from relayctl.main import parser  # the whole command's, of which this is a part

    try:
        import shtab
    except ImportError:
        raise CommandError(
            "the package shtab is not installed here: install the project with its `ctl` extra"
        ) from None
    whole = parser()
    _complete_files(whole, shtab.FILE)
    context.out.write(shtab.complete(whole, arguments.shell) + "\n")
    return DONE


def _complete_files(parser: argparse.ArgumentParser, how: Any) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _complete_files(each, how)
        elif action.dest in FILES and action.metavar == "FILE":
            action.complete = how  # type: ignore[attr-defined]
