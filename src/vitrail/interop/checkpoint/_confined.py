"""What a process that reads a stranger's file gives up, for good, before it opens it."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

# Audit events (PEP 578) of what no reader of tensors does. Unpickling is refused long before; this is for what nobody thought of.
FORBIDDEN = (
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill", "subprocess.", "pty."),
    *(
        "os.mkdir",
        "os.remove",
        "os.rmdir",
        "os.rename",
        "os.link",
        "os.symlink",
        "os.chmod",
        "os.chown",
        "os.truncate",
        "shutil.",
    ),
    *("socket.", "ctypes."),
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
HEADROOM = 512 << 20  # bytes beyond the multiple of the file's size
COPIES = 4  # of the file that memory has room for: as read, as found, as written, and one to spare


def confine(size: int, seconds: int) -> None:
    """Limit memory and files by the size of what is read, and processor time; forbid processes, sockets and changes to files."""
    _limit(resource.RLIMIT_CPU, seconds + int(time.process_time()) + 1, grace=5)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, COPIES * size + HEADROOM)
    if (mapped := _mapped()) is not None:
        _limit(resource.RLIMIT_AS, mapped + COPIES * size + HEADROOM)
    sys.addaudithook(_refuse)


def _limit(kind: int, value: int, grace: int = 0) -> None:
    """Lower a limit; a lower one that is there already stays. grace: from the signal that names the limit to the end."""
    _, most = resource.getrlimit(kind)
    both = [each if most == resource.RLIM_INFINITY else min(each, most) for each in (value, value + grace)]
    resource.setrlimit(kind, (both[0], both[1]))


def _mapped() -> int | None:
    """Bytes of address space in use, most of it torch's libraries; None where the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize() if statm.exists() else None


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(FORBIDDEN) or (event == "open" and arguments[2] & WRITING):
        raise PermissionError(f"tried to cause '{event}', which no checkpoint may")
