"""Where fuzzing begins: the golden sessions, the messages of tests/messages, and corpus.txt, what fuzzing found since.

`python -m tests.fuzz.seeds FOLDER` writes each into a file, as atheris takes them; `--keep FOLDER` puts the inputs in
FOLDER into corpus.txt, one a line, in base64, but for long ones.
"""

import base64
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.fuzz.core import CONTENT, LOGGED_IN, PLAIN

TESTS: Final = Path(__file__).parents[1]
LONGEST: Final = 512  # octets of what is kept
CORPUS: Final = Path(__file__).with_name("corpus.txt")


def seeds() -> Iterator[bytes]:
    """Inputs as core.run takes them."""
    for path in sorted(TESTS.glob("dialogs/*.smtp")):
        said = b"".join(
            line[3:].encode() + b"\r\n" for line in path.read_text().splitlines() if line[:2] in ("C:", "C|")
        )
        yield bytes([LOGGED_IN, 0]) + said
        yield bytes([PLAIN, 7]) + said
    for path in sorted(TESTS.glob("messages/*.eml")):
        if len(content := path.read_bytes()) < 4096:
            yield bytes([CONTENT, 0]) + content
    yield from corpus()


def corpus() -> Iterator[bytes]:
    yield from map(base64.b64decode, CORPUS.read_text().split())


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds():
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


def keep(folder: Path) -> None:
    read = {each.read_bytes() for each in folder.iterdir()}
    found = sorted((each for each in read if len(each) <= LONGEST), key=lambda each: (len(each), each))
    CORPUS.write_text("".join(base64.b64encode(each).decode() + "\n" for each in found))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--keep", folder]:
            keep(Path(folder))
        case [folder]:
            write(Path(folder))
