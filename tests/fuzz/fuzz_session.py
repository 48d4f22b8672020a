"""The atheris target: `make fuzz RUNS=1000000`. What an input is, and what must hold: tests/fuzz/core.py."""

import asyncio
import sys

import atheris

with atheris.instrument_imports(include=["relay", "smtp_gateway"]):
    from tests.fuzz import core


def main() -> None:
    loop = asyncio.new_event_loop()
    atheris.Setup(sys.argv, lambda data: core.run(data, loop))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
