"""ports.ContentStore on S3."""

from relay.aws.client import AwsClient, AwsError
from relay.errors import PermanentError


class S3Content:
    def __init__(self, client: AwsClient, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def put(self, key: str, data: bytes) -> None:
        await self._client.s3("PUT", self._bucket, key, data)

    async def get(self, key: str, most: int | None = None) -> bytes:
        """As ports.ContentStore."""
        headers = () if most is None else (("range", f"bytes=0-{most - 1}"),)
        try:
            return await self._client.s3("GET", self._bucket, key, headers=headers)
        except AwsError as error:
            if error.code == "InvalidRange":  # of no octets
                return b""
            if error.code == "NoSuchKey":  # not a missing bucket: that is our fault
                raise PermanentError("the message's content is gone", f"no content under {key!r}") from error
            raise
