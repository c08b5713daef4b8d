"""An application whose rows name files.

Tracks lie in shards by number, with size and digest; avatars in a further root, by names of bytes; documents by UUID
and by a name whose case matters, with an optional preview by a key of bytes.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

import sqlalchemy as sa

from support.projects import Project

SECTION = {"extra_dirs": "media=%(here)s/media"}
REFERENCES = """references = [
    {"table": "tracks", "path": "tracks/{id[-2:]:02d}/{id}.gpx", "size": "size", "sha256": "sha256"},
    {"table": "documents", "path": "documents/{id:uuid}/{name}"},
    {"table": "documents", "path": "previews/{secret[:2]:hex}/{secret:hex}.png", "optional": True},
    {"table": "users", "path": "avatars/{avatar}", "where": "avatar is not null", "root": "media"},
]
owned = ["tracks/**", "documents/**", "previews/**", "avatars/**"]
"""
CREATE = """
op.create_table("tracks", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("size", sa.Integer), sa.Column("sha256", sa.String(64)))
op.create_table("documents", sa.Column("id", sa.Uuid, primary_key=True), sa.Column("name", sa.String(50)),
    sa.Column("secret", sa.BINARY(16).with_variant(sa.LargeBinary, "postgresql")))
op.create_table("users", sa.Column("name", sa.String(50), primary_key=True), sa.Column("avatar", sa.LargeBinary))
"""
NAMES = {"nfc": "\u00e9.png".encode(), "nfd": "e\u0301.png".encode(), "bytes": b"\xff\xfe.png", "Case": b"X", "x": b"x"}
"""The avatars: the same name in two normal forms, one that is not UTF-8, and two that differ in case alone."""

DOCUMENTS = ("a.txt", "A.TXT", "B.txt", "\u00e4.txt", "a.TXT")
"""In the order of no collation."""


def key(number: int) -> uuid.UUID:
    """Return the primary key of a document."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, str(number))


def secret(number: int) -> bytes:
    """Return the key of a document's preview."""
    return key(number).bytes[::-1]


def document(project: Project, number: int) -> Path:
    """Return where a document lies."""
    return project.data / "documents" / str(key(number)) / DOCUMENTS[number]


def preview(project: Project, number: int = 0) -> Path:
    """Return where the preview of a document lies; only that of the first is there."""
    name = secret(number).hex()
    return project.data / "previews" / name[:2] / f"{name}.png"


def content(number: int) -> bytes:
    """Return the content of a track."""
    return str(number).encode() * (number % 50)


def track(project: Project, number: int) -> Path:
    """Return where the file of a track lies."""
    return project.data / "tracks" / f"{number:02d}"[-2:] / f"{number}.gpx"


def avatar(project: Project, name: bytes) -> bytes:
    """Return where an avatar lies."""
    return os.fsencode(project.root / "media" / "avatars") + b"/" + name


def application(project: Project, tracks: int) -> Project:
    """Write the application at its first update, with rows and files that match."""
    project.revision("r1", None, CREATE, "for name in 'tracks', 'documents', 'users': op.drop_table(name)")
    project.update("v1", (), "r1", head=REFERENCES)
    (project.root / "media" / "avatars").mkdir(parents=True)
    project.run("update", "--yes").succeeded()
    fill(project, tracks)
    return project


def fill(project: Project, tracks: int) -> None:
    """Write rows and their files."""
    for number in range(100):
        (project.data / "tracks" / f"{number:02d}").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(tracks):
        data = content(number)
        track(project, number).write_bytes(data)
        rows.append({"id": number, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    for name in NAMES.values():
        with open(avatar(project, name), "xb"):
            pass
    for number, name in enumerate(DOCUMENTS):
        document(project, number).parent.mkdir(parents=True)
        document(project, number).write_text(name)
    preview(project).parent.mkdir(parents=True)
    preview(project).write_bytes(b"png")
    with project.database.connect() as connection:
        table = sa.table("tracks", sa.column("id"), sa.column("size"), sa.column("sha256"))
        connection.execute(table.insert(), rows)
        users = sa.table("users", sa.column("name"), sa.column("avatar"))
        people = [{"name": name, "avatar": file} for name, file in NAMES.items()]
        connection.execute(users.insert(), [*people, {"name": "none", "avatar": None}])
        documents = sa.table("documents", sa.column("id", sa.Uuid), sa.column("name"), sa.column("secret"))
        written = [{"id": key(n), "name": name, "secret": secret(n)} for n, name in enumerate(DOCUMENTS)]
        connection.execute(documents.insert(), written)
