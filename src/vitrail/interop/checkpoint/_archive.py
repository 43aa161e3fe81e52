"""What a checkpoint file is, judged before anything is unpickled: torch's zip, its older stream of pickles, or refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

from vitrail.errors import ModelError

TAR = slice(257, 262)  # where a tar archive says "ustar"
PROTOCOL = b"\x80\x02"  # with which every pickle of torch.save begins


def judge(path: Path) -> None:
    """Raise ModelError unless the file may be given to torch.load."""
    with path.open("rb") as file:
        start = file.read(512)
    if start[TAR] == b"ustar":
        raise ModelError(
            "is a tar archive, as torch wrote before 2017, whose contents cannot be judged; refused unread"
        )
    if start.startswith(b"PK"):
        _judge_zip(path)
    elif not start.startswith(PROTOCOL):
        raise ModelError("begins neither as torch.save's zip nor as its older pickles; refused unread")


def _judge_zip(path: Path) -> None:
    """torch.save stores every member as it is, once. A bomb compresses its members, or lets them overlap."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(f"is a damaged zip archive ({error}); refused unread") from None
    names = [member.filename for member in members]
    inside = [name.partition("/")[2] for name in names]
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise ModelError("is a TorchScript archive, which holds code beside weights; refused unread")
    if inside.count("data.pkl") != 1 or len(set(names)) != len(names):
        raise ModelError("is a zip archive, but not one of torch.save; refused unread")
    packed = [
        each for each in members if each.compress_type != zipfile.ZIP_STORED or each.compress_size != each.file_size
    ]
    if packed:
        worst = max(packed, key=lambda each: each.file_size)
        sizes = f"{worst.compress_size} bytes that would become {worst.file_size}"
        raise ModelError(f"has a compressed member of {sizes}, and torch.save compresses nothing; refused unread")
    claimed, size = sum(member.file_size for member in members), path.stat().st_size
    if claimed > size:
        raise ModelError(f"claims {claimed} bytes of contents in a file of {size}; refused unread")
