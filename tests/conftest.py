"""What holds for every test: no network, one thread, and real data by name."""

from __future__ import annotations

import os

# Before anything imports huggingface_hub; the dead proxy also stops the child processes that tests start.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.update(http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9", no_proxy="localhost,127.0.0.1")

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "", None, b"localhost", socket.gethostname()}
DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"


def _guard(call: Callable[..., Any], host_of: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, unless it would reach another machine."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if (host := host_of(*args)) not in HERE:
            raise PermissionError(f"a test tried to reach '{host}'; tests stay on this machine")
        return call(*args, **kwargs)

    return guarded


def _host_of_address(_: socket.socket, *args: Any) -> Any:
    """Host in `connect(address)` or `sendto(data, [flags,] address)`; None for a unix socket's path."""
    return args[-1][0] if isinstance(args[-1], tuple) else None


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, _guard(getattr(socket.socket, name), _host_of_address))
        patch.setattr(socket, "getaddrinfo", _guard(socket.getaddrinfo, lambda host, *_: host))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two workers of two threads each would be slower, and bf16 convolutions many times so."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def test_data() -> Callable[[str], Path]:
    """`test_data("fashion-mnist")`: a file or folder of the real data, or skip.

    The folder is VITRAIL_TEST_DATA, by default ../shared/data beside the repository. In CI a missing item fails.
    """
    root = Path(os.environ.get("VITRAIL_TEST_DATA") or DEFAULT_DATA)

    def find(name: str) -> Path:
        if (path := root / name).exists():
            return path
        if os.environ.get("CI") == "true" and DEFAULT_DATA.is_dir():
            pytest.fail(f"test data '{name}' is missing from {root}")
        pytest.skip(f"needs '{name}' in VITRAIL_TEST_DATA ({root})")

    return find
