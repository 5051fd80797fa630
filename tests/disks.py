"""Disks that are full: a small tmpfs in a mount namespace, and where none may be made, a limit."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

_UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]
_MOUNT = 'mount -t tmpfs -o size="$1" tmpfs "$0" && echo ready && exec cat'
_SIZE_BYTES = 64 << 20


class Disk(Protocol):
    """``folder`` is on it; ``complaints`` are what is said when it is full."""

    folder: Path
    complaints: tuple[str, ...]

    @property
    def prefix(self) -> Sequence[str]:
        """Return what goes before a command that is to see it."""
        ...

    def leave(self, room_bytes: int, *running: subprocess.Popen[str]) -> None:
        """Leave so much room to the processes that run, and to those that will."""
        ...

    def free(self, *running: subprocess.Popen[str]) -> None:
        """Leave more room than anyone needs."""
        ...

    def copy(self, to: Path) -> Path:
        """Copy the folder to where everyone sees it."""
        ...


class SmallTmpfs:
    complaints: tuple[str, ...] = ("no space is left for",)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._holder = subprocess.Popen(
            [*_UNSHARE, "sh", "-c", _MOUNT, folder, str(_SIZE_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        # The folder as it is in there, seen from out here.
        self._inside = Path(f"/proc/{self._holder.pid}/root{folder}")
        self._ballast = self._inside / "ballast"

    @property
    def prefix(self) -> Sequence[str]:
        target = f"--target={self._holder.pid}"
        return ["nsenter", target, "--user", "--mount", "--preserve-credentials"]

    def leave(self, room_bytes: int, *_: subprocess.Popen[str]) -> None:
        self._ballast.write_bytes(b"")
        room = os.statvfs(self._inside)
        more = room.f_bavail * room.f_frsize - room_bytes
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as ballast:
            ballast.write(bytes(max(0, more)))

    def free(self, *_: subprocess.Popen[str]) -> None:
        self._ballast.unlink()

    def copy(self, to: Path) -> Path:
        return Path(shutil.copytree(self._inside, to, ignore=shutil.ignore_patterns("ballast")))

    def close(self) -> None:
        self._holder.communicate()


class FileSizeLimit:
    """No file may grow longer: RLIMIT_FSIZE, which needs no permission."""

    complaints: tuple[str, ...] = ("cannot write to", "no space is left for")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._limit = resource.RLIM_INFINITY

    @property
    def prefix(self) -> Sequence[str]:
        return ["prlimit", f"--fsize={self._limit}:" if self._limit >= 0 else "--fsize=unlimited:"]

    def leave(self, room_bytes: int, *running: subprocess.Popen[str]) -> None:
        self._set(room_bytes, running)

    def free(self, *running: subprocess.Popen[str]) -> None:
        self._set(resource.RLIM_INFINITY, running)

    def _set(self, limit: int, running: Sequence[subprocess.Popen[str]]) -> None:
        self._limit = limit
        for process in running:
            _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, hard))

    def copy(self, to: Path) -> Path:
        return Path(shutil.copytree(self.folder, to))

    def close(self) -> None:
        pass


def may_mount() -> bool:
    """Return whether this user may make a mount namespace here."""
    try:
        command = [*_UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """Make a disk at ``folder``, the best there can be."""
    folder.mkdir()
    made = SmallTmpfs(folder) if may_mount() else FileSizeLimit(folder)
    try:
        yield made
    finally:
        made.close()
