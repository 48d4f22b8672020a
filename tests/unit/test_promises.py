"""docs/promises.md names tests that exist, and the mutations that tests/mutations.py makes."""

import re
from pathlib import Path

import pytest

from tests.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


def test_every_promise_has_tests() -> None:
    sections = re.split(r"^## (?=\d)", PAGE, flags=re.MULTILINE)[1:]
    assert [section[0] for section in sections] == list("12345678")
    assert all("- `tests/" in section for section in sections)


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_test_that_is_named_exists(file: str, test: str) -> None:
    assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.what)
def test_a_mutation_is_listed_and_can_still_be_made(mutation: Mutation) -> None:
    assert f"| {mutation.promise} | {mutation.what} | `{mutation.test}` |" in PAGE
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
