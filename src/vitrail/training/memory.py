"""Freed memory stays with the process: training asks for the same large blocks again at every step.

glibc gives blocks of 128 KiB and more back to the system at once and fetches them anew, page by page; a transformer's step takes
1.3 times as long then.
"""

from __future__ import annotations

import ctypes
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
LARGEST = 32 << 20  # bytes; glibc takes no larger threshold
KEPT = (1 << 31) - 1  # bytes of free memory that stay


def keep_freed() -> None:
    """Tell the C library once, where it is glibc; elsewhere nothing happens."""
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_THRESHOLD, LARGEST)
        library.mallopt(TRIM_THRESHOLD, KEPT)
