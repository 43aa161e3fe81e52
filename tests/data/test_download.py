"""Downloads against a server on this machine: whole, cut and resumed, wrong, and gone."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vitrail.data.download import Remote, fetch, home
from vitrail.errors import DataError

BODY = np.random.default_rng(0).bytes(3_000_000)


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY; `cut_after` ends an answer early, `resumes` says whether ranges are honoured."""

    cut_after: int | None = None
    resumes = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/set.bin"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.resumes else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        self.wfile.write(BODY[start : self.server.cut_after])

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def remote(*urls: str, body: bytes = BODY) -> Remote:
    return Remote("set.bin", len(BODY), f"sha256:{hashlib.sha256(body).hexdigest()}", urls)


def test_a_file_arrives_whole_and_once(server: Server, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    for _ in range(2):
        path = fetch(remote(server.url), tmp_path / "new", lambda done, total: calls.append((done, total)))
        assert path.read_bytes() == BODY
    assert server.asked == [None]
    assert calls[-1] == (len(BODY), len(BODY))
    assert [found.name for found in path.parent.iterdir()] == ["set.bin"]


@pytest.mark.parametrize("resumes", [True, False])
def test_a_cut_download_is_resumed_where_the_server_can(server: Server, tmp_path: Path, resumes: bool) -> None:
    server.cut_after, server.resumes = 1_200_000, resumes
    with pytest.raises(DataError, match=r"cannot download set\.bin") as refusal:
        fetch(remote(server.url), tmp_path)
    assert "\n" not in str(refusal.value)
    kept = (tmp_path / "set.bin.part").stat().st_size
    assert 0 < kept <= 1_200_000
    assert not (tmp_path / "set.bin").exists()
    server.cut_after = None
    assert fetch(remote(server.url), tmp_path).read_bytes() == BODY
    assert server.asked == [None, f"bytes={kept}-"]


def test_other_contents_are_refused_and_deleted(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its sha256 is"):
        fetch(remote(server.url, body=b"other"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_spoilt_beginning_is_noticed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.bin.part").write_bytes(b"x" * 1000)
    with pytest.raises(DataError, match="its sha256 is"):
        fetch(remote(server.url), tmp_path)
    assert fetch(remote(server.url), tmp_path).read_bytes() == BODY


def test_the_second_place_is_tried(server: Server, tmp_path: Path) -> None:
    assert fetch(remote("http://127.0.0.1:9/gone", server.url), tmp_path).read_bytes() == BODY


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"put the file into .* or set VITRAIL_DATA"):
        fetch(remote("http://127.0.0.1:9/gone"), tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="set VITRAIL_DATA to a folder"):
        fetch(remote("http://127.0.0.1:9/gone"), tmp_path / "file" / "cache")


def test_home_is_the_variable_or_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VITRAIL_DATA", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.delenv("VITRAIL_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path / ".cache" / "vitrail" / "data"
