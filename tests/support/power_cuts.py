"""A model of a disk that loses power: what was synced is kept, and any subset of the rest.

Strict on purpose. Syncing a file keeps its content, but not its name; syncing a folder keeps the names in it. Names
that were changed and not synced are kept or lost one change at a time, in any combination.
"""

import os
import random
import stat
import sys
from dataclasses import dataclass, field

from fietsupdate.filesystem.journal import header
from fietsupdate.filesystem.posix import durable, metadata
from support.file_transactions import is_change

SECTOR = 512
"""The bytes that a disk writes as a whole, or not at all."""


@dataclass
class Node:
    """One inode: what it is, and what of it is durable."""

    mode: int
    owner: tuple
    mtime_ns: int
    content: bytes | str
    xattrs: dict


@dataclass
class Disk:
    """Inodes and names. ``None`` in ``changes`` frees a name."""

    root: int
    names: dict = field(default_factory=dict)  # {(folder, name): inode}
    nodes: dict = field(default_factory=dict)  # {inode: Node}


class Recorder:
    """Watches a folder while code changes it, and yields what the disk could contain at each moment."""

    def __init__(self, folder, monkeypatch, seed=1):
        self.folder = str(folder)
        self.random = random.Random(seed)
        self.crashes = []
        self.now = scan(self.folder)
        self.durable = scan(self.folder)
        self.latest = dict(self.now.nodes)  # also what has no name any more: a name that was lost may come back
        self.pending = []  # each one {(folder, name): inode or None}
        self.active = True
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._synced(getattr(os, name)))
        monkeypatch.setattr(durable, "_syncfs", self._synced_all(durable._syncfs))
        sys.addaudithook(self._hook)

    def stop(self):
        self._look()
        self.active = False

    def _hook(self, event, arguments):
        if self.active and is_change(event, arguments):
            self._look()

    def _look(self):
        """Record the changes of the last call as one change, and what a power cut now could leave."""
        self.active = False
        new = scan(self.folder)
        slots = new.names.keys() | self.now.names.keys()
        change = {s: new.names.get(s) for s in slots if new.names.get(s) != self.now.names.get(s)}
        if change:
            self.pending.append(change)
        self.now = new
        self.latest.update(new.nodes)
        self.crashes += [self._crash(share) for share in (0.0, 0.5, 1.0)]
        self.active = True

    def _crash(self, share):
        kept = [change for change in self.pending if self.random.random() < share]
        names = dict(self.durable.names)
        for change in kept:
            names.update(change)
        disk = Disk(self.now.root, {slot: inode for slot, inode in names.items() if inode is not None})
        for inode, node in self.latest.items():
            disk.nodes[inode] = self._remains(self.durable.nodes.get(inode), node, share)
        return disk

    def _remains(self, synced, node, share):
        """Choose what is left of one inode: what was synced, what was there last, or a part of that."""
        if self.random.random() < share:
            return node
        if synced is not None:
            if isinstance(node.content, bytes) and node.content.startswith(synced.content):
                extra = node.content[len(synced.content) :]
                cut = self.random.randrange(len(extra) + 1) if share else 0
                return Node(synced.mode, synced.owner, synced.mtime_ns, synced.content + extra[:cut], synced.xattrs)
            if share and isinstance(node.content, bytes) and len(node.content) == len(synced.content):
                content = self._some_sectors(synced.content, node.content)
                return Node(synced.mode, synced.owner, synced.mtime_ns, content, synced.xattrs)
            return synced
        lost = b"" if isinstance(node.content, bytes) else node.content
        return Node(node.mode, node.owner, node.mtime_ns, lost, node.xattrs)

    def _some_sectors(self, synced, last):
        """Return a content of which some sectors were written."""
        sectors = range(0, len(synced), SECTOR)
        return b"".join(self.random.choice((synced, last))[at : at + SECTOR] for at in sectors)

    def _synced(self, real):
        def call(descriptor):
            real(descriptor)
            if self.active:
                self._look()
                inode = os.fstat(descriptor).st_ino
                if inode in self.now.nodes:
                    self.durable.nodes[inode] = self.now.nodes[inode]
                    self._keep(lambda slot: slot[0] == inode)

        return call

    def _synced_all(self, real):
        def call(descriptor):
            result = real(descriptor)
            if self.active:
                self._look()
                self._keep(lambda slot: True)
                self.durable.nodes.update(self.now.nodes)
            return result

        return call

    def _keep(self, is_synced):
        """Make changes durable, and with each one whatever was changed before under the same names."""
        wanted = set()
        rest = []
        for change in reversed(self.pending):
            if any(is_synced(slot) for slot in change) or not wanted.isdisjoint(change):
                wanted.update(change)
            else:
                rest.append(change)
        kept = [change for change in self.pending if not any(change is other for other in rest)]
        for change in kept:
            self.durable.names.update(change)
            for inode in change.values():
                if inode is not None:
                    self._birth(inode)
        self.pending = rest[::-1]

    def _birth(self, inode):
        """A name that is kept keeps at least an empty file."""
        if inode not in self.durable.nodes and inode in self.now.nodes:
            node = self.now.nodes[inode]
            content = b"" if isinstance(node.content, bytes) else node.content
            self.durable.nodes[inode] = Node(node.mode, node.owner, node.mtime_ns, content, node.xattrs)


def scan(folder):
    """Read a tree."""
    disk = Disk(os.lstat(folder).st_ino)

    def read(path):
        found = os.lstat(path)
        if found.st_ino in disk.nodes:
            return
        if stat.S_ISLNK(found.st_mode):
            content = os.readlink(path)
        elif stat.S_ISDIR(found.st_mode):
            content = None
        else:
            descriptor = os.open(path, os.O_RDONLY)
            content = os.read(descriptor, 1 << 22)
            os.close(descriptor)
        names = os.listxattr(path, follow_symlinks=False)
        xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
        owner = (found.st_uid, found.st_gid)
        disk.nodes[found.st_ino] = Node(found.st_mode, owner, found.st_mtime_ns, content, xattrs)
        if content is None:
            for name in os.listdir(path):
                disk.names[found.st_ino, name] = os.lstat(f"{path}/{name}").st_ino
                read(f"{path}/{name}")

    read(folder)
    return disk


def restore(disk, folder, monkeypatch):
    """Make a tree of what the disk contained; the journal takes its files for the original ones."""
    made = {}

    def make(inode, path):
        node = disk.nodes[inode]
        if inode in made and node.content is not None:
            os.link(made[inode], path, follow_symlinks=False)
            return
        assert inode not in made, "a folder has two names"
        made[inode] = path
        if node.content is None:
            os.makedirs(path, exist_ok=True)
            for (parent, name), child in sorted(disk.names.items()):
                if parent == inode:
                    make(child, f"{path}/{name}")
        elif stat.S_ISLNK(node.mode):
            os.symlink(node.content, path)
        else:
            with open(path, "xb") as file:
                file.write(node.content)
        _dress(node, path)

    make(disk.root, str(folder))
    _disguise({os.lstat(path).st_ino: inode for inode, path in made.items()}, monkeypatch)


def _dress(node, path):
    os.chown(path, *node.owner, follow_symlinks=False)
    if not stat.S_ISLNK(node.mode):
        os.chmod(path, stat.S_IMODE(node.mode))
        for name, value in node.xattrs.items():
            os.setxattr(path, name, value)
    os.utime(path, ns=(node.mtime_ns, node.mtime_ns), follow_symlinks=False)


def _disguise(old_inodes, monkeypatch):
    """Make the new files report the old inode numbers, by which the journal recognises them."""
    real_look, real_identify, real_same = metadata.seen_in, header.identify, metadata.is_file
    translate = old_inodes.get

    def look(result):
        found = real_look(result)
        return found._replace(inode=translate(found.inode, -found.inode))

    def identify(root, part):
        found = real_identify(root, part)
        return header.Root(found.path, translate(found.inode, 0), translate(found.folder_inode, 0))

    def is_file(status, looks, number):
        inode = translate(status.st_ino, -status.st_ino)
        return inode == looks[0][number] and real_same(status, ({number: status.st_ino}, *looks[1:]), number)

    monkeypatch.setattr(metadata, "seen_in", look)
    monkeypatch.setattr(metadata, "is_file", is_file)
    monkeypatch.setattr(header, "identify", identify)
