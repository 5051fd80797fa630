"""Embedding models as files."""

from __future__ import annotations

from pathlib import Path

from recsys_cli.errors import InvalidModel
from recsys_cli.pipeline.whole_file import whole_file


def read_artifact(path: Path) -> bytes:
    """Read a model's file. Raises InvalidModel where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidModel(f"cannot read the model {path}: {error.strerror}") from error


def save_artifact(artifact: bytes, path: Path) -> None:
    """Write a model's file, whole or not at all. Raises InvalidModel where that fails."""
    try:
        with whole_file(path) as unfinished:
            unfinished.write_bytes(artifact)
    except OSError as error:
        raise InvalidModel(f"cannot write the model {path}: {error.strerror}") from error
