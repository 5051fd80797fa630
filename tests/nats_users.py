"""The users of NATS that the README tells operators to create: the one place where they are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.readme import README, blocks

USER = "recsys"
PASSWORD = "PASSWORD"  # noqa: S105 - as it stands there


def worker_subjects() -> list[str]:
    """Return what a user publishes to who imports, consumes and queries."""
    return _published()[0]


def operator_subjects() -> list[str]:
    """Return what managing groups, dead letters and models takes on top."""
    return _published()[1]


def config(publish: Sequence[str]) -> str:
    """Return the configuration of a server whose one user may publish to these, as shown."""
    (shown, _) = _blocks()
    allowed = "\n".join(f'"{subject}"' for subject in publish)
    return re.sub(r"publish: \[.*?\]", lambda _: f"publish: [\n{allowed}\n]", shown, flags=re.S)


def _published() -> list[list[str]]:
    lists = [body.partition("publish: [")[2] or body for body in _blocks()]
    return [re.findall(r'"([^"]+)"', body) for body in lists]


def _blocks() -> list[str]:
    text = README.read_text("utf-8")
    return [b.body for b in blocks(text) if (b.section, b.language) == ("On NATS", "nats")]
