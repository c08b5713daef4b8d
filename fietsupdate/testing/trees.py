"""What a directory holds, as plain values: two trees are equal when a rollback has nothing left to bring back."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Node:
    """Everything about one path that a rollback must bring back; never its inode number or ctime."""

    kind: str
    """``file``, ``dir``, ``link`` or the octal type of something rarer."""
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    sha256: str = ""
    target: str = ""
    """Where a symbolic link points."""
    same_as: str = ""
    """For hard links: the first path, in order, of the same file."""
    xattrs: tuple[tuple[str, bytes], ...] = ()


def tree(root: Path, *, exclude: Collection[str] = ()) -> dict[str, Node]:
    """Map every path below `root`, relative to it, to its node; `exclude` names paths left out with all below them."""
    found: dict[str, Node] = {}
    files: dict[tuple[int, int], str] = {}
    for path in _walk(root, "", frozenset(exclude)):
        found[path] = _node(root / path, path, files)
    return found


def contents(root: Path, *, exclude: Collection[str] = ()) -> dict[str, bytes]:
    """Map every regular file below `root` to its bytes: for expectations written out by hand."""
    return {
        name: (root / name).read_bytes() for name, node in tree(root, exclude=exclude).items() if node.kind == "file"
    }


def _walk(root: Path, below: str, exclude: frozenset[str]) -> list[str]:
    paths: list[str] = []
    for name in sorted(os.listdir(root / below)):
        path = f"{below}/{name}" if below else name
        if path in exclude:
            continue
        paths.append(path)
        if (root / path).is_dir() and not (root / path).is_symlink():
            paths += _walk(root, path, exclude)
    return paths


def _node(path: Path, name: str, files: dict[tuple[int, int], str]) -> Node:
    info = path.lstat()
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(info.st_mode), oct(stat.S_IFMT(info.st_mode)))
    first = files.setdefault((info.st_dev, info.st_ino), name) if kind == "file" else name
    return Node(
        kind,
        stat.S_IMODE(info.st_mode),
        info.st_uid,
        info.st_gid,
        info.st_mtime_ns,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest() if kind == "file" else "",
        target=os.readlink(path) if kind == "link" else "",
        same_as=first if first != name else "",
        xattrs=_xattrs(path),
    )


def _xattrs(path: Path) -> tuple[tuple[str, bytes], ...]:
    if not hasattr(os, "listxattr"):
        return ()
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
