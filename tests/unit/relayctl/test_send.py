"""`mailrelay send`: how a refusal is shown. tests/e2e/test_command.py sends."""

import pytest

from relayctl.send import _lines


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"4.3.0 Try again", "4.3.0 Try again"),
        (
            b"5.7.1 no SPF record\n5.7.1 publish: this\n5.7.1 run: that",
            "5.7.1 no SPF record\n  publish: this\n  run: that",
        ),
        (b"no status\nin any line", "no status\n  in any line"),
        (b"5.7.1 a\x1b[31m\n5.7.1 b", "5.7.1 a\ufffd[31m\n  b"),
        (b"", ""),
    ],
    ids=["one line", "several", "no status", "a terminal's", "nothing"],
)
def test_a_reply_of_several_lines(said: bytes, shown: str) -> None:
    assert _lines(said) == shown
