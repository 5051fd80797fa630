"""An operator of NATS with one account and its users, as ``nsc`` makes them: keys, JWTs, files.

The form of keys and tokens is that of https://docs.nats.io, "JWT in NATS".
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import nkeys

UNLIMITED = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
JETSTREAM = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


class Key:
    """A pair of keys; what kind of thing it is for is in its first byte."""

    def __init__(self, kind: int) -> None:
        self.seed: bytes = nkeys.encode_seed(os.urandom(32), kind)
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public = self._pair.public_key.decode()

    def signed(self, name: str, subject: str, claims: dict[str, Any], **more: object) -> str:
        """Return a JWT that says this of ``subject``."""
        body = {
            "iat": int(time.time()),
            "iss": self.public,
            "name": name,
            "sub": subject,
            "nats": claims | {"version": 2},
            **more,
        }
        identity = hashlib.sha256(json.dumps(body).encode()).digest()
        body["jti"] = base64.b32encode(identity).decode().rstrip("=")
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        text = ".".join(_encoded(json.dumps(part).encode()) for part in (head, body))
        return f"{text}.{_encoded(self._pair.sign(text.encode()))}"


class Operator:
    def __init__(self) -> None:
        self._key = Key(nkeys.PREFIX_BYTE_OPERATOR)
        self._system = Key(nkeys.PREFIX_BYTE_ACCOUNT)
        self._account = Key(nkeys.PREFIX_BYTE_ACCOUNT)

    @property
    def config(self) -> str:
        """What the server's configuration says of it."""
        operator = self._key.signed(
            "operator",
            self._key.public,
            {"type": "operator", "system_account": self._system.public},
        )
        system = self._of_account("SYS", self._system, UNLIMITED)
        shop = self._of_account("SHOP", self._account, UNLIMITED | JETSTREAM)
        return (
            f"operator: {operator}\nsystem_account: {self._system.public}\nresolver: MEMORY\n"
            f"resolver_preload {{\n{self._system.public}: {system}\n"
            f"{self._account.public}: {shop}\n}}\n"
        )

    def credentials(self, file: Path, **more: object) -> Path:
        """Write the credentials of a new user; ``more``: claims, such as ``exp``."""
        user = Key(nkeys.PREFIX_BYTE_USER)
        limits = {"type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
        token = self._account.signed("shop", user.public, limits, **more)
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n"
            "NKEY Seed printed below can be used to sign and prove identity.\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n"
            "------END USER NKEY SEED------\n"
        )
        return file

    def _of_account(self, name: str, key: Key, limits: dict[str, int]) -> str:
        return self._key.signed(name, key.public, {"type": "account", "limits": limits})


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
