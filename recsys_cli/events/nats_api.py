"""The requests to JetStream that the events need, many of them in one go.

The driver's own JetStream client waits for each answer before the next request; here the requests
of a batch are all sent before the first is answered, over one subscription for their answers.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from nats.errors import NoRespondersError
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

from recsys_cli.connections.nats_client import replicas_in
from recsys_cli.connections.nats_protocol import (
    EXPECTED_SEQUENCE,
    MESSAGE_ID,
    NO_CONSUMER,
    NO_MESSAGE,
    NO_STREAM,
    NOTHING_TO_UPDATE,
    PAGE_BYTES,
    REQUEST_TIMEOUT_S,
    STREAM_EXISTS,
    UNAVAILABLE,
    WRONG_SEQUENCE,
    direct,
    told,
)
from recsys_cli.events.nats_names import Names

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

IN_FLIGHT = 1000
ACK, ACK_TIMEOUT_S = b"+ACK", 1.0


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
    try:
        return told(reply)
    except APIError as error:
        if error.err_code in (NO_CONSUMER, NO_MESSAGE, NO_STREAM, NOTHING_TO_UPDATE):
            raise Missing(error.description or "") from None
        if error.err_code in WRONG_SEQUENCE:
            raise Conflict from None
        raise


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
    headers = None if expected is None else {EXPECTED_SEQUENCE: str(expected)}
    reply = await client.request(subject, body, timeout=REQUEST_TIMEOUT_S, headers=headers)
    return int(answer(reply)["seq"])


async def acknowledge(client: Client, subjects: Sequence[str]) -> None:
    """Tell the server; should it not hear, it delivers again what the ledger knows is done."""
    *others, last = subjects
    for subject in others:
        await client.publish(subject, ACK)
    # It takes them in order. After a restart it may not know the last ones, and says nothing.
    with suppress(TimeoutError, NoRespondersError):
        await client.request(last, ACK, timeout=ACK_TIMEOUT_S)


async def settle(
    client: Client, names: Names, durable: str, numbers: Sequence[int], again: Sequence[int]
) -> None:
    """Acknowledge what the ledger knows is done, and drop the failures of ``again`` before.

    Whoever is killed before the last step leaves the event to the one to whom it comes once more.
    """
    purge = f"$JS.API.STREAM.PURGE.{names.groups}"
    failures = [names.failure(durable, number) for number in again]
    await ask_many(client, [Request(purge, _encoder.encode({"filter": one})) for one in failures])
    await acknowledge(client, [names.acknowledgement(durable, number) for number in numbers])


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
        "max_bytes": PAGE_BYTES,
        "next_by_subj": subjects,
    }
    try:
        found = [_stored(*answered) async for answered in direct(client, stream, request)]
    except NoStreamResponseError:
        raise Missing(stream) from None
    if found:
        return found
    # The replica that has answered may lack the newest for a moment, and the leader does not.
    newest = await get_one(client, stream, seq=max(start, 1), next_by_subj=subjects)
    return [] if newest is None else [newest]


def _stored(message: Msg, headers: Mapping[str, str]) -> Stored:
    return Stored(int(headers["Nats-Sequence"]), headers["Nats-Subject"], message.data)


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
            if error.err_code != STREAM_EXISTS:  # made with other limits: as they like
                raise


async def consumers(client: Client, stream: str) -> tuple[list[Facts], list[str]]:
    """Return what is known of the consumers of the stream; none where there is no stream.

    And the names of those that a cluster cannot ask now, because the server that leads them is
    away; it waits for them for four seconds. Raises ServiceUnavailableError where they change.
    """
    known: dict[str, Facts] = {}
    names: list[str] = []
    while True:
        # A page begins with the last one of the page before, or else they changed in between.
        seam = names[-1:]
        start = len(names) - len(seam)
        try:
            page = await ask(client, f"CONSUMER.LIST.{stream}", {"offset": start})
        except Missing:
            return [], []
        some = {facts["name"]: facts for facts in page.get("consumers") or []}
        found = sorted({*some, *(page.get("missing") or [])})
        if len(found) < min(page["total"] - start, page["limit"]) or found[: len(seam)] != seam:
            raise nobody_leads()
        known |= some
        names += found[len(seam) :]
        if len(names) >= page["total"]:
            return list(known.values()), [name for name in names if name not in known]


def nobody_leads() -> ServiceUnavailableError:
    """Return what the server itself says of what has no leader now."""
    return ServiceUnavailableError(code=503, err_code=UNAVAILABLE)


async def trim(client: Client, stream: str) -> bool:
    """Drop what every consumer of the stream has acknowledged, if all of them can be asked."""
    try:
        listed, silent = await consumers(client, stream)
    except ServiceUnavailableError:
        return False
    if silent:
        return False
    if listed:
        floor = min(facts["ack_floor"]["stream_seq"] for facts in listed)
        with suppress(Missing):
            await ask(client, f"STREAM.PURGE.{stream}", {"seq": floor + 1})
    return True


def milliseconds(timestamp: str) -> int:
    """Return a time of the server's, RFC 3339 with nanoseconds, in ms since 1970."""
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000)
