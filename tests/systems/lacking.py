"""Take from this process what another system lacks. Called once torch and psutil are imported, and before vitrail is.

What is taken is what the standard library's documentation says is missing there, as far as our code could have asked for it.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import signal
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil  # noqa: F401 - which has a form of its own for every system, chosen when it is imported

LINUX_ONLY = (
    *("sched_getaffinity", "sched_setaffinity", "posix_fadvise", "posix_fallocate", "memfd_create", "splice"),
    *("copy_file_range", "getrandom", "sendfile"),
)
POSIX_ONLY = (
    *(
        "getloadavg",
        "fork",
        "forkpty",
        "nice",
        "getuid",
        "geteuid",
        "getgid",
        "getegid",
        "getpgid",
        "getpgrp",
        "setsid",
    ),
    *("killpg", "mkfifo", "uname", "wait3", "wait4", "getpriority", "setpriority", "sched_yield"),
)
POSIX_MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty")
POSIX_SIGNALS = ("SIGHUP", "SIGKILL", "SIGQUIT", "SIGXCPU", "SIGXFSZ", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE")


def macos() -> None:
    """No affinity, no advice to the cache; no oneDNN in torch; processes are spawned (by the caller)."""
    sysconfig.get_config_vars()  # which the interpreter reads once, from a file named after the true platform
    _delete(os, LINUX_ONLY)
    sys.platform = "darwin"
    platform.system = lambda: "Darwin"
    platform.machine = lambda: "arm64"
    platform.libc_ver = lambda *args, **kwargs: ("", "")
    _without_onednn()


def windows() -> None:
    """No module, signal or call of POSIX; folders cannot be opened, and what is open cannot be renamed or removed.

    The platform keeps its name, since the standard library would break under another; our code must not ask for it.
    """
    for name in POSIX_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    _delete(os, LINUX_ONLY + POSIX_ONLY)
    _delete(signal, POSIX_SIGNALS)
    _delete(errno, ("EDQUOT",))
    platform.libc_ver = lambda *args, **kwargs: ("", "")
    shutil._use_fd_functions = False  # as there: folders have no handles
    os.open = _no_folder(os.open)
    for name in ("replace", "rename", "unlink", "remove", "rmdir"):
        setattr(os, name, _unless_open(getattr(os, name)))


def arm() -> None:
    """A processor of another kind, of which torch tells nothing."""
    platform.machine = lambda: "aarch64"
    import torch

    torch.cpu.get_capabilities = dict


def _delete(module: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


def _without_onednn() -> None:
    import torch

    class Nothing:
        """An empty namespace of operators."""

    torch.ops.mkldnn = Nothing()


def _no_folder(plain: Callable[..., int]) -> Callable[..., int]:
    def opened(path: Any, *args: Any, **kwargs: Any) -> int:
        if os.path.isdir(path):  # noqa: PTH112
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return plain(path, *args, **kwargs)

    return opened


def _unless_open(plain: Callable[..., None]) -> Callable[..., None]:
    """The call, refused as Windows does where a file that it moves, removes or replaces is open or mapped."""

    def refusing(*paths: Any, **kwargs: Any) -> None:
        for path in paths:
            for held in open_files():
                if held == (own := Path(path).absolute()) or own in held.parents:
                    raise PermissionError(errno.EACCES, "used by a process", str(held))
        plain(*paths, **kwargs)

    return refusing


def open_files() -> Iterator[Path]:
    """What this process has open or mapped, as Linux tells."""
    for handle in Path("/proc/self/fd").iterdir():
        try:
            yield handle.readlink()
        except OSError:  # the handle of the listing itself
            continue
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        if "/" in line:
            yield Path(line[line.index("/") :])
