"""Connections to a Postgres such as Supabase's, also through its transaction pooler.

Behind that pooler two transactions may run on two servers' sessions. So nothing here outlives a
transaction: no prepared statement, no SET but SET LOCAL, no advisory lock but for a transaction.
"""

from __future__ import annotations

import contextlib
import selectors
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import psycopg
from psycopg import sql
from psycopg.adapt import Dumper
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format, TransactionStatus

from recsys_cli.addresses import postgres_place
from recsys_cli.connections.postgres_errors import SchemaGone, translated
from recsys_cli.domain import Health
from recsys_cli.errors import BackendUnavailable, SettingsError

CONNECT_TIMEOUT_S = 5
_KEPT = 4
_SILENT_MS = 20_000
_FIRST_USE_LOCK = int.from_bytes(b"recsys", "big")

_T = TypeVar("_T")

Session: TypeAlias = psycopg.Connection[tuple[Any, ...]]
Cursor: TypeAlias = psycopg.Cursor[tuple[Any, ...]]


class Reals(NamedTuple):
    """A real[] in its binary form, as many numbers travel fastest."""

    raw: bytes


class _RealsDumper(Dumper):
    format = Format.BINARY
    oid = 1021

    def dump(self, obj: Reals) -> bytes:
        return obj.raw


# Here, as a session knows only what was registered before it was opened.
psycopg.adapters.register_dumper(Reals, _RealsDumper)


class Part(NamedTuple):
    """What an adapter needs in the schema: ``ddl`` makes it, and may be run again.

    ``{schema}`` in it is the schema, ``table`` the last one that it makes.
    """

    table: str
    ddl: str


class PostgresConnection:
    """Hands out sessions, one per thread at a time. Connects when first used.

    ``url``: ``postgresql://user:password@host:port/database?sslmode=...``; all that recsys makes
    is in ``schema``, but for the queues, which pgmq keeps in its own.
    """

    def __init__(self, url: str, *, schema: str) -> None:
        self._conninfo = _conninfo(url)
        self.schema = schema
        self.place = _place(url)
        self._lock = threading.Lock()
        self._kept: list[Session] = []
        self._ready: set[str] = set()
        self._damaged: set[str] = set()

    @contextlib.contextmanager
    def transaction(self, part: Part | None = None) -> Iterator[Session]:
        """Run the block in one transaction, after making what ``part`` needs where it is missing.

        Raises SchemaGone where a table was dropped; the next transaction makes it again.
        """
        with self._session(part) as session, session.transaction():
            yield session

    def run(
        self,
        part: Part | None,
        statement: sql.Composed,
        values: Sequence[object] | Mapping[str, object] = (),
        *,
        binary: bool = False,
    ) -> Cursor:
        """Run one statement as a transaction of its own: one trip, where a block takes three.

        Where a table was dropped, the part is made again, and then the statement runs.
        """
        try:
            with self._session(part) as session:
                return session.execute(statement, values or None, binary=binary)
        except SchemaGone:
            if part is None:
                raise
        with self._session(part) as session:
            return session.execute(statement, values or None, binary=binary)

    def listener(self, channel: str) -> Session | None:
        """Return a session of its own that hears the channel; None where a pooler is in between.

        Behind it the session is another one's as soon as the transaction ends.
        """
        with translated(self.place):
            session = self._connect()
            if _is_pooled(session):
                session.close()
                return None
            session.execute(self.query("LISTEN {channel}", channel=sql.Identifier(channel)))
            return session

    def query(self, text: str, **names: sql.Composable) -> sql.Composed:
        """Return the statement with ``{schema}`` and the names put in, quoted."""
        known = {
            "schema": sql.Identifier(self.schema),
            "schema_name": sql.Literal(self.schema),
            **names,
        }
        return sql.SQL(text).format(**known)

    def shown(self, part: Part) -> str:
        """Return the SQL that makes the part, to be run by somebody else."""
        return self.query(part.ddl).as_string(None)

    def health(self, part: str) -> Health:
        with self._session(None) as session:
            is_pooled = _is_pooled(session)
            row = session.execute(
                "SELECT current_setting('server_version'),"
                " coalesce((SELECT string_agg(extname || ' ' || extversion, ', ' ORDER BY extname)"
                " FROM pg_extension WHERE extname IN ('vector', 'pgmq')), '')"
            ).fetchone()
        version, extensions = row or ("", "")
        return Health(
            part=part,
            address=self.place,
            version=f"Postgres {version}",
            details=extensions + (", through a pooler" if is_pooled else ""),
        )

    def close(self) -> None:
        with self._lock:
            kept, self._kept = self._kept, []
        for session in kept:
            session.close()

    @contextlib.contextmanager
    def _session(self, part: Part | None) -> Iterator[Session]:
        """Lend a session, after making what ``part`` needs where it is missing."""
        try:
            with translated(self.place):
                session = self._take()
                try:
                    if part is not None and part.table not in self._ready:
                        self._make(session, part)
                    yield session
                finally:
                    self._give_back(session)
        except SchemaGone:
            # Perhaps one table of many: what makes them runs whether or not the last is there.
            if part is not None:
                self._damaged.add(part.table)
                self._ready.discard(part.table)
            raise
        except BackendUnavailable:
            self.close()
            raise

    def _take(self) -> Session:
        with self._lock:
            while self._kept:
                session = self._kept.pop()
                if _is_quiet(session):
                    return session
                session.close()
        return self._connect()

    def _connect(self) -> Session:
        return psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)

    def _give_back(self, session: Session) -> None:
        # Interrupted in the middle of something, it is of no use to anybody else.
        is_idle = session.info.transaction_status == TransactionStatus.IDLE
        with self._lock:
            if is_idle and len(self._kept) < _KEPT:
                self._kept.append(session)
                return
        session.close()

    def _make(self, session: Session, part: Part) -> None:
        """Make the part where it is missing: one at a time, and all of it or nothing."""
        # The first look is no part of the transaction. So the second is the first in it to open a
        # table, and lets the server forget that by its cache another's work is not there.
        if not self._is_there(session, part):
            with session.transaction():
                session.execute("SELECT pg_advisory_xact_lock(%s)", [_FIRST_USE_LOCK])
                if not self._is_there(session, part):
                    session.execute(self.query(part.ddl))
        self._damaged.discard(part.table)
        self._ready.add(part.table)

    def _is_there(self, session: Session, part: Part) -> bool:
        found = session.execute(
            "SELECT FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace"
            " WHERE relname = %s::name AND nspname = %s::name",
            [part.table, self.schema],
        )
        return found.rowcount > 0 and part.table not in self._damaged


def remade(run: Callable[[], _T]) -> _T:
    """Return what ``run`` returns; once more where a table was dropped, which is made by then."""
    try:
        return run()
    except SchemaGone:
        return run()


def _is_quiet(session: Session) -> bool:
    """Whether the server has not said anything unasked: as a rule that it ends the session."""
    with selectors.DefaultSelector() as selector:
        selector.register(session.fileno(), selectors.EVENT_READ)
        return not selector.select(0)


def _is_pooled(session: Session) -> bool:
    """Whether another process answers than the one that let us in."""
    row = session.execute("SELECT pg_backend_pid()").fetchone()
    return row != (session.info.backend_pid,)


def _conninfo(url: str) -> str:
    if not url:
        raise SettingsError(
            "there is no address of a Postgres", hint="set SUPABASE_DB_URL to postgresql://..."
        )
    given = _read(url)
    if given is None or postgres_place(url) == "***":
        # Why is not said: it may quote the password.
        raise SettingsError(
            "SUPABASE_DB_URL is no address of a Postgres",
            hint="write it as postgresql://user:password@host:port/database,"
            " and in a password / ? # @ % as %2F %3F %23 %40 %25",
        )
    usual = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "recsys",
        "tcp_user_timeout": _SILENT_MS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
    }
    return make_conninfo(**cast("dict[str, Any]", usual | given))


def _read(url: str) -> dict[str, Any] | None:
    """Return what libpq makes of the URL, None where it refuses it."""
    with contextlib.suppress(psycopg.ProgrammingError):
        return conninfo_to_dict(url)
    return None


def _place(url: str) -> str:
    """Return host, port and database: nothing that may be secret."""
    given = conninfo_to_dict(url)
    host = given.get("host") or "localhost"
    return f"{host}:{given.get('port') or 5432}/{given.get('dbname') or ''}"
