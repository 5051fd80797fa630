"""The bytes of a feed, unpacked if they are gzip (told by the magic number, not by the name).

Where the data breaks off, what came before still counts: :attr:`Source.damage` says what happened,
instead of an exception that would take the good rows with it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from io import BufferedReader
from itertools import chain
from typing import IO, cast

from recsys_cli.cleaning import MAX_PRODUCT_BYTES
from recsys_cli.errors import FeedError

BLOCK_BYTES = 256 * 1024
HEAD_BYTES = 64 * 1024
FIRST_LINE_BYTES = 2 * MAX_PRODUCT_BYTES
"""JSON escapes can make a product's text longer than the product."""

_GZIP = b"\x1f\x8b"


class Source:
    """A file or standard input, read once from front to back."""

    def __init__(self, path: str) -> None:
        self.is_stdin = path == "-"
        self.name = "standard input" if self.is_stdin else path
        self.bytes_read = 0
        self.damage = ""
        """Why the data ends before its end, or nothing."""
        self._file = cast(BufferedReader, sys.stdin.buffer) if self.is_stdin else _open(path)
        self.total_bytes = None if self.is_stdin else _size(self._file)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        raw = self._raw_blocks()
        first = next(raw, b"")
        while 0 < len(first) < len(_GZIP) and (more := next(raw, b"")):
            first += more
        self.is_compressed = first.startswith(_GZIP)
        blocks = chain([first], raw)
        self._blocks = self._unpacked(blocks) if self.is_compressed else blocks
        self.head = b""
        """The first bytes, enough to tell the format; still part of :meth:`blocks`."""
        while not self._tells_the_format() and (more := next(self._blocks, b"")):
            self.head += more

    def _tells_the_format(self) -> bool:
        """Whether the head holds the first line, which may be a whole product."""
        has_line = b"\n" in self.head.lstrip()
        return len(self.head) >= (HEAD_BYTES if has_line else FIRST_LINE_BYTES)

    def blocks(self) -> Iterator[bytes]:
        """Yield the unpacked data, in pieces of a few hundred kilobytes at most."""
        return chain([self.head], self._blocks)

    def close(self) -> None:
        if not self.is_stdin:
            self._file.close()

    @contextlib.contextmanager
    def seekable(self) -> Iterator[IO[bytes]]:
        """Give the unpacked data as a file that can be searched, on disk where need be."""
        if not self.is_stdin and not self.is_compressed and self._file.seekable():
            yield self._file
            return
        with tempfile.TemporaryFile() as spooled:
            spooled.writelines(self.blocks())
            spooled.seek(0)
            yield spooled

    def _raw_blocks(self) -> Iterator[bytes]:
        try:
            while block := self._file.read1(BLOCK_BYTES):
                self.bytes_read += len(block)
                yield block
        except OSError as error:
            raise FeedError(f"cannot read {self.name}: {error.strerror or error}") from error

    def _unpacked(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        inflate = zlib.decompressobj(wbits=31)
        try:
            for block in blocks:
                rest = block
                while rest:
                    if inflate.eof:  # the next member of a concatenated file, or padding
                        rest = rest.lstrip(b"\0")
                        inflate = zlib.decompressobj(wbits=31) if rest else inflate
                    # The bound keeps a small file from unpacking into all of the memory at once.
                    if rest and (text := inflate.decompress(rest, BLOCK_BYTES)):
                        yield text
                    rest = inflate.unconsumed_tail or inflate.unused_data
        except zlib.error as error:
            self.damage = f"the gzip data is damaged here ({error})"
            return
        while tail := inflate.decompress(inflate.unconsumed_tail, BLOCK_BYTES):
            yield tail
        if not inflate.eof:
            self.damage = "the gzip data is cut off here"


def _open(path: str) -> BufferedReader:
    try:
        return open(path, "rb")  # noqa: PTH123  # the Source closes it
    except FileNotFoundError:
        raise FeedError(f"there is no file {path!r}") from None
    except IsADirectoryError:
        raise FeedError(
            f"{path!r} is a folder, not a feed", hint=f"recsys import {path}/*"
        ) from None
    except PermissionError:
        raise FeedError(f"no permission to read {path!r}") from None
    except (OSError, ValueError) as error:  # a name that no file can have
        raise FeedError(f"cannot open {path!r}: {error}") from error


def _size(file: BufferedReader) -> int | None:
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
