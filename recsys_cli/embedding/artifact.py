"""The file form of a model: magic, format version, JSON header, raw arrays, checksum.

    8 bytes   the magic "RECSYSEM"
    4 bytes   format version, little-endian
    4 bytes   length of the header, little-endian
    header    JSON: the kind of model, its parameters, the name, type and length of each array
    arrays    one after the other, little-endian
    32 bytes  SHA-256 of everything before

Not compressed, since compressors differ between platforms and equal models shall be equal bytes.
Reading allocates nothing: the arrays are views of the artifact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from recsys_cli.errors import InvalidModel

MAGIC = b"RECSYSEM"
FORMAT_VERSION = 1
MAX_BYTES = 256_000_000
MAX_HEADER_BYTES = 1_000_000

_PREFIX = len(MAGIC) + 8
_CHECKSUM = hashlib.sha256().digest_size
_TYPES: dict[str, np.dtype[Any]] = {
    "<u4": np.dtype("<u4"),
    "<f4": np.dtype("<f4"),
    "|u1": np.dtype("|u1"),
}

Array: TypeAlias = npt.NDArray[Any]


class _ArrayHeader(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    dtype: str
    length: int


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    parameters: dict[str, int]
    arrays: list[_ArrayHeader]


class Artifact(msgspec.Struct, frozen=True):
    kind: str
    parameters: dict[str, int]
    arrays: dict[str, Array]


def pack(kind: str, parameters: Mapping[str, int], arrays: Mapping[str, Array]) -> bytes:
    """Return the artifact; equal content gives equal bytes. Arrays are one-dimensional."""
    header = msgspec.json.encode(
        _Header(
            kind=kind,
            parameters=dict(parameters),
            arrays=[
                _ArrayHeader(n, a.dtype.newbyteorder("<").str, len(a)) for n, a in arrays.items()
            ],
        ),
        order="deterministic",
    )
    numbers = FORMAT_VERSION.to_bytes(4, "little") + len(header).to_bytes(4, "little")
    body = b"".join(a.astype(a.dtype.newbyteorder("<")).tobytes() for a in arrays.values())
    content = MAGIC + numbers + header + body
    return content + hashlib.sha256(content).digest()


def unpack(raw: bytes) -> Artifact:
    """Return what ``raw`` holds. Raises InvalidModel, saying what is wrong with it."""
    content = _checked(raw)
    header_length = int.from_bytes(raw[_PREFIX - 4 : _PREFIX], "little")
    if header_length > min(MAX_HEADER_BYTES, len(content) - _PREFIX):
        raise invalid(f"its header claims {header_length} bytes")
    try:
        header = msgspec.json.decode(content[_PREFIX : _PREFIX + header_length], type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"its header cannot be read ({error})") from error
    return Artifact(
        kind=header.kind,
        parameters=header.parameters,
        arrays=_arrays(header.arrays, content[_PREFIX + header_length :]),
    )


def digest(raw: bytes) -> str:
    """Return the checksum of an artifact as 64 hexadecimal digits: a hash of its content."""
    return raw[-_CHECKSUM:].hex()


def check_kind(opened: Artifact, kind: str, recipe: int) -> None:
    """Raise InvalidModel where the artifact is of another kind, or of another recipe."""
    if opened.kind != kind:
        raise InvalidModel(
            f"the embedding model is of kind {opened.kind!r}, and EMBEDDING_MODEL is {kind!r}",
            hint=f"set EMBEDDING_MODEL={opened.kind}, or fit a new model: recsys reembed",
        )
    if opened.parameters.get("recipe") != recipe:
        raise InvalidModel(
            f"the embedding model is of recipe {opened.parameters.get('recipe')}; this recsys "
            f"reads {kind!r}, recipe {recipe}",
            hint="fit a new one: recsys reembed",
        )


def _checked(raw: bytes) -> memoryview:
    if not raw.startswith(MAGIC):
        raise invalid(f"it begins with {raw[: len(MAGIC)]!r}, not with {MAGIC!r}")
    if not _PREFIX + _CHECKSUM <= len(raw) <= MAX_BYTES:
        raise invalid(f"it is {len(raw)} bytes long")
    version = int.from_bytes(raw[len(MAGIC) : len(MAGIC) + 4], "little")
    if version != FORMAT_VERSION:
        raise InvalidModel(
            f"the embedding model has format {version}; this recsys reads {FORMAT_VERSION}",
            hint="upgrade recsys, or fit a new model: recsys reembed",
        )
    content = memoryview(raw)[:-_CHECKSUM]
    if hashlib.sha256(content).digest() != raw[-_CHECKSUM:]:
        raise invalid("its checksum does not match: it is damaged or cut off")
    return content


def _arrays(headers: list[_ArrayHeader], body: memoryview) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    start = 0
    for header in headers:
        dtype = _TYPES.get(header.dtype)
        if dtype is None:
            raise invalid(f"array {header.name!r} has the unknown type {header.dtype!r}")
        end = start + header.length * dtype.itemsize
        if header.length < 0 or end > len(body):
            raise invalid(f"array {header.name!r} claims {header.length} values")
        arrays[header.name] = np.frombuffer(body[start:end], dtype)
        start = end
    if start != len(body):
        raise invalid(f"{len(body) - start} bytes belong to no array")
    return arrays


def invalid(reason: str) -> InvalidModel:
    """Return the error for an artifact that cannot be used."""
    return InvalidModel(
        f"the embedding model is unusable: {reason}", hint="fit a new one: recsys reembed"
    )
