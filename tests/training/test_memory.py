"""The C library is asked to keep memory, and training goes on whether it does or not."""

import platform

import pytest

from vitrail.training.memory import keep_freed


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", lambda name: pytest.fail("no library is to be loaded"))
    keep_freed()
