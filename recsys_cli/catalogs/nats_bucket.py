"""A bucket of keys in a JetStream stream, read and written a batch at a time.

The bucket is an ordinary JetStream key-value bucket (``nats kv`` reads it), but the driver's own
``KeyValue`` takes one trip a key. Here a batch of keys is one request to the server's direct-get
service, which answers with one message a key, and a batch of writes is sent before the first is
acknowledged.

A value that would not fit into one message is cut into parts, ``part.{name}.{number}.{key}``,
written before the key, which names them in its header ``Recsys-Parts``, and removed after it has
another value. The name is drawn anew for each write, so parts belong to one revision only; it
begins with the time, so that ``sweep`` can tell what a killed writer left from what is being
written.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from nats.js.api import DiscardPolicy, StreamConfig

from recsys_cli.catalogs import nats_streams
from recsys_cli.catalogs.nats_streams import WRITTEN_WITHIN_S, room
from recsys_cli.connections.nats_client import replicas_in
from recsys_cli.connections.nats_protocol import (
    EXPECTED_SEQUENCE,
    PAGE_BYTES,
    REQUEST_TIMEOUT_S,
    direct,
)
from recsys_cli.errors import InvalidData

if TYPE_CHECKING:
    from nats.aio.client import Client

KEYS_A_REQUEST = 1000
"""The server looks up 1024 subjects at once and not one more."""

PARTS_HEADER = "Recsys-Parts"
READS_OF_PARTS = 5

_PART = re.compile(r"part\.(?P<name>(?P<since>[0-9a-f]+)-[0-9a-f]+)\.\d+\.(?P<key>.+)")


class Entry(NamedTuple):
    """What is under a key: no value where there is none; ``revision`` is what a swap expects."""

    value: bytes | None
    revision: int
    parts: str = ""


ABSENT = Entry(None, 0)


class Swap(NamedTuple):
    """Put ``value`` in the place of ``seen``."""

    seen: Entry
    value: bytes


class Bucket:
    """One bucket over one client; all methods run on the client's event loop.

    Raises the driver's errors, which the connection translates, and InvalidData.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."
        self._jetstream = client.jetstream(timeout=REQUEST_TIMEOUT_S)

    async def create(self) -> None:
        """Make the bucket unless it exists."""
        config = StreamConfig(
            name=self._stream,
            description="recsys: the catalog of products",
            subjects=[f"{self._prefix}>"],
            max_msgs_per_subject=1,
            discard=DiscardPolicy.NEW,
            num_replicas=replicas_in(self._client),
            allow_direct=True,
            allow_rollup_hdrs=True,
            deny_delete=True,
        )
        await nats_streams.create(self._jetstream, config)

    async def read(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return what is under each key, ABSENT where nothing ever was."""
        found = await self._read(keys)
        cut = [key for key, entry in found.items() if entry.parts]
        whole = await asyncio.gather(*(self._whole(key, found[key]) for key in cut))
        return {key: found.get(key, ABSENT) for key in keys} | dict(zip(cut, whole, strict=True))

    async def newest(self, key: str) -> Entry:
        """Return what is under a key by the word of the leader; values in parts are not read."""
        message = await nats_streams.by_leader(self._client, self._stream, self._prefix + key)
        if message is None:
            return ABSENT
        return _entry(message.data or b"", message.seq or 0, message.headers or {})

    async def swap(self, swaps: Mapping[str, Swap]) -> list[str]:
        """Put each value where the revision is still the one seen; return the keys where not."""
        keys = list(swaps)
        failed: list[str] = []
        for start in range(0, len(keys), KEYS_A_REQUEST):
            some = keys[start : start + KEYS_A_REQUEST]
            done = await asyncio.gather(*(self._swap(key, swaps[key]) for key in some))
            failed += [key for key, is_done in zip(some, done, strict=True) if not is_done]
        return failed

    async def page(self, pattern: str, start: int, limit: int) -> tuple[dict[str, Entry], int]:
        """Return up to ``limit`` entries from revision ``start`` on, and where the next page is.

        0 stands for no next page. What is written meanwhile comes (again) on a later page. A value
        of which parts are missing is left out.
        """
        request = {
            "seq": max(start, 1),
            "batch": limit,
            "max_bytes": PAGE_BYTES,
            "next_by_subj": self._prefix + pattern,
        }
        found: dict[str, Entry] = {}
        last = 0
        async for key, entry in self._ask(request):
            found[key] = entry
            last = entry.revision
        for key in [key for key, entry in found.items() if entry.parts]:
            try:
                found[key] = await self._whole(key, found[key])
            except InvalidData:
                del found[key]
        return found, last + 1 if last else 0

    async def purge(self, pattern: str) -> int:
        """Remove the keys, as if they had never been; return how many there were."""
        return await nats_streams.purge(self._client, self._stream, self._prefix + pattern)

    async def remove(self, key: str) -> bool:
        """Remove a key and its parts; return whether it was there."""
        entry = (await self._read_some([key])).get(key, ABSENT)
        was_there = bool(await self.purge(key)) and (entry.value is not None or bool(entry.parts))
        if entry.parts:
            await self.purge(_parts_of(entry.parts))
        return was_there

    async def sweep(self, older_than_s: float = WRITTEN_WITHIN_S) -> int:
        """Remove the parts that belong to no value; return how many there were."""
        found = await self._jetstream.stream_info(self._stream, f"{self._prefix}part.>")
        before = time.time() - older_than_s
        owners = {
            name["name"]: name["key"]
            for subject in found.state.subjects or {}
            if (name := _PART.fullmatch(subject.removeprefix(self._prefix)))
            and int(name["since"], 16) <= before
        }
        now = await self._read(list(set(owners.values())))
        left = [n for n, key in owners.items() if now.get(key, ABSENT).parts.partition(":")[0] != n]
        return sum([await self.purge(_parts_of(name)) for name in left])

    async def _read(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return what is under those keys that have something; values in parts are not read."""
        requests = [self._read_some(some) for some in _requests(keys, room(self._client))]
        return {k: e for part in await asyncio.gather(*requests) for k, e in part.items()}

    async def _read_some(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Read one request's keys; the server may answer a part, which says that more is left."""
        missing = list(keys)
        found: dict[str, Entry] = {}
        while missing:
            request = {"multi_last": [self._prefix + key for key in missing]}
            some = {key: entry async for key, entry in self._ask(request)}
            found |= some
            missing = [key for key in missing if key not in found] if some else []
        return found

    async def _newest(self, keys: Sequence[str]) -> dict[str, Entry]:
        return {key: await self.newest(key) for key in keys}

    async def _ask(self, request: Mapping[str, object]) -> AsyncIterator[tuple[str, Entry]]:
        async for message, headers in direct(self._client, self._stream, request):
            key = headers["Nats-Subject"].removeprefix(self._prefix)
            yield key, _entry(message.data, int(headers["Nats-Sequence"]), headers)

    async def _swap(self, key: str, swap: Swap) -> bool:
        headers = {EXPECTED_SEQUENCE: str(swap.seen.revision)}
        value = swap.value
        if len(value) > room(self._client):
            headers[PARTS_HEADER] = await self._put_parts(key, value)
            value = b""
        is_done = await nats_streams.publish(self._jetstream, self._prefix + key, value, headers)
        useless = swap.seen.parts if is_done else headers.get(PARTS_HEADER, "")
        if useless:
            await self.purge(_parts_of(useless))
        return is_done

    async def _put_parts(self, key: str, value: bytes) -> str:
        """Write the parts of a value; return ``{name}:{count}``."""
        name, size = f"{int(time.time()):x}-{uuid.uuid4().hex}", room(self._client)
        cuts = [value[start : start + size] for start in range(0, len(value), size)]
        for number, cut in enumerate(cuts):  # one by one: at most one part waits in the driver
            await self._jetstream.publish(f"{self._prefix}part.{name}.{number}.{key}", cut)
        return f"{name}:{len(cuts)}"

    async def _whole(self, key: str, entry: Entry) -> Entry:
        """Return the entry with its value put together, or a newer one that has taken its place.

        What one replica lacks another may have: the leader has the last word.
        """
        for _ in range(READS_OF_PARTS):
            if not entry.parts:
                return entry
            name, _, count = entry.parts.partition(":")
            names = [f"part.{name}.{number}.{key}" for number in range(int(count))]
            for read in (self._read_some, self._newest):
                parts = {k: e.value for k, e in (await read(names)).items()}
                values = [value for n in names if (value := parts.get(n)) is not None]
                if len(values) == len(names):
                    return entry._replace(value=b"".join(values))
            newer = await self.newest(key)
            if newer.revision == entry.revision:
                break
            entry = newer
        raise InvalidData(
            f"parts of the value under {key!r} are missing in the bucket {self._stream[3:]}",
            hint="delete that key of the bucket, and import the product again",
        )


def _entry(value: bytes, revision: int, headers: Mapping[str, str]) -> Entry:
    if "KV-Operation" in headers or "Nats-Marker-Reason" in headers:
        return Entry(None, revision)
    return Entry(value, revision, headers.get(PARTS_HEADER, ""))


def _parts_of(parts: str) -> str:
    return f"part.{parts.partition(':')[0]}.>"


def _requests(keys: Sequence[str], room: int) -> Iterator[list[str]]:
    """Cut the keys into lists that fit into one request each."""
    some: list[str] = []
    size = 0
    for key in keys:
        size += len(key) + 64
        if some and (size > room or len(some) == KEYS_A_REQUEST):
            yield some
            some, size = [], len(key) + 64
        some.append(key)
    if some:
        yield some
