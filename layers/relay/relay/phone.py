"""Phone numbers, by the numbering plans of all countries (libphonenumber's data)."""

import re
from typing import Final

from relay.errors import PermanentError

E164: Final = re.compile(r"\+[1-9][0-9]{7,14}")  # ITU-T E.164 §6.2.1: at most 15 digits
SEPARATORS: Final = re.compile(r"[\s().-]")


def phone_number(text: str) -> str:
    """`text` in E.164 form, without spaces, dashes, dots and parentheses. PermanentError if it isn't a number that can
    get an SMS: none in use, or a landline's."""
    number = SEPARATORS.sub("", text)
    if not E164.fullmatch(number):
        raise PermanentError("the phone number must have + and the country code, such as +46701234567")
    import phonenumbers  # 16 ms that the gateway and most commands needn't pay

    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException as error:
        raise PermanentError("the phone number's country code is nobody's", str(error)) from None
    if not phonenumbers.is_valid_number(parsed):
        raise PermanentError("the phone number isn't one that is in use in its country: is a digit wrong or missing?")
    kinds = phonenumbers.PhoneNumberType
    takes_sms = (kinds.MOBILE, kinds.FIXED_LINE_OR_MOBILE, kinds.PERSONAL_NUMBER, kinds.VOIP, kinds.UNKNOWN)
    if phonenumbers.number_type(parsed) not in takes_sms:
        raise PermanentError("the phone number isn't a mobile one, so the password could not be sent there by SMS")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
