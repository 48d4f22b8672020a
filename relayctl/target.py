"""Which relay a command is about: the local system by its state file, or a deployed stack."""

import argparse
import json
from pathlib import Path
from typing import Any, Final

from relayctl.context import Context, Target
from relayctl.errors import CommandError, UsageError

STATE_FILE: Final = Path(".local/state.json")  # where `mailrelay local` writes it unless told otherwise


def add_options(parser: argparse.ArgumentParser) -> None:
    """--state-file (also --state where that isn't something else), --stack, --region."""
    group = parser.add_argument_group("which relay", f"by default the local system of {STATE_FILE}")
    names = ["--state-file"]
    if "--state" not in parser._option_string_actions:  # `messages --state` is the messages'
        names.append("--state")
    group.add_argument(*names, dest="state_file", type=Path, metavar="FILE", help="the local system of this state file")
    group.add_argument("--stack", metavar="NAME", help="the deployed stack of this name")
    group.add_argument("--region", metavar="REGION", help="where the stack is (default: AWS_REGION)")


def find(arguments: argparse.Namespace, context: Context) -> Target:
    """The relay that the options name. UsageError, or CommandError if there is none."""
    if not arguments.stack:
        if arguments.region:
            raise UsageError("--region goes with --stack NAME")
        return _local(arguments.state_file, context)
    if arguments.state_file:
        raise UsageError("--stack and --state-file name two different relays: give one")
    region = arguments.region or context.environment.get("AWS_REGION") or context.environment.get("AWS_DEFAULT_REGION")
    if not region:
        raise UsageError(f"--stack {arguments.stack} needs --region REGION (or AWS_REGION)")
    endpoint = context.environment.get("AWS_ENDPOINT_URL") or None
    return Target(f"stack {arguments.stack} in {region}", region, endpoint, arguments.stack)


def is_named(arguments: argparse.Namespace, context: Context) -> bool:
    """Whether an option names a relay, or a local one has left its state file here."""
    return bool(arguments.stack or arguments.state_file) or (context.folder / STATE_FILE).exists()


def _local(given: Path | None, context: Context) -> Target:
    path = given or STATE_FILE
    try:
        state: Any = json.loads((context.folder / path).read_text("utf-8"))
        return Target(f"the local system of {path}", state["region"], state["aws_endpoint"], "", state)
    except FileNotFoundError:
        ways = "start one with `mailrelay local`, or name a deployed one with --stack NAME --region REGION"
        raise CommandError(f"no local system: {path} does not exist; {ways}") from None
    except OSError as error:
        raise CommandError(
            f"cannot read {path}: {error.strerror}; name the state file with --state-file FILE"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"{path} is not a state file of `mailrelay local`; name it with --state-file FILE") from None
