"""What queues, tables and logs hold is JSON, and ASCII whatever is in it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.json_text import dump
from relay.outcome import State

numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters())
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@given(values)
def test_reads_as_it_was_and_is_ascii_on_one_line(value: Any) -> None:
    text = dump(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert text.isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param({"a": 1, "b": [True, None]}, '{"a":1,"b":[true,null]}', id="compact"),
        pytest.param({"a": "ä\U0001f4e7"}, '{"a":"\\u00e4\\ud83d\\udce7"}', id="not ASCII"),
        pytest.param({"a": "\ufffe"}, '{"a":"\\ufffe"}', id="what the queue refuses"),
        pytest.param({"a": "\udcff"}, '{"a":"\\udcff"}', id="a lone surrogate"),
        pytest.param({"a": "\x7f\x00\n"}, '{"a":"\\u007f\\u0000\\n"}', id="control characters"),
        pytest.param((1, "x"), '[1,"x"]', id="a tuple"),
        pytest.param({"state": State.DELIVERED}, '{"state":"delivered"}', id="an enum"),
    ],
)
def test_forms(value: Any, text: str) -> None:
    assert dump(value) == text
