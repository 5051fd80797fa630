"""One index of Pinecone: calls in batches within its limits, several under way at once.

The SDK tries again by itself, up to three times, after no answer, 408, 429, 500, 502, 503 and 504:
with growing, random pauses, or as long as Retry-After says. It is opened with the first call.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from threading import Lock
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec
import pinecone
from pinecone.errors import ApiError, NotFoundError, PineconeError
from pinecone.models.vectors.responses import ListResponse, QueryResponse

from recsys_cli.addresses import redact, web_address
from recsys_cli.connections.pinecone_control import ControlPlane
from recsys_cli.connections.pinecone_errors import DRIVER_ERRORS, translated
from recsys_cli.errors import SettingsError

_AT_ONCE = 8
_TIMEOUT_S = 30.0
_PAGE = 100
_FETCHED_CHARACTERS = 6000
"""Ids to fetch travel in the address, which proxies cut at some 8 KB."""

_WRITTEN_RECORDS, _WRITTEN_BYTES = 1000, 1_800_000
_DELETED = 1000
_ALWAYS_ANSWERED = 90
"""So many records with 40 KB of metadata each stay below the 4 MB that an answer may have."""

_TOO_LARGE = (400, 413)
_LONGEST_ID = 512
_PLAIN_ID = re.compile(r"[!-\"$-~][!-~]*")
_BYTES_PER_NUMBER, _BYTES_AROUND = 25, 40
"""The most that a float32 and a comma take; what stands around key, values and metadata."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Record(NamedTuple):
    """A vector as Pinecone holds it. ``score`` only in the answer to a query."""

    key: str
    values: Sequence[float]
    metadata: Mapping[str, Any]
    score: float = 0.0


class Stats(NamedTuple):
    """``counts``: vectors by namespace. ``dimension``, ``metric``: None where it does not say."""

    dimension: int | None
    metric: str | None
    counts: Mapping[str, int]


def key_of(text: str) -> str:
    """Return an id for any text: itself where Pinecone takes it, its hash behind a # otherwise."""
    if len(text) <= _LONGEST_ID and _PLAIN_ID.fullmatch(text):
        return text
    return "#" + sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class PineconeIndex:
    """The index at ``host``; ``cloud``, ``region`` and ``control`` plane are for making one."""

    def __init__(
        self, host: str | None, *, api_key: str | None, cloud: str, region: str, control: str
    ) -> None:
        self._host = host
        self._api_key = api_key
        self._cloud = cloud
        self._region = region
        self._control = control
        self._lock = Lock()
        self._opened: pinecone.Index | None = None
        self._pool: ThreadPoolExecutor | None = None

    @property
    def address(self) -> str:
        return redact(self._host) if self._host else "(PINECONE_HOST is not set)"

    @property
    def has_host(self) -> bool:
        return self._host is not None

    def make(self, name: str, dimension: int) -> None:
        """Make the index in the cloud, and use it from now on; see ``ControlPlane.make``."""
        plane = ControlPlane(_usable("PINECONE_CONTROLLER_HOST", self._control), self._key())
        self._host = plane.make(name, dimension=dimension, cloud=self._cloud, region=self._region)

    def stats(self) -> Stats:
        answer = self._call(lambda index: index.describe_index_stats())
        counts = {name: found.vector_count for name, found in answer.namespaces.items()}
        return Stats(answer.dimension, answer.metric, counts)

    def upsert(self, namespace: str, records: Iterable[Record]) -> None:
        batches = _batched(records, _WRITTEN_RECORDS, _WRITTEN_BYTES, _record_bytes)
        self._gather(batches, lambda index, batch: _upsert(index, namespace, batch))

    def fetch(self, namespace: str, keys: Iterable[str]) -> dict[str, Record]:
        batches = _batched(dict.fromkeys(keys), _PAGE, _FETCHED_CHARACTERS, _address_bytes)
        answers = self._gather(
            batches, lambda index, batch: index.fetch(ids=batch, namespace=namespace).vectors
        )
        return {
            key: Record(key, found.values, found.metadata or {})
            for answer in answers
            for key, found in answer.items()
        }

    def query(
        self,
        namespace: str,
        vectors: Sequence[Sequence[float]],
        limit: int,
        where: Mapping[str, Any] | None,
    ) -> list[list[Record]]:
        """Return for each vector the closest records, with their metadata, without values.

        They are fewer than ``limit`` where more are too large for one answer.
        """
        answers = self._gather(
            vectors, lambda index, vector: _query(index, namespace, vector, limit, where)
        )
        return [
            [Record(match.id, (), match.metadata or {}, match.score) for match in answer.matches]
            for answer in answers
        ]

    def delete(self, namespace: str, keys: Iterable[str]) -> None:
        batches = _batched(keys, _DELETED, _WRITTEN_BYTES, len)
        self._gather(batches, lambda index, batch: _delete(index, namespace, batch))

    def delete_all(self, namespace: str) -> None:
        self._call(lambda index: _delete(index, namespace, None))

    def pages(self, namespace: str) -> Iterator[list[str]]:
        """Yield the keys of all records, up to 100 at a time."""
        token: str | None = None
        while True:
            page = self._call(partial(_page, namespace, token))
            if keys := [item.id for item in page.vectors if item.id is not None]:
                yield keys
            token = page.pagination.next if page.pagination else None
            if not token:
                return

    def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
            index, self._opened = self._opened, None
        if pool:
            pool.shutdown()
        if index:
            index.close()

    def _gather(
        self, items: Iterable[Item], call: Callable[[pinecone.Index, Item], Result]
    ) -> list[Result]:
        """Call for each of the items, several at once; raise the first error, after all ended."""
        calls = [partial(self._call, partial(_with, call, item)) for item in items]
        if len(calls) < 2:
            return [one() for one in calls]
        pool = self._threads()
        futures = [pool.submit(one) for one in calls]
        for future in futures:
            future.exception()
        return [future.result() for future in futures]

    def _call(self, call: Callable[[pinecone.Index], Result]) -> Result:
        index = self._index()
        try:
            return call(index)
        except DRIVER_ERRORS as error:
            raise translated(error, self.address) from error

    def _index(self) -> pinecone.Index:
        with self._lock:
            if self._opened is None:
                if self._host is None:
                    raise SettingsError(
                        "PINECONE_HOST is not set",
                        hint="recsys index create makes an index and says its host",
                    )
                self._opened = _opened(_usable("PINECONE_HOST", self._host), self._key())
            return self._opened

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_AT_ONCE, "pinecone")
            return self._pool

    def _key(self) -> str:
        key = (self._api_key or "").strip()
        hint = "set it to an API key of the Pinecone project"
        if not key:
            raise SettingsError("PINECONE_API_KEY is not set", hint=hint)
        if not (key.isascii() and key.isprintable()):
            raise SettingsError("PINECONE_API_KEY has a character that no API key has", hint=hint)
        return key


def _usable(name: str, address: str) -> str:
    found = web_address(address)
    if found is None:
        raise _no_host(name, address)
    return found


def _no_host(name: str, address: str) -> SettingsError:
    return SettingsError(
        f"{name} is {redact(address)!r}: that is no host",
        hint="write a host's name, with https:// before it or without",
    )


def _opened(host: str, key: str) -> pinecone.Index:
    with warnings.catch_warnings():
        # Settings.warnings() has said already that http:// is not encrypted.
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return pinecone.Index(host=host, api_key=key, timeout=_TIMEOUT_S)
        except PineconeError as error:
            raise _no_host("PINECONE_HOST", host) from error


def _upsert(index: pinecone.Index, namespace: str, batch: Sequence[Record]) -> None:
    vectors = [{"id": r.key, "values": r.values, "metadata": r.metadata} for r in batch]
    index.upsert(vectors=vectors, namespace=namespace, show_progress=False)


def _with(
    call: Callable[[pinecone.Index, Item], Result], item: Item, index: pinecone.Index
) -> Result:
    return call(index, item)


def _query(
    index: pinecone.Index,
    namespace: str,
    vector: Sequence[float],
    limit: int,
    where: Mapping[str, Any] | None,
) -> QueryResponse:
    """Ask for half as many as long as the answer is refused for what may be its size."""
    while True:
        try:
            return index.query(
                vector=vector,
                top_k=limit,
                namespace=namespace,
                filter=where,
                include_metadata=True,
            )
        except ApiError as error:
            if error.status_code not in _TOO_LARGE or limit <= _ALWAYS_ANSWERED:
                raise
            limit //= 2


def _page(namespace: str, token: str | None, index: pinecone.Index) -> ListResponse:
    return index.list_paginated(namespace=namespace, limit=_PAGE, pagination_token=token)


def _delete(index: pinecone.Index, namespace: str, keys: Sequence[str] | None) -> None:
    try:
        if keys is None:
            index.delete(delete_all=True, namespace=namespace)
        else:
            index.delete(ids=keys, namespace=namespace)
    except NotFoundError:
        return  # a namespace without a vector does not exist


def _record_bytes(record: Record) -> int:
    """Return at least how much of the request this is, as the SDK writes it: JSON in UTF-8."""
    rest = len(msgspec.json.encode((record.key, record.metadata)))
    return len(record.values) * _BYTES_PER_NUMBER + rest + _BYTES_AROUND


def _address_bytes(key: str) -> int:
    return len(quote(key, safe="")) + len("&ids=")


def _batched(
    items: Iterable[Item], most: int, most_bytes: int, size_of: Callable[[Item], int]
) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for item in items:
        added = size_of(item)
        if batch and (len(batch) == most or size + added > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += added
    if batch:
        yield batch
