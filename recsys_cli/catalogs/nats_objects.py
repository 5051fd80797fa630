"""A JetStream object store, in the layout that the ``nats`` command and other clients share.

    $O.{store}.C.{nuid}    the chunks of one object, in order
    $O.{store}.M.{name}    JSON: its nuid, size, number of chunks and SHA-256; name in base64

The driver's own ``ObjectStore`` waits for ever for chunks that are gone, checks nothing until the
last one, reads through a consumer (which a user would need permissions for, and which a cluster has
to place first), and lets the second of two writers replace the first.

Here the description is put under the revision that was seen, after all chunks. The nuid is drawn
anew for each write and begins with the time, so that ``sweep`` can tell what a killed writer left
from what is being written. What is removed leaves nothing, as if it had never been.
"""

from __future__ import annotations

import re
import time
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from nats.js.api import DiscardPolicy, StorageType, StreamConfig

from recsys_cli.catalogs import nats_streams
from recsys_cli.catalogs.nats_streams import WRITTEN_WITHIN_S
from recsys_cli.connections.nats_client import replicas_in
from recsys_cli.connections.nats_errors import DRIVER_ERRORS
from recsys_cli.connections.nats_protocol import (
    EXPECTED_SEQUENCE,
    PAGE_BYTES,
    REQUEST_TIMEOUT_S,
    direct,
)
from recsys_cli.errors import InvalidData

if TYPE_CHECKING:
    from nats.aio.client import Client

CHUNKS_A_REQUEST = 1000
HINT = "recsys model import FILE stores it again; recsys model use VERSION takes another"

_NUID = re.compile(r"(?P<since>[0-9a-f]{8,})-[0-9a-f]{32}")


class Info(msgspec.Struct, omit_defaults=True):
    """An object's description, as it is stored."""

    name: str
    bucket: str = ""
    nuid: str = ""
    size: int = 0
    chunks: int = 0
    digest: str = ""
    mtime: str = ""
    deleted: bool = False
    options: dict[str, object] = {}


class Seen(NamedTuple):
    """An object's description and its revision; none where there is no object."""

    info: Info | None
    revision: int


class Objects:
    """One object store over one client; all methods run on the client's event loop.

    Descriptions come from the store's leader; chunks from any replica, else from the leader.
    Raises the driver's errors, which the connection translates, and InvalidData.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name
        self._stream = f"OBJ_{name}"
        self._jetstream = client.jetstream(timeout=REQUEST_TIMEOUT_S)

    async def create(self) -> None:
        """Make the store unless it exists."""
        config = StreamConfig(
            name=self._stream,
            description="recsys: embedding models",
            subjects=[f"$O.{self._name}.C.>", f"$O.{self._name}.M.>"],
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            num_replicas=replicas_in(self._client),
            allow_direct=True,
            allow_rollup_hdrs=True,
        )
        await nats_streams.create(self._jetstream, config)

    async def look(self, name: str) -> Seen:
        """Return what there is under this name."""
        message = await nats_streams.by_leader(self._client, self._stream, self._about(name))
        if message is None:
            return Seen(None, 0)
        try:
            info = msgspec.json.decode(message.data or b"", type=Info)
        except (msgspec.DecodeError, UnicodeDecodeError):
            info = Info(name)  # nothing that could be read is as it says
        return Seen(None if info.deleted else info, message.seq or 0)

    async def read(self, name: str) -> bytes | None:
        """Return an object, None where there is none. Raises InvalidData where it is damaged."""
        seen = await self.look(name)
        while seen.info is not None:
            for read in (self._chunks, self._chunks_of_leader) if seen.info.nuid else ():
                value = await read(seen.info)
                if len(value) == seen.info.size and _digest(value) == seen.info.digest:
                    return value
            earlier, seen = seen, await self.look(name)
            if seen.revision == earlier.revision:
                raise InvalidData(
                    f"the model {name} in the object store {self._name} is damaged: it is"
                    " incomplete, or not what was stored",
                    hint=HINT,
                )
        return None

    async def put(self, name: str, value: bytes, seen: Seen) -> bool:
        """Store an object in the place of what was seen; return False where another was faster."""
        nuid = f"{int(time.time()):x}-{uuid.uuid4().hex}"
        size = nats_streams.room(self._client)
        starts = range(0, len(value), size)
        try:
            for start in starts:  # one by one: they keep their order
                await self._jetstream.publish(self._chunk(nuid), value[start : start + size])
        except DRIVER_ERRORS:
            with suppress(*DRIVER_ERRORS):  # it may be full, and be asked again and again
                await self._drop(nuid)
            raise
        info = Info(
            name=name,
            bucket=self._name,
            nuid=nuid,
            size=len(value),
            chunks=len(starts),
            digest=_digest(value),
            mtime=datetime.now(UTC).isoformat(),
            options={"max_chunk_size": size},
        )
        headers = {EXPECTED_SEQUENCE: str(seen.revision), "Nats-Rollup": "sub"}
        is_done = await nats_streams.publish(
            self._jetstream, self._about(name), msgspec.json.encode(info), headers
        )
        useless = seen.info if is_done else info
        if useless is not None:
            await self._drop(useless.nuid)
        return is_done

    async def remove(self, name: str, seen: Seen) -> bool:
        """Remove what was seen; return False where it was not there, or is another by now."""
        if not seen.revision:
            return False
        subject = self._about(name)
        purged = await nats_streams.purge(self._client, self._stream, subject, up_to=seen.revision)
        if seen.info is not None:
            await self._drop(seen.info.nuid)
        return bool(purged) and seen.info is not None

    async def _drop(self, nuid: str) -> None:
        if nuid:
            await nats_streams.purge(self._client, self._stream, self._chunk(nuid))

    async def sweep(self, older_than_s: float = WRITTEN_WITHIN_S) -> dict[str, Seen]:
        """Remove the old chunks that belong to no object; return all old objects."""
        found = await self._jetstream.stream_info(self._stream, f"$O.{self._name}.>")
        subjects = list(found.state.subjects or {})
        before, chunks = time.time() - older_than_s, self._chunk("")
        unused = {
            nuid
            for subject in subjects
            if subject.startswith(chunks) and _is_old(nuid := subject[len(chunks) :], before)
        }
        old: dict[str, Seen] = {}
        # Looked up after the chunks were listed: whatever has a description by then is here.
        for name in filter(None, map(self._named, subjects)):
            seen = await self.look(name)
            if seen.info is not None and seen.info.nuid in unused:
                unused.discard(seen.info.nuid)
                old[name] = seen
        for nuid in unused:
            await self._drop(nuid)
        return old

    async def _chunks(self, info: Info) -> bytes:
        """Return what some replica has."""
        found: list[bytes] = []
        start = 1
        while start:
            request = {
                "seq": start,
                "batch": CHUNKS_A_REQUEST,
                "max_bytes": PAGE_BYTES,
                "next_by_subj": self._chunk(info.nuid),
            }
            start = 0
            async for message, headers in direct(self._client, self._stream, request):
                found.append(message.data)
                start = int(headers["Nats-Sequence"]) + 1
        return b"".join(found)

    async def _chunks_of_leader(self, info: Info) -> bytes:
        """Return what the leader has: a trip a chunk, for who has met a replica that is behind."""
        found: list[bytes] = []
        ask, subject = nats_streams.by_leader, self._chunk(info.nuid)
        start = 1
        while message := await ask(self._client, self._stream, subject, start):
            found.append(message.data or b"")
            start = (message.seq or start) + 1
        return b"".join(found)

    def _chunk(self, nuid: str) -> str:
        return f"$O.{self._name}.C.{nuid}"

    def _about(self, name: str) -> str:
        return f"$O.{self._name}.M.{urlsafe_b64encode(name.encode()).decode()}"

    def _named(self, subject: str) -> str | None:
        """Return whose description is under this subject."""
        before = self._about("")
        if not subject.startswith(before):
            return None
        try:
            return urlsafe_b64decode(subject.removeprefix(before)).decode()
        except ValueError:
            return None


def _is_old(nuid: str, before: float) -> bool:
    ours = _NUID.fullmatch(nuid)
    return ours is not None and int(ours["since"], 16) <= before


def _digest(value: bytes) -> str:
    return f"SHA-256={urlsafe_b64encode(sha256(value).digest()).decode()}"
