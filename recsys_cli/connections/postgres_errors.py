"""What Postgres and its driver can say against a statement, as our errors, by SQLSTATE."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import psycopg

from recsys_cli.errors import BackendRefused, BackendUnavailable, RecsysError

_INIT = "let a role that may create it run: recsys init --print-sql | psql"
_GRANT = f"{_INIT}; or let it grant what README.md has under Permissions on Postgres"
_CREDENTIALS = "see the user name and the password in SUPABASE_DB_URL"
_PROJECT = "the user of a pooler in SUPABASE_DB_URL is ROLE.PROJECT, such as postgres.PROJECT"

_WAITING = {
    "08": "does not answer",
    "25006": "takes no writes, as a replica or a project without disk space",
    "40": "gave way to another transaction",
    "53": "has no room for this now",
    "55": "keeps this locked",
    "57": "is going down or starting, or took too long",
    "58": "cannot read or write its files",
}
"""By SQLSTATE or its class: what passes (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""

_REFUSING = {
    "28": ("does not let this user in", _CREDENTIALS),
    "3D": ("has no such database", "see the name of the database in SUPABASE_DB_URL"),
    "42501": ("does not allow this role to do that", _GRANT),
    "0A": ("cannot do that", "see the extensions of the project"),
    "58P01": ("does not have the extension", "install pgmq and pgvector on the server"),
}
"""By SQLSTATE or its class: what stays until somebody changes it."""

_GONE = frozenset({"42P01", "3F000", "42883"})
_OUR_OWN = "P0001"
"""What a RAISE in our own SQL says."""

# What libpq says where there is no SQLSTATE, as the server let nobody in.
_NOT_LET_IN = (
    ("authentication failed", _CREDENTIALS),
    ("no password supplied", _CREDENTIALS),
    # What Supabase's pooler says of a user without the project, or of a project that is paused.
    ("Tenant or user not found", _PROJECT),
    ("(ENOTFOUND) tenant/user", _PROJECT),
    ("no tenant identifier", _PROJECT),
    ("no pg_hba.conf entry", "add sslmode=require to SUPABASE_DB_URL"),
    ("certificate", "see sslmode and sslrootcert in SUPABASE_DB_URL"),
    ("does not support SSL", "the server has no TLS: see sslmode in SUPABASE_DB_URL"),
    ("does not exist", "see the role and the database in SUPABASE_DB_URL"),
)


_OF_LIBPQ = re.compile(r"^(.*connection to server (at|on) .* failed: )?((FATAL|ERROR):  )?")


class SchemaGone(BackendRefused):
    """A table, a function or a schema is not (any longer) there."""


@contextlib.contextmanager
def translated(place: str) -> Iterator[None]:
    """Raise what the driver has against the server at ``place`` as one of our errors."""
    try:
        yield
    except psycopg.Error as error:
        raise translation(place, error) from error


def translation(place: str, error: psycopg.Error) -> RecsysError:
    """Return our error for one of the driver's."""
    state, said = error.sqlstate or "", _said(error)
    if state in _GONE:
        return SchemaGone(f"Postgres at {place} lacks what recsys made there: {said}", hint=_INIT)
    meaning = _REFUSING.get(state) or _REFUSING.get(state[:2])
    if meaning:
        return BackendRefused(f"Postgres at {place} {meaning[0]}: {said}", hint=meaning[1])
    if what := _WAITING.get(state) or _WAITING.get(state[:2]):
        return BackendUnavailable(f"Postgres at {place} {what}: {said}")
    if state == _OUR_OWN:
        return BackendRefused(f"Postgres at {place}: {said}", hint=error.diag.message_hint or "")
    if state:
        return BackendRefused(f"Postgres at {place} refused a statement ({state}): {said}")
    return _without_state(place, error, said)


def _without_state(place: str, error: psycopg.Error, said: str) -> RecsysError:
    for words, hint in _NOT_LET_IN:
        if words in str(error):
            return BackendRefused(f"Postgres at {place} lets nobody in: {said}", hint=hint)
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return BackendUnavailable(f"Postgres at {place} does not answer: {said}")
    return BackendRefused(f"Postgres at {place} cannot be used: {said}")


def _said(error: psycopg.Error) -> str:
    """Return the server's own words in one line; they name objects and no password."""
    said = error.diag.message_primary or str(error)
    # What begins with a tab is advice of libpq's.
    lines = [_OF_LIBPQ.sub("", line) for line in said.splitlines() if not line.startswith("\t")]
    return next(filter(None, reversed(lines)), type(error).__name__)
