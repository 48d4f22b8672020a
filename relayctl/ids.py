"""Message ids as people type them."""

import uuid
from typing import Final

from relayctl.errors import UsageError

EXAMPLE: Final = "01931e3c-8f6e-7c1a-9b6e-6f0c3f0d9a10"


def message_id(text: str) -> str:
    """In its usual form; UsageError if it isn't one."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise UsageError(f"{text!r} is not a message id; it looks like {EXAMPLE}") from None
