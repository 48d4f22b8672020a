"""relay.phone: which numbers get an SMS."""

import pytest

from relay.errors import PermanentError
from relay.phone import phone_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+46701234567", "+46701234567"),
        ("+46 (0)70-123 45 67", "+46701234567"),
        ("+1 (202) 555-0143", "+12025550143"),
        ("+44 7400 123456", "+447400123456"),
        ("+354 611 1234", "+3546111234"),
        ("+290 51234", "+29051234"),
    ],
    ids=["Sweden", "with the trunk prefix", "United States", "United Kingdom", "Iceland", "Saint Helena"],
)
def test_a_phone_number(text: str, number: str) -> None:
    assert phone_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "+", "0701234567", "46701234567", "+0701234567", "+1234567", "+1" + "2" * 15, "+4670123456x", "+٤٦٧٠١٢٣٤٥"],
)
def test_what_is_not_in_e164(text: str) -> None:
    with pytest.raises(PermanentError, match=r"must have \+ and the country code"):
        phone_number(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("+46 70 123 45", "is a digit wrong or missing"),
        ("+46 70 123 45 67 89", "is a digit wrong or missing"),
        ("+999 123 456 78", "country code is nobody's"),
        ("+46 8 123 456 78", "isn't a mobile one"),
        ("+46 20 123 456", "isn't a mobile one"),
    ],
    ids=["a digit too few", "two too many", "no country", "landline", "toll-free"],
)
def test_a_number_that_gets_no_sms(text: str, said: str) -> None:
    with pytest.raises(PermanentError, match=said):
        phone_number(text)
