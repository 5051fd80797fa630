"""The bucket of keys for callers that wait: each method is one call on the connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from recsys_cli.catalogs import nats_streams
from recsys_cli.catalogs.nats_bucket import Bucket, Entry, Swap

if TYPE_CHECKING:
    from nats.aio.client import Client

    from recsys_cli.connections.nats import NatsConnection

Result = TypeVar("Result")


class Keys:
    """See nats_bucket.Bucket; the bucket is made where it is missing."""

    def __init__(self, connection: NatsConnection, bucket: str) -> None:
        self._connection = connection
        self.bucket = bucket

    def one(self, key: str) -> Entry:
        return self.read([key])[key]

    def newest(self, key: str) -> Entry:
        """Return what is under a key by the word of the bucket's leader."""
        return self.run(lambda bucket: bucket.newest(key))

    def read(self, keys: Sequence[str]) -> dict[str, Entry]:
        return self.run(lambda bucket: bucket.read(keys))

    def swap(self, swaps: Mapping[str, Swap]) -> list[str]:
        """Put the new values; return the keys where another was faster."""
        return self.run(lambda bucket: bucket.swap(swaps)) if swaps else []

    def pages(self, pattern: str, limit: int) -> Iterator[dict[str, Entry]]:
        start = 1
        while start:
            page, start = self.run(lambda bucket, at=start: bucket.page(pattern, at, limit))  # type: ignore[misc]
            yield page

    def run(self, work: Callable[[Bucket], Awaitable[Result]]) -> Result:
        def make(client: Client) -> Bucket:
            return Bucket(client, self.bucket)

        return nats_streams.run(self._connection, make, work)
