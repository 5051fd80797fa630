"""Settings: flags over environment over ``recsys.toml`` over defaults, as one frozen value.

This is the only module that reads the environment. ``recsys.toml`` lies in the working directory,
or where RECSYS_CONFIG says, and has the names of the environment in lower case:
``redis_url = "rediss://cache.example:6379/0"``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from difflib import get_close_matches
from enum import EnumType, StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

from recsys_cli.addresses import (
    has_secret,
    is_encrypted,
    is_postgres_in_plain,
    is_unverified,
    postgres_place,
    redact,
    sends_in_clear,
)
from recsys_cli.errors import SettingsError

NEIGHBOR_IS_STRONG = 0.75
"""The cosine from which on two products count as close, where SIMILARITY_THRESHOLD is not set."""

LONGEST_SCHEMA_BYTES = 48
"""A trigger is named after the schema, and Postgres cuts what is longer than 63 bytes."""

_CUTTING_SQL = ("%", "$$")
"""The driver takes the one for the place of a value, and a block of SQL ends at the other."""

SECRETS = frozenset(
    {"nats_password", "nats_token", "pinecone_api_key", "redis_password", "supabase_db_url"}
)
_NAME = Annotated[str, Meta(min_length=1, max_length=256)]


class EventsBackend(StrEnum):
    """Where events go, and the catalog unless it is told otherwise."""

    EMBEDDED = "embedded"
    REDIS = "redis"
    NATS = "nats"
    SUPABASE = "supabase"


class VectorsBackend(StrEnum):
    EMBEDDED = "embedded"
    REDIS = "redis"
    SUPABASE = "supabase"
    PINECONE = "pinecone"


class ModelKind(StrEnum):
    TFIDF = "tfidf"
    NEURAL = "neural"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting with its default. ``origins`` says where a value that is not one came from."""

    event_processor_type: EventsBackend | None = None
    catalog_type: EventsBackend | None = None
    vector_store_type: VectorsBackend | None = None
    vector_dimension: Annotated[int, Meta(ge=8, le=4096)] = 384
    vector_index_name: _NAME = "product:vectors"
    embedding_model: ModelKind = ModelKind.TFIDF
    embedding_model_path: str | None = None
    embedding_keep_marks: bool = False
    similarity_threshold: Annotated[float, Meta(ge=-1, le=1)] | None = None
    product_stream_key: _NAME = "product:updates"
    product_stream_group: _NAME = "product-processors"
    product_stream_consumer: _NAME = "worker-{}"
    redis_url: str | None = None
    redis_host: _NAME = "localhost"
    redis_port: Annotated[int, Meta(ge=1, le=65535)] = 6379
    redis_db: Annotated[int, Meta(ge=0)] = 0
    redis_username: str | None = None
    redis_password: str | None = None
    redis_tls: bool = False
    redis_ca_certs: str | None = None
    pinecone_api_key: str | None = None
    pinecone_host: str | None = None
    pinecone_cloud: _NAME = "aws"
    pinecone_region: _NAME = "us-east-1"
    pinecone_controller_host: _NAME = "https://api.pinecone.io"
    pinecone_wait_visible: bool = False
    supabase_db_url: str | None = None
    supabase_schema: _NAME = "recsys"
    nats_url: _NAME = "nats://localhost:4222"
    nats_user: str | None = None
    nats_password: str | None = None
    nats_token: str | None = None
    nats_credentials: str | None = None
    nats_ca_certs: str | None = None
    recsys_home: str = ""
    origins: dict[str, str] = {}

    @property
    def default_backend(self) -> str:
        """Redis as soon as any REDIS_* is set: nothing is guessed from what answers on a port."""
        configured = any(name.startswith("redis_") for name in self.origins)
        return "redis" if configured else "embedded"

    @property
    def events_backend(self) -> EventsBackend:
        return self.event_processor_type or EventsBackend(self.default_backend)

    @property
    def catalog_backend(self) -> EventsBackend:
        return self.catalog_type or self.events_backend

    @property
    def vectors_backend(self) -> VectorsBackend:
        return self.vector_store_type or VectorsBackend(self.default_backend)

    @property
    def redis_address(self) -> str:
        """The URL to connect to; it may hold a password, so show it only through redact()."""
        if self.redis_url:
            return self.redis_url
        scheme = "rediss" if self.wants_tls else "redis"
        return f"{scheme}://{self.redis_host}:{self.redis_port}/{self.redis_db}"

    @property
    def wants_tls(self) -> bool:
        """Whether Redis may only be reached over TLS. Who names a CA wants it asked."""
        return self.redis_tls or self.redis_ca_certs is not None

    @property
    def embedded_path(self) -> Path:
        return Path(self.recsys_home or default_home()).expanduser() / "recsys.db"

    @property
    def consumer_id(self) -> str:
        """This process's consumer name: ``{}`` in the setting becomes host and process id."""
        return self.product_stream_consumer.replace("{}", f"{socket.gethostname()}-{os.getpid()}")

    def describe(self) -> str:
        """Return in a few words which backend the commands talk to, without secrets."""
        places = {part: self._place(backend) for part, backend in self._backends.items()}
        if len(set(places.values())) == 1:
            return places["events"]
        return ", ".join(f"{part}: {place}" for part, place in places.items())

    def warnings(self) -> list[str]:
        """Return what an operator should know before anything is sent."""
        said = []
        if self.origins.get("redis_url") == "flag" and has_secret(self.redis_address):
            said.append(
                "every user of this machine can read the password in --redis; put it into"
                " REDIS_PASSWORD, REDIS_URL or recsys.toml instead"
            )
        if "redis" in self._backends.values() and is_unverified(self.redis_address):
            said.append(
                "the certificate of Redis is not verified, as its URL asks: whoever is in between"
                " can read and change everything"
            )
        if "pinecone" in self._backends.values():
            said += [
                f"{name.upper()} is http://: everybody on the way can read the API key and change"
                " everything; write https://"
                for name in ("pinecone_host", "pinecone_controller_host")
                if sends_in_clear(getattr(self, name) or "")
            ]
        if "supabase" in self._backends.values() and is_postgres_in_plain(
            self.supabase_db_url or ""
        ):
            said.append(
                "the connection to Postgres need not be encrypted: add sslmode=require, or better"
                " sslmode=verify-full with sslrootcert, to SUPABASE_DB_URL"
            )
        return said

    def unused(self) -> list[str]:
        """Return a sentence for each backend that has settings, and that no part is on."""
        said = []
        kinds = {"EVENT_PROCESSOR_TYPE": EventsBackend, "VECTOR_STORE_TYPE": VectorsBackend}
        for backend in dict.fromkeys((*EventsBackend, *VectorsBackend)):
            names = [n.upper() for n in self.origins if n.startswith(f"{backend}_")]
            if names and backend not in self._backends.values():
                choices = [f"{n}={backend}" for n, kind in kinds.items() if backend in list(kind)]
                said.append(
                    f"{', '.join(names)}: set, and nothing is on {backend}; to use it, set"
                    f" {' or '.join(choices)}"
                )
        return said

    def shown(self) -> list[tuple[str, str, str]]:
        """Return (NAME, value without secrets, origin) of every setting."""
        derived = {
            "event_processor_type": self.events_backend,
            "catalog_type": self.catalog_backend,
            "vector_store_type": self.vectors_backend,
            "recsys_home": self.recsys_home or default_home(),
        }
        rows = []
        for name in self.__struct_fields__:
            if name != "origins":
                value = derived.get(name, getattr(self, name))
                text = "not set" if value is None else redact(str(value))
                hidden = name in SECRETS and value is not None
                origin = self.origins.get(name, "default")
                rows.append((name.upper(), "***" if hidden else text, origin))
        return rows

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value}' for name, value, _ in self.shown())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, value) for name, value, _ in self.shown()]

    @property
    def _backends(self) -> dict[str, EventsBackend | VectorsBackend]:
        return {
            "events": self.events_backend,
            "catalog": self.catalog_backend,
            "vectors": self.vectors_backend,
        }

    def _place(self, backend: EventsBackend | VectorsBackend) -> str:
        match backend:
            case EventsBackend.EMBEDDED | VectorsBackend.EMBEDDED:
                return f"embedded file {self.embedded_path}"
            case EventsBackend.REDIS | VectorsBackend.REDIS:
                return f"Redis at {redact(self.redis_address)}"
            case VectorsBackend.PINECONE:
                return f"Pinecone at {redact(self.pinecone_host or '(PINECONE_HOST is not set)')}"
            case EventsBackend.SUPABASE | VectorsBackend.SUPABASE:
                return f"Supabase at {postgres_place(self.supabase_db_url or '')}"
            case EventsBackend.NATS:
                return f"NATS at {redact(self.nats_url)}"


def load(
    flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings. Raises SettingsError naming the setting, its value and its origin."""
    environ = os.environ if environ is None else environ
    names = [name for name in Settings.__struct_fields__ if name != "origins"]
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for origin, source in (
        _toml(environ.get("RECSYS_CONFIG"), names),
        ("environment", {n: environ[n.upper()] for n in names if environ.get(n.upper())}),
        ("flag", {n: v for n, v in (flags or {}).items() if v is not None}),
    ):
        for name, raw in source.items():
            values[name] = _convert(name, raw, origin)
            origins[name] = origin
    settings = Settings(**values, origins=origins)  # type: ignore[arg-type]  # converted by _convert
    _refuse_plain_text(settings)
    _refuse_schema(settings)
    return settings


def _refuse_plain_text(settings: Settings) -> None:
    """Two settings that contradict each other must not end without encryption."""
    if settings.wants_tls and not is_encrypted(settings.redis_address):
        name = "redis_tls" if settings.redis_tls else "redis_ca_certs"
        raise SettingsError(
            f"{name.upper()} ({settings.origins.get(name)}) asks for TLS, and REDIS_URL"
            f" ({settings.origins.get('redis_url')}) is {redact(settings.redis_address)!r},"
            " which has none",
            hint="write rediss://",
        )


def _refuse_schema(settings: Settings) -> None:
    """A shop's own table ``products`` must not be taken for that of recsys."""
    if "supabase" not in settings._backends.values():
        return
    schema = settings.supabase_schema
    size = len(schema.encode(errors="replace"))
    if schema == "public":
        why = "where a shop has its own tables"
    elif size > LONGEST_SCHEMA_BYTES:
        why = f"which has {size} bytes"
    elif cutting := [mark for mark in _CUTTING_SQL if mark in schema]:
        why = f"which has {cutting[0]}"
    else:
        return
    raise SettingsError(
        f"SUPABASE_SCHEMA ({settings.origins.get('supabase_schema')}) is {schema!r}, {why}",
        hint=f"name a schema for recsys alone, of {LONGEST_SCHEMA_BYTES} bytes at most,"
        " without % and $$",
    )


def default_home() -> str:
    """Return the folder of the embedded file where RECSYS_HOME is not set: the user's data."""
    from platformdirs import user_data_dir  # noqa: PLC0415 - most commands never need it

    return user_data_dir("recsys", appauthor=False)


def _toml(chosen: str | None, names: list[str]) -> tuple[str, dict[str, Any]]:
    path = Path(chosen or "recsys.toml")
    if not chosen and not path.is_file():
        return str(path), {}
    import tomllib  # noqa: PLC0415 - only where there is a file

    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    for name in values:
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}?" if near else "recsys config show lists the names"
            raise SettingsError(f"{path} has an unknown setting: {name}", hint=hint)
    return str(path), values


def _convert(name: str, raw: object, origin: str) -> object:
    hint = next(f.type for f in msgspec.structs.fields(Settings) if f.name == name)
    try:
        return msgspec.convert(raw, hint, strict=False)
    except msgspec.ValidationError as error:
        shown = "***" if name in SECRETS else repr(redact(str(raw)))
        raise SettingsError(
            f"{name.upper()} ({origin}) is {shown}: {_reason(hint, str(error))}",
            hint="recsys config show lists every setting, its value and where it comes from",
        ) from None


def _reason(hint: object, reason: str) -> str:
    for kind in get_args(hint) or (hint,):
        if isinstance(kind, EnumType):
            return "it must be one of " + ", ".join(kind)
    return reason.lower().replace("`", "").replace(" | null", "")
