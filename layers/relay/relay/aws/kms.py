"""dkim_keys.Sealer on KMS: each private key is encrypted by itself (PKCS #8 of 2,048 bits has some 1,220 octets,
Encrypt takes 4,096), with its domain and selector as the encryption context: moved to another item it does not open."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from relay.aws.client import AwsClient
from relay.errors import FaultError


class KmsSealer:
    """key: the ARN of a symmetric KMS key."""

    def __init__(self, client: AwsClient, key: str) -> None:
        self._client = client
        self._key = key

    async def seal(self, private: bytes, *, domain: str, selector: str) -> bytes:
        return await self._call("Encrypt", "Plaintext", private, "CiphertextBlob", domain, selector)

    async def open(self, sealed: bytes, *, domain: str, selector: str) -> bytes:
        return await self._call("Decrypt", "CiphertextBlob", sealed, "Plaintext", domain, selector)

    async def _call(self, operation: str, given: str, data: bytes, wanted: str, domain: str, selector: str) -> bytes:
        payload = {
            "KeyId": self._key,
            given: base64.b64encode(data).decode("ascii"),
            "EncryptionContext": {"domain": domain, "selector": selector},
        }
        answer = await self._client.json("kms", f"TrentService.{operation}", payload, version="1.1")
        return _decoded(answer, wanted, operation)


def _decoded(answer: Mapping[str, Any], name: str, operation: str) -> bytes:
    try:
        return base64.b64decode(answer[name], validate=True)
    except (KeyError, TypeError, binascii.Error):
        pass  # raised below, so that no part of the answer is in a traceback
    raise FaultError("a service that the relay needs has sent an answer that is none", f"kms {operation}")
