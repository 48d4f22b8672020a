"""What a function may import before its first invocation; bench.imports has the milliseconds.

What only some messages need (dnspython, cryptography, dkimpy) or one command (phonenumbers) is imported where it is
used. A name that is new here was looked at with `python -m bench.imports` first.
"""

import pytest

from bench.imports import FUNCTIONS, packages

OF_THE_INSTALLATION = {"_distutils_hack", "cython_runtime"}  # of this machine's Python, and uvloop's
ALL = {"aws_lambda_powertools", "botocore", "jmespath", "orjson", "relay", "typing_extensions"}
CONTENT = {"pybase64"}  # 1 ms
QUEUES = CONTENT | {"uvloop"}
MORE = {"accounts": CONTENT, "validate": QUEUES, "deliver": QUEUES | {"h11"}, "record": QUEUES}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_a_cold_start_imports(function: str) -> None:
    found = {name for name in packages(function) if not name.startswith(("__editable__", "_cython_"))}
    assert found - OF_THE_INSTALLATION == ALL | MORE.get(function, set())
