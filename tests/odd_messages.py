"""Messages that are odd in every way that a signature may stumble over, by name; their From is at d.example."""

HEAD = b"From: Jo <jo@d.example>\r\nTo: al@in.example\r\nSubject: hello\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n"
UNALIGNED = (
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=esp.example; s=s;\r\n"
    b"\th=from:to; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n"
)
UNSUBSCRIBE = (
    b"List-Unsubscribe: <https://d.example/u?1>,\r\n <mailto:u@d.example>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
)
LATIN = "Blåbär på jägarö ".encode("latin-1")

ODD: dict[str, bytes] = {
    "plain": HEAD + b"\r\nbody\r\n",
    "with-trace": b"Received: by smtp.relay.example with ESMTPSA id 1;\r\n\tMon, 23 Nov 2026 10:00:00 +0000\r\n"
    + HEAD
    + b"\r\nbody\r\n",
    "8-bit": HEAD + b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n" + LATIN * 5 + b"\r\n",
    "utf8-header": HEAD.replace(b"hello", "hällo å".encode()).replace(b"Jo", "Jö".encode()) + "\r\nbödy\r\n".encode(),
    "every-octet": HEAD + b"\r\n" + bytes(each for each in range(1, 256) if each not in (10, 13)) + b"\r\n",
    "long-lines": HEAD + b"\r\n" + b"x" * 100_000 + b"\r\n" + b"y " * 30_000 + b"\r\n",
    "folded": HEAD.replace(b"hello", b"hel\r\n lo\r\n\tagain \r\n and   more")
    + b"References: <1@x>\r\n\t<2@x>\r\n \t <3@x>\r\n\r\nbody\r\n",
    "blanks-before-the-colon": HEAD.replace(b"Subject:", b"Subject \t:") + b"\r\nbody\r\n",
    "blank-values": HEAD + b"Reply-To:\r\nCc: \r\n\r\nbody\r\n",
    "names-in-odd-case": HEAD.replace(b"From:", b"fROM:").replace(b"Subject:", b"SUBJECT:") + b"\r\nbody\r\n",
    "trailing-blanks": HEAD + b"\r\nbody \t \r\n  lead\r\nmid  \t dle\r\n \t\r\n\r\n \r\n",
    "empty-body": HEAD + b"\r\n",
    "no-blank-line": HEAD,
    "only-empty-lines": HEAD + b"\r\n\r\n\r\n\r\n",
    "only-blanks": HEAD + b"\r\n   \r\n\t\r\n",
    "many-empty-lines-at-the-end": HEAD + b"\r\nbody\r\n" + b"\r\n" * 3_000,
    "dots": HEAD + b"\r\n.\r\n..\r\n.hidden\r\nend\r\n.\r\n",
    "from-lines": HEAD + b"\r\nFrom here on\r\n>From there\r\n",
    "twice": HEAD + b"To: bo@in.example\r\nCc: x@y.example\r\nCc: z@y.example\r\nSubject: another\r\n\r\nbody\r\n",
    "often": HEAD + b"".join(b"Cc: c%d@y.example\r\n" % each for each in range(30)) + b"\r\nbody\r\n",
    "list": HEAD + UNSUBSCRIBE + b"List-Id: <l.d.example>\r\n\r\nbody\r\n",
    "signed-by-another": UNALIGNED + HEAD + b"\r\nbody\r\n",
    "mime": HEAD
    + b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary="b;=\\"c"\r\n'
    + b"Content-Transfer-Encoding: 7bit\r\n\r\n--b\r\n\r\n--b--\r\n",
    "resent": b"Resent-From: bo@d.example\r\nResent-To: x@y.example\r\nResent-Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n"
    + HEAD
    + b"\r\nbody\r\n",
    "5-kb": HEAD + b"\r\n" + b"A line as people write them, of some seventy characters or so.  \r\n" * 78,
    "large": HEAD + b"\r\n" + b"0123456789abcdef" * 4 * 6_000 + b"\r\n",
}
NO_FINAL_CRLF: dict[str, bytes] = {  # as BDAT may bring it; DATA adds the CRLF
    "no-final-crlf": HEAD + b"\r\nbody",
    "no-final-crlf-after-blanks": HEAD + b"\r\nbody \t ",
    "blanks-without-a-line": HEAD + b"\r\n ",
}
