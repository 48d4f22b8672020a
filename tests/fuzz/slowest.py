"""What 64 KiB from one client cost at most; `python -m tests.fuzz.slowest --search` looks further than `make fuzz`.

Shapes that cost many a parser much, each to 64 KiB, go through Session, header reader, Submit and encoding. The search
repeats every pair of pieces in every place, at 8 KiB, and runs the slowest of those at 64 KiB. CPU, the best of three.
"""

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Iterable
from typing import Final

from tests.fuzz.core import ENVELOPE, LOGIN, Core

SIZE: Final = 65_536
GOAL: Final = 250.0  # milliseconds
TRANSACTION: Final = ENVELOPE + b"From: jo@example.com\r\n\r\n.\r\n"


def fill(piece: bytes, size: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """`piece` again and again between the two, `size` octets in all."""
    return before + piece * ((size - len(before) - len(after)) // len(piece)) + after


def message(fields: bytes, body: bytes = b"") -> bytes:
    return LOGIN + ENVELOPE + fields + b"\r\n" + body + b".\r\n"


def in_field(start: bytes, piece: bytes, size: int, end: bytes = b"") -> bytes:
    return message(fill(piece, size, start, end + b"\r\n"))


def commands(line: bytes, size: int) -> bytes:
    return fill(line + b"\r\n", size, LOGIN)


def numbered(line: str, size: int) -> bytes:
    """line: with {} for a number, which makes each another."""
    lines = (line.format(number).encode() + b"\r\n" for number in itertools.count(0x4E00))
    out = b""
    while len(out) < size:
        out += next(lines)
    return out


def shapes(size: int) -> dict[str, bytes]:
    mail, from_ = LOGIN + b"MAIL FROM:<> SMTPUTF8\r\n", b"From: "
    labels = ".".join(["ü"] * 30)
    many = ".".join(f"ü{{0:c}}{each}" for each in "äåæçèéêëìíîïðñò")
    return {
        "NOOPs": commands(b"NOOP", size),
        "RSETs": commands(b"RSET", size),
        "MAIL and RSET": commands(b"MAIL FROM:<>\r\nRSET", size),
        "VRFYs": commands(b"VRFY x", size),
        "EHLOs": commands(b"EHLO a", size),
        "messages": fill(TRANSACTION, size, LOGIN),
        "messages from many domains": LOGIN
        + numbered("MAIL FROM:<a@d{0}.example>\r\nRCPT TO:<a@b.c>\r\nDATA\r\nFrom:a@d{0}.example\r\n\r\n.", size),
        "recipients": mail + numbered("RCPT TO:<{}@b.c>", size),
        "one recipient": mail + fill(b"RCPT TO:<a@b.c>\r\n", size),
        "recipients of U-labels": mail + numbered("RCPT TO:<{}@" + labels + ".c>", size),
        "recipients of U-labels, all different": mail + numbered("RCPT TO:<a@" + many + ".c>", size),
        "recipients of long U-labels": mail + numbered("RCPT TO:<a@{0:c}" + "\u4e00\u9fa5" * 8 + ".c>", size),
        "recipients of too long U-labels": mail
        + numbered(
            "RCPT TO:<{}@" + ".".join(["".join(chr(0x4E00 + 7 * each) for each in range(50))] * 5) + ".c>", size
        ),
        "recipients of Arabic labels": mail + numbered("RCPT TO:<{}@" + "\u0628\u0660." * 80 + "c>", size),
        "recipients of joiners": mail + numbered("RCPT TO:<{}@" + "\u0915\u094d\u200d\u0937." * 60 + "c>", size),
        "recipients of A-labels": mail + numbered("RCPT TO:<{}@" + "xn--tda." * 25 + "c>", size),
        "recipients of combining marks": mail
        + fill(("RCPT TO:<a@" + "u\u0316\u0301" * 160 + ".c>\r\n").encode(), size),
        "recipients that ask for much": mail
        + numbered("RCPT TO:<{}@b.c> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=utf-8;" + "ö" * 40, size),
        "quoted local parts": mail + numbered('RCPT TO:<"{}' + "\\a" * 29 + '"@b.c>', size),
        "quotes in a path": mail + fill(b"RCPT TO:<" + b'""' * 400 + b">\r\n", size),
        "AUTH of base64": LOGIN[:16] + fill(b"AUTH PLAIN " + b"A" * 12_000 + b"\r\n", size),
        "a long line": fill(b"x", size),
        "line feeds": fill(b"\n", size),
        "carriage returns": fill(b"\r", size),
        "empty lines": message(b"From: jo@example.com\r\n", b"\r\n" * (size // 2)),
        "dots": message(b"From: jo@example.com\r\n", b"..\r\n" * (size // 4)),
        "near ends": message(b"From: jo@example.com\r\n", b"\r\n..\r\n.\r\r\n" * (size // 10)),
        "fields": message(b"From: jo@example.com\r\n" + b"a:\r\n" * 1990),
        "too many fields": message(fill(b"a:\r\n", size)),
        "Received": message(fill(b"Received:\r\n", size, b"From: jo@example.com\r\n")),
        "folds": in_field(b"From: jo@example.com\r\nX:", b"\r\n ", size),
        "signatures": message(fill(b"DKIM-Signature:;h=a\r\n", size * 3 // 5, b"From: jo@example.com\r\nBcc: x\r\n")),
        "a signature's h=": in_field(b"From: jo@example.com\r\nBcc: x\r\nDKIM-Signature: ", b";h=a:b", size),
        "a signature's white space": in_field(b"From: jo@example.com\r\nBcc: x\r\nDKIM-Signature: ", b";\t ", size),
        "Bcc fields": message(fill(b"Bcc: x\r\n", size // 5, b"From: jo@example.com\r\n")),
        "senders": message(fill(b"Resent-From: a@b.c\r\n", size // 2, b"From: jo@example.com\r\n")),
        "open comments": in_field(from_, b"(", size),
        "nested comments": message(from_ + b"(" * (size // 2) + b")" * (size // 2) + b" jo@example.com\r\n"),
        "comments": in_field(from_, b"()", size, b" jo@example.com"),
        "escapes in a comment": in_field(from_ + b"(", b"\\)", size, b") jo@example.com"),
        "quotes": in_field(from_, b'""', size, b" <jo@example.com>"),
        "escapes": in_field(from_ + b'"', b"\\a", size, b'" <jo@example.com>'),
        "dots in From": in_field(from_, b".", size, b"@example.com"),
        "commas": in_field(from_, b",", size, b"jo@example.com"),
        "folded commas": in_field(from_, b",\r\n ", size, b"jo@example.com"),
        "words": in_field(from_, b"a ", size, b"<jo@example.com>"),
        "addresses": in_field(from_, b"a@b.c,", size),
        "addresses in To": message(b"From: jo@example.com\r\nTo: " + b"a@b.c," * (size // 6) + b"\r\n"),
        "groups": in_field(from_, b"a:;", size),
        "U-labels": message(from_ + numbered("a@{:c}.c,", size * 3 // 5).replace(b"\r\n", b"") + b"\r\n"),
        "U-labels, 900 domains": message(
            from_ + b",".join(f"a@{chr(0x4E00 + each)}.{'ü' * 20}.{each}ö.c".encode() for each in range(900)) + b"\r\n"
        ),
        "A-labels, 900 domains": message(
            from_ + b",".join(f"a@{'xn--bcher-kva.' * 4}d{each}.c".encode() for each in range(900)) + b"\r\n"
        ),
        "a long U-label": message(from_ + b"a@" + "ü".encode() * (size // 2) + b".c\r\n"),
        "long U-labels": message(
            from_ + b",".join(f"a@{chr(0x4E00 + each)}{'一龥' * 120}.c".encode() for each in range(80)) + b"\r\n"
        ),
        "combining marks": in_field(from_ + b"a@", "u\u0316\u0301".encode(), size, b".c"),
        "encoded words": in_field(from_, b"=?utf-7?q?=40?=", size, b" <jo@example.com>"),
        "an encoded word": in_field(from_ + b"=?utf-8?b?", b"QC5A", size, b"?= <jo@example.com>"),
        "an @ in an encoded word": in_field(from_ + b"=?utf-8?q?=2C", b"@ ( ", size, b"?= <jo@example.com>"),
        "an encoded comment": in_field(from_ + b"=?utf-8?q?@", b"()", size, b"?= <jo@example.com>"),
        "beginnings of encoded words": in_field(from_, b"=?utf-8?q?", size),
        "parts of a body": message(
            b"From: jo@example.com\r\n", b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n" * (size // 48)
        ),
    }


def cost(stream: bytes, loop: asyncio.AbstractEventLoop, step: int = 0, times: int = 3) -> float:
    """Milliseconds of CPU."""
    found = []
    step = step or len(stream)
    for _ in range(times):
        core = Core(loop, tls=True, check=False)
        begun = time.process_time()
        for start in range(0, len(stream), step):
            core.feed(stream[start : start + step])
        found.append((time.process_time() - begun) * 1000)
    return min(found)


PIECES: Final = [
    *(bytes([each]) for each in b'<>@,;:()"\\[]. \t=?aA1-_+*%&'),
    *(
        b"\r\n ",
        b"\r\n\t",
        b"\\(",
        b'""',
        b"()",
        b"a@b.c",
        b"a@b.c,",
        b"=?utf-8?q?",
        b"=?utf-8?b?",
        b"?=",
        b"=40",
        b"QC5A",
    ),
    *(
        "ü".encode(),
        "\u0301".encode(),
        "一".encode(),
        b"xn--tda.",
        b"xn--",
        b"h=",
        b";h=",
        b"<a@b.c>",
        b"a:",
        b"\xff",
        b"&AEA-",
    ),
]
PLACES: Final = {
    "From": (LOGIN + ENVELOPE + b"From: ", b"\r\n\r\n.\r\n"),
    "From, quoted": (LOGIN + ENVELOPE + b'From: "', b'" <jo@example.com>\r\n\r\n.\r\n'),
    "From, comment": (LOGIN + ENVELOPE + b"From: (", b") <jo@example.com>\r\n\r\n.\r\n"),
    "From, domain": (LOGIN + ENVELOPE + b"From: jo@", b".example\r\n\r\n.\r\n"),
    "From, encoded word": (LOGIN + ENVELOPE + b"From: =?utf-8?q?", b"?= <jo@example.com>\r\n\r\n.\r\n"),
    "signature": (LOGIN + ENVELOPE + b"From: jo@example.com\r\nBcc: x\r\nDKIM-Signature: ", b"\r\n\r\n.\r\n"),
    "header": (LOGIN + ENVELOPE + b"From: jo@example.com\r\n", b"\r\n\r\n.\r\n"),
    "body": (LOGIN + ENVELOPE + b"From: jo@example.com\r\n\r\n", b"\r\n.\r\n"),
    "command": (LOGIN, b"\r\n"),
}


def search(loop: asyncio.AbstractEventLoop, keep: int = 60) -> dict[str, bytes]:
    """The slowest of every pair of pieces in every place, at SIZE."""
    found = []
    for place, (before, after) in PLACES.items():
        for one, two in itertools.product(PIECES, [b"", *PIECES]):
            small = fill(one + two, SIZE // 8, before, after)
            found.append((cost(small, loop, times=1), place, one + two))
    found.sort(reverse=True)
    return {f"{place}: {piece!r}": fill(piece, SIZE, *PLACES[place]) for _, place, piece in found[:keep]}


def table(streams: Iterable[tuple[str, bytes]], loop: asyncio.AbstractEventLoop) -> list[dict[str, object]]:
    """The slowest first. What comes whole, and what comes in 1,000 octets at a time."""
    rows = [
        {
            "shape": name,
            "octets": len(stream),
            "ms": round(cost(stream, loop), 1),
            "ms in pieces": round(cost(stream, loop, 1000, 1), 1),
        }
        for name, stream in streams
    ]
    return sorted(rows, key=lambda row: -float(str(row["ms"])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--search", action="store_true", help="try every pair of pieces in every place, too (minutes)")
    parser.add_argument("--json", action="store_true", help="all rows, for programs")
    options = parser.parse_args()
    loop = asyncio.new_event_loop()
    streams = shapes(SIZE)
    if options.search:
        streams |= search(loop)
    rows = table(streams.items(), loop)
    loop.close()
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"CPU of {len(rows)} inputs of about 64 KiB, the slowest first (goal: {GOAL:.0f} ms)")
    for row in rows[:15]:
        print(f"{row['ms']:>8} ms  {row['ms in pieces']:>8} ms in pieces  {row['octets']:>6} octets  {row['shape']}")


if __name__ == "__main__":
    main()
