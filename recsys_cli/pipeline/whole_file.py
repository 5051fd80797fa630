"""Files that are there whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path


def replaceable(path: Path) -> Path:
    """Return the file that ``path`` names, be it there or not, through links.

    Raises OSError for a device, a pipe or a folder: renaming a file over a device removes it. And
    for a link that leads to itself.
    """
    file = Path(os.path.realpath(path))  # Path.resolve has an error of its own for such a link
    if file.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")
    return file


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield where to write what takes the place of ``path`` when the block ends without an error.

    Raises OSError where that fails, as does ``replaceable``.
    """
    file = replaceable(path)
    unfinished = file.with_name(f"{file.name}.tmp")
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
