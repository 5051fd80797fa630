"""The requests to JetStream that the events need, many of them in one go.

The driver's own JetStream client waits for each answer before the next request; here the requests
of a batch are all sent before the first is answered, over one subscription for their answers.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from nats.errors import NoRespondersError
from nats.js.errors import APIError

from recsys_cli.connections.nats_client import replicas_in
from recsys_cli.events.nats_names import Names

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

REQUEST_TIMEOUT_S = 10.0
IN_FLIGHT = 1000
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
MESSAGE_ID = "Nats-Msg-Id"

_NO_CONSUMER, _NO_MESSAGE, _NO_STREAM = 10014, 10037, 10059
_EXISTS = (10058,)
_WRONG_SEQUENCE = (10071, 10164)
_PAGE_BYTES = 8 * 1024 * 1024

_encoder = msgspec.json.Encoder()

Facts = dict[str, Any]


class Request(NamedTuple):
    subject: str
    body: bytes = b""
    headers: dict[str, str] | None = None


class Stored(NamedTuple):
    """A message of a stream."""

    sequence: int
    subject: str
    body: bytes
    message_id: str = ""
    """Of what ``get`` has asked for, where its publisher gave it one."""


class Missing(Exception):
    """There is no such stream, consumer or message."""


class Conflict(Exception):
    """The subject's last message is another than was expected."""


async def ask(client: Client, call: str, request: Mapping[str, object] | None = None) -> Facts:
    """Return the answer of JetStream's API. Raises Missing and the driver's errors."""
    body = _encoder.encode(request) if request is not None else b""
    reply = await client.request(f"$JS.API.{call}", body, timeout=REQUEST_TIMEOUT_S)
    return answer(reply)


def answer(reply: Msg) -> Facts:
    """Return what a reply says. Raises what it says instead."""
    if reply.headers and reply.headers.get("Status") == "503":
        raise NoRespondersError
    facts: Facts = msgspec.json.decode(reply.data)
    if "error" not in facts:
        return facts
    error = facts["error"]
    code = error.get("err_code", 0)
    if code in (_NO_CONSUMER, _NO_MESSAGE, _NO_STREAM):
        raise Missing(error.get("description", ""))
    if code in _WRONG_SEQUENCE:
        raise Conflict
    raise APIError.from_error(error)


async def ask_many(
    client: Client, requests: Sequence[Request], replies: list[Msg | None] | None = None
) -> list[Msg]:
    """Return the replies in the order of the requests, which are sent without waiting between.

    ``replies`` is filled as they come in, for whoever wants to know them after an error.
    """
    replies = [] if replies is None else replies
    replies[:] = [None] * len(requests)
    for start in range(0, len(requests), IN_FLIGHT):
        await _ask_some(client, requests[start : start + IN_FLIGHT], replies, start)
    return [reply for reply in replies if reply is not None]


async def _ask_some(
    client: Client, requests: Sequence[Request], replies: list[Msg | None], start: int
) -> None:
    inbox = client.new_inbox()
    left = len(requests)
    all_there = asyncio.Event()

    async def take(reply: Msg) -> None:
        nonlocal left
        place = start + int(reply.subject.rpartition(".")[2])
        left -= replies[place] is None
        replies[place] = reply
        if not left:
            all_there.set()

    subscription = await client.subscribe(f"{inbox}.*", cb=take)
    try:
        for number, request in enumerate(requests):
            await client.publish(
                request.subject, request.body, reply=f"{inbox}.{number}", headers=request.headers
            )
        await asyncio.wait_for(all_there.wait(), REQUEST_TIMEOUT_S)
    finally:
        await subscription.unsubscribe()


async def put(client: Client, subject: str, body: bytes, expected: int | None = None) -> int:
    """Store a message and return its sequence. Raises Conflict.

    ``expected``: the sequence of the last one on the subject, 0 for none.
    """
    headers = None if expected is None else {EXPECTED: str(expected)}
    reply = await client.request(subject, body, timeout=REQUEST_TIMEOUT_S, headers=headers)
    return int(answer(reply)["seq"])


def get(stream: str, **which: object) -> Request:
    """Return the request for one message, ``seq`` or ``last_by_subj``, to the stream's leader."""
    return Request(f"$JS.API.STREAM.MSG.GET.{stream}", _encoder.encode(which))


def found(reply: Msg) -> Stored | None:
    """Return the message that ``get`` asked for, None where it is gone."""
    try:
        message = answer(reply)["message"]
    except Missing:
        return None
    body = base64.b64decode(message.get("data", ""))
    headers = base64.b64decode(message.get("hdrs", "")).decode("utf-8", "replace")
    named = dict(line.partition(":")[::2] for line in headers.split("\r\n"))
    return Stored(message["seq"], message["subject"], body, named.get(MESSAGE_ID, "").strip())


async def get_one(client: Client, stream: str, **which: object) -> Stored | None:
    (reply,) = await ask_many(client, [get(stream, **which)])
    return found(reply)


async def page(client: Client, stream: str, subjects: str, start: int, limit: int) -> list[Stored]:
    """Return up to ``limit`` messages from sequence ``start`` on; none where none is left."""
    request = {
        "seq": max(start, 1),
        "batch": limit,
        "max_bytes": _PAGE_BYTES,
        "next_by_subj": subjects,
    }
    found = [message async for message in _direct(client, stream, request)]
    if found:
        return found
    # The replica that has answered may lack the newest for a moment, and the leader does not.
    newest = await get_one(client, stream, seq=max(start, 1), next_by_subj=subjects)
    return [] if newest is None else [newest]


async def _direct(
    client: Client, stream: str, request: Mapping[str, object]
) -> AsyncIterator[Stored]:
    """Yield what the direct-get service answers, up to its end-of-batch."""
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    try:
        await client.publish(f"$JS.API.DIRECT.GET.{stream}", _encoder.encode(request), reply=inbox)
        while True:
            message = await answers.next_msg(timeout=REQUEST_TIMEOUT_S)
            headers = message.headers or {}
            status = headers.get("Status", "")
            if status in ("204", "404"):
                return
            if status == "503":
                raise Missing(stream)
            if status:
                raise APIError(code=int(status), description=headers.get("Description", ""))
            yield Stored(int(headers["Nats-Sequence"]), headers["Nats-Subject"], message.data)
    finally:
        await answers.unsubscribe()


async def make_streams(client: Client, names: Names) -> None:
    """Make what there is not yet of the stream, its dead letters and its groups' ledgers.

    Sequences begin with the time in microseconds: after a stream was deleted, a new one goes on
    where no position has been, as if it were the same.
    """
    first = time.time_ns() // 1000
    common: Facts = {"storage": "file", "num_replicas": replicas_in(client), "allow_direct": True}
    events = {"name": names.stream, "subjects": [names.subjects], "first_seq": first}
    dead: Facts = {
        "name": names.dead,
        "subjects": [names.dead_subjects],
        "first_seq": first,
        "max_msgs_per_subject": 1,
    }
    groups: Facts = {
        "name": names.groups,
        "subjects": [names.keys],
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
    }
    for config in (events, dead, groups):
        try:
            await ask(client, f"STREAM.CREATE.{config['name']}", common | config)
        except APIError as error:
            if error.err_code not in _EXISTS:  # made with other limits: as they like
                raise


async def consumers(client: Client, stream: str) -> list[Facts]:
    """Return what is known of all consumers of the stream; none where there is no stream."""
    listed: list[Facts] = []
    while True:
        try:
            facts = await ask(client, f"CONSUMER.LIST.{stream}", {"offset": len(listed)})
        except Missing:
            return []
        some = facts.get("consumers") or []
        listed += some
        if not some or len(listed) >= facts.get("total", 0):
            return listed


async def trim(client: Client, stream: str, groups: Sequence[Facts]) -> None:
    """Drop what every consumer of the stream has acknowledged."""
    if groups:
        floor = min(facts["ack_floor"]["stream_seq"] for facts in groups)
        await ask(client, f"STREAM.PURGE.{stream}", {"seq": floor + 1})


def milliseconds(timestamp: str) -> int:
    """Return a time of the server's, RFC 3339 with nanoseconds, in ms since 1970."""
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000)
