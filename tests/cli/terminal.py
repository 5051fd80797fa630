"""Run a command in a terminal of a given width and read what a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def in_terminal(columns: int, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Return everything on the screen, escape sequences included."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environ = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "recsys_cli", *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**environ, "TERM": "xterm-256color", **(env or {})},
        close_fds=True,
    )
    os.close(terminal)
    seen = b""
    while True:
        try:
            chunk = os.read(controller, 65536)
        except OSError:  # how Linux says that the other side has closed
            break
        if not chunk:
            break
        seen += chunk
    os.close(controller)
    process.wait(timeout=30)
    return seen.decode()


def plain(screen: str) -> list[str]:
    """Return the screen's lines without colours."""
    return ESCAPE.sub("", screen).replace("\r", "").splitlines()
