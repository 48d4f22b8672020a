"""What Secrets Manager keeps: texts, and logins."""

import json
from typing import Final

from relay.aws.client import AwsClient
from relay.errors import FaultError
from relay.smtp.login import Login
from relay.smtp.memory import Memory

FRESH: Final = 300.0  # seconds for which it isn't asked again: so long may a new password wait
TARGET: Final = "secretsmanager.GetSecretValue"
UNREADABLE: Final = "a secret that the relay needs cannot be used"


async def secret_text(client: AwsClient, secret: str) -> str:
    """The current text of a secret, by its name or ARN. OutageError if Secrets Manager is away or refuses; FaultError
    if the secret has no text."""
    answer = await client.json("secretsmanager", TARGET, {"SecretId": secret}, version="1.1")
    text = answer.get("SecretString")
    if not isinstance(text, str):
        raise FaultError(UNREADABLE, f"{secret}: it is binary")
    return text


class SecretLogin:
    """secret: its name or ARN. Its text is JSON: {"username": "...", "password": "..."}."""

    def __init__(self, client: AwsClient, secret: str) -> None:
        self._client = client
        self._secret = secret
        self._known: Memory[Login] = Memory()

    async def __call__(self) -> Login:
        """OutageError if Secrets Manager is away or refuses; FaultError if the secret is none of this form."""
        return await self._known.get(self._secret, self._ask)

    async def _ask(self) -> tuple[Login, float]:
        text = await secret_text(self._client, self._secret)
        try:
            fields = json.loads(text)
            login = Login(fields["username"], fields["password"])
            if not (isinstance(login.user, str) and isinstance(login.password, str)):
                raise TypeError
        except (KeyError, TypeError, ValueError):
            raise FaultError(UNREADABLE, f'{self._secret}: not {{"username": "...", "password": "..."}}') from None
        return login, FRESH
