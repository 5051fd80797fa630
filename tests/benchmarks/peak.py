"""Run a command and write its peak memory to a file: ``peak.py FILE COMMAND...``.

Two numbers, in bytes: the peak as the system accounts it; and the largest that was seen, every ten
milliseconds, of what is the process's own, without the pages of files that it maps. Where the
system does not tell the second, it is the first again.

A process of its own, and a small one: a child starts with the peak of whoever starts it.
"""

from __future__ import annotations

import os
import sys
import time

EVERY_S = 0.01


def main(file: str, *command: str) -> int:
    child = os.posix_spawn(command[0], command, os.environ)
    own = 0
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        own = max(own, own_bytes(child))
        time.sleep(EVERY_S)
    # Linux counts in kilobytes, macOS in bytes.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    with open(file, "w") as out:  # noqa: PTH123 - pathlib alone costs a megabyte
        out.write(f"{peak} {own or peak}")
    return os.waitstatus_to_exitcode(status)


def own_bytes(process: int) -> int:
    """Return what is neither a file's nor shared, 0 where the system does not tell."""
    try:
        with open(f"/proc/{process}/status") as status:  # noqa: PTH123
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
