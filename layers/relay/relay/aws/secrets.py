"""A login that Secrets Manager keeps."""

import json
from typing import Final

from relay.aws.client import AwsClient
from relay.errors import FaultError
from relay.smtp.login import Login
from relay.smtp.memory import Memory

FRESH: Final = 300.0  # seconds for which it isn't asked again: so long may a new password wait
UNREADABLE: Final = "the secret with the smarthost's login cannot be used"


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
        target = "secretsmanager.GetSecretValue"
        answer = await self._client.json("secretsmanager", target, {"SecretId": self._secret}, version="1.1")
        try:
            fields = json.loads(answer["SecretString"])
            login = Login(fields["username"], fields["password"])
            if not (isinstance(login.user, str) and isinstance(login.password, str)):
                raise TypeError
        except (KeyError, TypeError, ValueError):
            raise FaultError(UNREADABLE, f'{self._secret}: not {{"username": "...", "password": "..."}}') from None
        return login, FRESH
