"""The users of Redis that the README tells operators to create: the one place where they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import chain

from tests.readme import README, blocks
from tests.servers import RedisServer

PASSWORD = "odd / characters ? in # it @ too : é"  # noqa: S105 - of users that live for a test


def worker_rules() -> list[str]:
    """Return what a user needs who imports, consumes and queries, but for the password."""
    return _rules()[0]


def operator_rules() -> list[str]:
    """Return what managing index, groups and dead letters takes on top."""
    return _rules()[1]


def pinecone_rules() -> list[str]:
    """Return what everybody needs on top where the embeddings are on Pinecone."""
    return _rules()[2]


@contextlib.contextmanager
def acl_user(server: RedisServer, rules: Sequence[str], name: str = "recsys") -> Iterator[str]:
    """Yield the name of a user who may do this and no more, for the length of the block."""
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", name, "reset", "on", f">{PASSWORD}", *rules)
        try:
            yield name
        finally:
            admin.execute_command("ACL", "DELUSER", name)


def _rules() -> list[list[str]]:
    text = README.read_text("utf-8")
    found = [b.body for b in blocks(text) if (b.section, b.language) == ("Security", "redis")]
    return [list(chain.from_iterable(map(_of_line, body.splitlines()))) for body in found]


def _of_line(line: str) -> list[str]:
    command, verb, user, *rules = line.split()
    assert (command, verb, user) == ("ACL", "SETUSER", "recsys"), line
    return [rule for rule in rules if rule not in ("on", ">PASSWORD")]
