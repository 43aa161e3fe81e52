"""Hostile checkpoints, written opcode by opcode. As a program: reads each as the child does, under an audit hook, and tells all.

Every payload tries to create the file `canary`. None is ever given to a real unpickler but one, which shows that the hook sees it.
"""

from __future__ import annotations

import copy
import encodings.cp437  # noqa: F401 - of zip archives, imported late
import io
import json
import os
import pickle
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

P2, STOP = b"\x80\x02", b"."
WATCHED = ("os.", "subprocess.", "socket.", "ctypes.", "pty.", "shutil.", "tempfile.", "pickle.", "marshal.", "code.")
ALSO = ("exec", "compile", "import", "builtins.input")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a" + bytes([8]) + struct.pack("<q", value)


def named(name: str) -> bytes:
    module, _, last = name.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def call(name: str, *arguments: bytes) -> bytes:
    return named(name) + b"(" + b"".join(arguments) + b"tR"


def mapping(key: str, value: bytes) -> bytes:
    return b"}" + text(key) + value + b"s"


def zipped(payload: bytes, **members: bytes) -> bytes:
    """As torch.save writes it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, value in {"data.pkl": payload, "version": b"3\n", **members}.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", value)
    return content.getvalue()


def stream(payload: bytes) -> bytes:
    """As torch.save wrote it before 2020: a number that marks it, a version, the machine, the pickle, the storages."""
    magic = b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
    start = [magic, b"M\xe9\x03", b"}"]  # 1001
    return b"".join(P2 + each + STOP for each in start) + P2 + payload + STOP + P2 + b"]" + STOP


def storage(elements: int) -> bytes:
    """A persistent id of a storage of float32."""
    parts = [text("storage"), named("torch.FloatStorage"), text("0"), text("cpu"), number(elements)]
    return b"(" + b"".join(parts)


def tensor(elements: int, size: int, stride: int, tail: bytes = b"") -> bytes:
    shape, strides = (b"(" + number(each) * 2 + b"t" for each in (size, stride))
    rest = named("collections.OrderedDict") + b")R"
    return call(
        "torch._utils._rebuild_tensor_v2", storage(elements) + tail + b"tQ", number(0), shape, strides, b"\x89", rest
    )


def overlapping() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", P2 + b"}" + STOP)
        archive.writestr("archive/data/0", bytes(1 << 16))
        for i in range(1, 1000):
            again = copy.copy(archive.filelist[1])
            again.filename = f"archive/data/{i}"
            archive.filelist.append(again)
    return content.getvalue()


def inflating() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", P2 + mapping("w", tensor(1 << 24, 1, 1)) + STOP)
        archive.writestr("archive/data/0", bytes(1 << 26))
    return content.getvalue()


def tar(payload: bytes) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.size = len(payload)
            archive.addfile(member, io.BytesIO(payload))
    return content.getvalue()


def patterns(canary: Path) -> dict[str, bytes]:
    """Every hostile file by a name."""
    shell = text(f"touch {canary}")
    python = text(f"open({str(canary)!r}, 'w')")
    words = b"](" + text("touch") + text(str(canary)) + b"e"
    system = call("posix.system", shell)
    hashed = b"}" + b")" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(64)) + b"Ns"
    partial = b"(" + named("posix.system") + b"(" + shell + b"t}Ntb"  # the state of a functools.partial
    empty = b"(K\x00t"
    through = named("torch.Tensor"), b"(" + shell + b"t", b"}"
    larger = named("torch.Tensor"), b"(" + number(1 << 45) + b"t", b"}"
    code = {"constants.pkl": P2 + b")" + STOP, "code____torch__.py": b"import os"}
    return {
        "reduce os.system": P2 + call("os.system", shell) + STOP,
        "reduce posix.system": zipped(P2 + system + STOP),
        "subprocess": zipped(P2 + call("subprocess.Popen", words) + STOP),
        "network": zipped(P2 + call("urllib.request.urlopen", text("http://127.0.0.1:9")) + STOP),
        "eval": zipped(P2 + call("builtins.eval", python) + STOP),
        "eval of Python 2": zipped(P2 + call("__builtin__.eval", python) + STOP),
        "exec": zipped(P2 + call("builtins.exec", python) + STOP),
        "open": zipped(P2 + call("builtins.open", text(str(canary)), text("w")) + STOP),
        "import, getattr, call": zipped(
            P2
            + call("builtins.getattr", call("builtins.__import__", text("os")), text("system"))
            + b"("
            + shell
            + b"tR"
            + STOP
        ),
        "getattr of a tensor": zipped(
            P2 + call("builtins.getattr", named("torch.Tensor"), text("__subclasses__")) + STOP
        ),
        "attribute of an allowed name": zipped(P2 + call("torch.Tensor.__class__", shell) + STOP),
        "nested": zipped(P2 + mapping("state_dict", mapping("w", system)) + STOP),
        "beside good weights": zipped(
            P2 + b"}" + text("w") + tensor(1, 1, 1) + b"s" + text("x") + system + b"s" + STOP, data__0=bytes(4)
        ),
        "memo": zipped(P2 + named("posix.system") + b"q\x05" + b"0" + b"h\x05" + b"(" + shell + b"tR" + STOP),
        "stack_global": zipped(b"\x80\x04\x8c\x05posix\x8c\x06system\x93(" + shell + b"tR" + STOP),
        "inst": zipped(P2 + b"(" + shell + b"iposix\nsystem\n" + STOP),
        "obj": zipped(P2 + b"(" + named("posix.system") + shell + b"o" + STOP),
        "newobj": zipped(P2 + named("subprocess.Popen") + b"(" + words + b"t\x81" + STOP),
        "build with setstate": zipped(
            P2 + named("functools.partial") + b"(" + named("posix.system") + b"t\x81" + partial + STOP
        ),
        "copyreg": zipped(
            P2 + call("copyreg._reconstructor", named("subprocess.Popen"), named("builtins.object"), b"N") + STOP
        ),
        "torch loads another": zipped(P2 + call("torch.serialization.load", text("other.ckpt")) + STOP),
        "torch compiles": zipped(
            P2 + call("torch.utils.cpp_extension.load_inline", text("x"), text("int main;")) + STOP
        ),
        "torch calls what it is given": zipped(
            P2 + call("torch._tensor._rebuild_from_type_v2", named("posix.system"), *through) + STOP
        ),
        "torch calls it in a legacy stream": stream(system),
        "legacy tar": tar(P2 + system + STOP),
        "protocol 0": b"cposix\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR.",
        "TorchScript": zipped(P2 + system + STOP, **code),
        "zip that inflates": inflating(),
        "zip whose members overlap": overlapping(),
        "huge bytearray": zipped(P2 + mapping("w", call("builtins.bytearray", number(1 << 45))) + STOP),
        "huge bytearray through torch": zipped(
            P2 + call("torch._tensor._rebuild_from_type_v2", named("builtins.bytearray"), *larger) + STOP
        ),
        "huge storage": stream(mapping("w", tensor(1 << 43, 1, 1, b"N"))),
        "huge view of a small storage": zipped(P2 + mapping("w", tensor(1, 1 << 20, 0)) + STOP, data__0=bytes(4)),
        "view beyond its storage": zipped(P2 + mapping("w", tensor(1, 1 << 20, 1)) + STOP, data__0=bytes(4)),
        "persistent id of a module": stream(b"(" + text("module") + named("posix.system") + shell + b"tQ"),
        "persistent id that is text": zipped(P2 + shell + b"Q" + STOP),
        "numpy object array": zipped(
            P2 + call("numpy.core.multiarray._reconstruct", named("numpy.ndarray"), empty, text("b")) + STOP
        ),
        "hash that never ends": zipped(P2 + hashed + STOP),
        "depth without end": zipped(P2 + b"]" + b"\x85" * 1_000_000 + STOP),
        "itself": zipped(P2 + b"}q\x00" + text("model") + b"h\x00s" + STOP),
    }


def watched(event: str, arguments: tuple[Any, ...]) -> bool:
    """Events that reading tensors has no need of."""
    return event.startswith(WATCHED) or event in ALSO or (event == "open" and bool(arguments[2] & WRITING))


def observed(read: Callable[[], int]) -> dict[str, Any]:
    """What became of a reader in a process of its own: exit code or signal, what it said, and events."""
    (said, say), (seen, see) = os.pipe(), os.pipe()
    if (child := os.fork()) == 0:
        os.dup2(say, 2)
        HOOK.append(see)
        os._exit(read())
    os.close(say)
    os.close(see)
    with open(said, errors="replace") as words, open(seen) as events:  # noqa: PTH123
        told = {"said": words.read(), "events": events.read().splitlines()}
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status), **told}


HOOK: list[int] = []


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    if HOOK and watched(event, arguments):
        os.write(HOOK[0], f"{event} {str(arguments)[:100]!r}\n".encode())


def main(folder: Path) -> None:
    from vitrail.interop.checkpoint import _child

    _child.warm_up()  # so that what torch imports late is not taken for a deed of the file
    sys.addaudithook(hook)

    def child(file: Path) -> Callable[[], int]:
        return lambda: _child.main([str(file), f"{file}.safetensors", "1"])

    files = sorted(folder.glob("*.ckpt"))
    told = {file.stem: observed(child(file)) for file in files}
    told["control"] = observed(lambda: bool(pickle.loads((folder / "reduce os.system.ckpt").read_bytes())))
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
