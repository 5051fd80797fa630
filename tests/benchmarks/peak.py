"""Run a command and write its peak memory to a file, in bytes: ``peak.py FILE COMMAND...``.

A process of its own, and a small one: a child starts with the peak of whoever starts it.
"""

from __future__ import annotations

import os
import sys


def main(file: str, *command: str) -> int:
    child = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    # Linux counts in kilobytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    with open(file, "w") as out:  # noqa: PTH123 - pathlib alone costs a megabyte
        out.write(str(usage.ru_maxrss * unit))
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
