"""The drill: everything is backed up, both halves are destroyed, and a new machine gets all of it back.

The new machine has another path, another database, another user; on PostgreSQL another server, on another port, that
knows nothing but the roles. Compared are full dumps, and the tree with modes, times, owners, attributes, access control
lists and links.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from support import file_transactions, mariadb
from support.databases import MARIADB, POSTGRESQL, SQLITE, Database
from support.notes import notes
from support.projects import Project, Result
from support.stores import SQLITE_SCRIPT
from support.zygote import Zygote

Runner = Callable[..., Result]

EVERYTHING = r"""
CREATE SCHEMA other AUTHORIZATION {owner}; CREATE EXTENSION pg_trgm SCHEMA other; CREATE EXTENSION hstore;
COMMENT ON SCHEMA other IS 'the other one';
CREATE TYPE other.mood AS ENUM ('sad', 'glad'); CREATE TYPE other.pair AS (a int, b text);
CREATE DOMAIN other.positive AS int CHECK (VALUE > 0); CREATE TYPE other.span AS RANGE (subtype = float8);
CREATE COLLATION other.plain FROM "C"; CREATE SEQUENCE other.sq START 7; SELECT nextval('other.sq');
CREATE FUNCTION other.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE PROCEDURE other.forget() LANGUAGE sql AS 'DELETE FROM public.notes';
CREATE AGGREGATE other.total (int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE OPERATOR other.=# (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq, COMMUTATOR = OPERATOR(other.=#));
CREATE CAST (other.pair AS text) WITH INOUT; CREATE TEXT SEARCH CONFIGURATION other.words (COPY = english);
CREATE TEXT SEARCH DICTIONARY other.simple_words (TEMPLATE = simple, STOPWORDS = english);
CREATE TABLE other.thing (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int DEFAULT nextval('other.sq'),
    doubled int GENERATED ALWAYS AS (other.twice(n)) STORED, feels other.mood, span other.span, p other.pair,
    label text COLLATE other.plain, tags hstore, doc jsonb, at timestamptz, data bytea, CHECK (other.twice(n) > 0),
    EXCLUDE USING gist (span WITH &&));
INSERT INTO other.thing (feels, span, p, label, tags, doc, at, data) VALUES
    ('glad', '[1,2)', (1, 'x'), E'tab\t \\N', 'a=>1', '{{"a": [1, null]}}', '2026-03-29 01:30:00+00', '\x00ff0a0d'),
    (NULL, NULL, NULL, '', NULL, NULL, 'infinity', '');
CREATE TABLE other.child (more int REFERENCES other.thing (id) DEFERRABLE INITIALLY DEFERRED) INHERITS (other.thing);
CREATE TABLE log (day date NOT NULL, what text) PARTITION BY RANGE (day);
CREATE TABLE log_2026 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE log_rest PARTITION OF log DEFAULT; INSERT INTO log VALUES ('2026-05-01', 'ride'), ('1999-01-01', 'old');
CREATE UNLOGGED TABLE fleeting (id int); INSERT INTO fleeting VALUES (1);
ALTER TABLE notes ADD COLUMN dropped int; ALTER TABLE notes DROP COLUMN dropped;
ALTER TABLE notes ADD CONSTRAINT short CHECK (length(text) < 9) NOT VALID;
CREATE INDEX by_trgm ON notes USING gin (text other.gin_trgm_ops);
CREATE INDEX by_twice ON other.thing (other.twice(n));
CREATE UNIQUE INDEX partial ON notes (id) INCLUDE (text) WHERE id > 1;
CREATE STATISTICS other.both (dependencies) ON n, doubled FROM other.thing;
ALTER TABLE notes ALTER text SET STATISTICS 7;
CREATE VIEW shown WITH (security_barrier) AS SELECT id, other.twice(id) AS d FROM notes;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM notes; CREATE UNIQUE INDEX one ON counted (n);
CREATE RULE silent AS ON INSERT TO shown DO INSTEAD NOTHING;
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.what := NEW.what || ''!''; RETURN NEW; END';
CREATE TRIGGER noted BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION noted();
CREATE FUNCTION watched() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM 1; END';
CREATE EVENT TRIGGER watched ON ddl_command_end EXECUTE FUNCTION watched(); COMMENT ON EVENT TRIGGER watched IS 'w';
ALTER TABLE notes ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON notes TO {reader} USING (id > 1);
CREATE PUBLICATION part FOR TABLE notes; CREATE PUBLICATION whole FOR ALL TABLES;
CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE hosts (line text) SERVER files OPTIONS (filename '/etc/hosts');
SELECT lo_from_bytea(4711, '\xdeadbeef'); GRANT SELECT ON LARGE OBJECT 4711 TO {reader};
COMMENT ON LARGE OBJECT 4711 IS 'large'; COMMENT ON COLUMN notes.text IS 'who; has -- things';
GRANT USAGE ON SCHEMA other TO {reader}; GRANT SELECT (id), UPDATE (text) ON notes TO {reader} WITH GRANT OPTION;
REVOKE EXECUTE ON FUNCTION other.twice FROM PUBLIC; GRANT EXECUTE ON FUNCTION other.twice TO {reader};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA other GRANT SELECT ON TABLES TO {reader};
ALTER TABLE notes OWNER TO {owner}; ALTER FUNCTION other.twice OWNER TO {owner}; ALTER TABLE log OWNER TO {reader};
ALTER DATABASE {name} SET work_mem = '5MB'; ALTER ROLE {reader} IN DATABASE {name} SET statement_timeout = '7s';
COMMENT ON DATABASE {name} IS 'all of it'; REVOKE ALL ON DATABASE {name} FROM PUBLIC;
GRANT CONNECT ON DATABASE {name} TO {reader}
"""
"""Every kind of object that pg_dump knows, but for those that need programs of one's own (C) or a second server."""

_NOISE = re.compile(r"--.*|SET .*;|SELECT pg_catalog\.set_config.*|\\(un)?restrict .*|\s*")


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


@pytest.fixture
def do(zygote: Zygote) -> Runner:
    """Run a command of a project."""
    return lambda project, *args: zygote.run(project, args)


def looks(root: Path) -> dict[str, Any]:
    """Give all that a tree is, but for our own folder."""
    found: dict[str, Any] = {}
    first: dict[tuple[int, int], str] = {}
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name != ".fietsupdate"]
        for name in (".", *names, *files):
            path = os.path.join(folder, name)
            status, key = os.lstat(path), os.path.relpath(path, root)
            content = os.readlink(path) if os.path.islink(path) else ""
            if os.path.isfile(path) and not content:
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            attributes = {one: os.getxattr(path, one, follow_symlinks=False) for one in _attributes(path)}
            same = first.setdefault((status.st_dev, status.st_ino), key)
            owner = (status.st_uid, status.st_gid)
            found[key] = (status.st_mode, *owner, status.st_mtime_ns, content, attributes, same)
    return found


def _attributes(path: str) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)


def planted(data: Path) -> None:
    """Fill a data directory with one of everything."""
    (data / "VERSION").unlink(missing_ok=True)
    file_transactions.plant(data)
    (data / "VERSION").unlink()
    if shutil.which("setfacl"):
        subprocess.run(["setfacl", "-m", "u:4711:r", str(data / "one")], check=False)
        subprocess.run(["setfacl", "-d", "-m", "u:4712:rwx", str(data / "empty")], check=False)
    if os.geteuid() == 0:
        os.chown(data / "tracks" / "2" / "big", 4711, 4712)
    (data / "setgid").mkdir()
    (data / "setgid").chmod(0o2750)


def on_new_machine(old: Project, root: Path, database: Database) -> Project:
    """Install the same application elsewhere, for another database."""
    new = replace(notes(Project.create(root, database), 2))
    shutil.copytree(old.root / "migrations", new.root / "migrations", dirs_exist_ok=True)
    shutil.copytree(old.updates, new.updates, dirs_exist_ok=True)
    return new


def goes_to(do: Runner, old: Project, new: Callable[[], Project], dumped: Callable[[Database], Any]) -> None:
    """Back up, destroy both halves, restore on the new machine, and compare."""
    do(old, "backup").succeeded()
    proved = do(old, "backup", "verify", "--restore").succeeded()
    assert "all of it came back in a trial restore" in proved.stdout
    (backup,) = (old.data / ".fietsupdate" / "backups").iterdir()
    rescued = old.root.parent / "rescued"
    subprocess.run(["cp", "-a", backup, rescued], check=True)
    before = looks(old.data), dumped(old.database)
    shutil.rmtree(old.data)
    old.database.drop()
    there = new()
    done = do(there, "restore", str(rescued), "--yes").succeeded()
    after = looks(there.data), dumped(there.database)
    assert after[0] == before[0]
    assert after[1] == before[1]
    assert "does not exist" not in done.output
    do(there, "check").exited(3)
    do(there, "update", "--yes").succeeded()
    do(there, "check").succeeded()


def test_a_new_machine_gets_everything_back_on_sqlite(do: Runner, tmp_path: Path, sqlite: Database) -> None:
    project = notes(Project.create(tmp_path / "old", sqlite), 2)
    do(project, "update", "v1", "--yes").succeeded()
    with closing(sqlite3.connect(sqlite.file)) as connection:
        connection.executescript(SQLITE_SCRIPT.replace("PRAGMA page_size = 8192;", ""))
        connection.execute("PRAGMA journal_mode = wal")
    sqlite.file.chmod(0o640)
    planted(project.data)
    database = Database(SQLITE, f"sqlite:///{tmp_path / 'elsewhere.db'}", "elsewhere.db")

    def dumped(database: Database) -> Any:
        with closing(sqlite3.connect(database.file)) as connection:
            settings = ("page_size", "user_version", "application_id", "encoding", "auto_vacuum")
            kept = [connection.execute(f"PRAGMA {name}").fetchone() for name in settings]
            return kept, list(connection.iterdump()), oct(database.file.stat().st_mode)

    goes_to(do, project, lambda: on_new_machine(project, tmp_path / "new", database), dumped)


@pytest.fixture
def other_server() -> Iterator[sa.URL]:
    """Run a server of one's own, with another superuser, on another port, whose files are gone afterwards."""
    program = shutil.which("initdb") or max(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), default="")
    if not program or os.geteuid() != 0:
        pytest.skip("a second PostgreSQL server is started as root, by Debian's programs")
    folder = Path(tempfile.mkdtemp(prefix="fietsupdate-"))
    shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = [
        program.replace("initdb", "postgres"),
        "-D",
        str(folder / "data"),
        "-p",
        str(port),
        "-k",
        str(folder),
        "-F",
    ]
    call: dict[str, Any] = {"user": "postgres", "group": "postgres", "cwd": "/", "stdout": subprocess.DEVNULL}
    made = [
        program,
        "-D",
        str(folder / "data"),
        "-U",
        "elsewhere",
        "-A",
        "trust",
        "-N",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
    ]
    subprocess.run(made, check=True, **call)
    running = subprocess.Popen(server, stderr=subprocess.DEVNULL, **call)
    try:
        subprocess.run(
            ["sh", "-c", f"until pg_isready -q -h {folder} -p {port}; do sleep 0.05; done"], check=True, timeout=60
        )
        yield sa.make_url(f"postgresql+psycopg://elsewhere@127.0.0.1:{port}/postgres")
    finally:
        running.terminate()
        running.wait()
        shutil.rmtree(folder)


@contextmanager
def roles(database: Database) -> Iterator[dict[str, str]]:
    """Make the roles that the objects belong to; they are gone afterwards."""
    made = {name: f"case_{database.name[-16:]}_{name}" for name in ("owner", "reader")}
    _execute(sa.make_url(database.url).set(database="postgres"), *(f"CREATE ROLE {role}" for role in made.values()))
    try:
        yield made
    finally:
        database.drop()
        _execute(sa.make_url(database.url).set(database="postgres"), *(f"DROP ROLE {role}" for role in made.values()))


def _execute(url: sa.URL, *statements: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"))


@pytest.mark.parametrize("database", [POSTGRESQL], indirect=True)
def test_a_new_machine_gets_everything_back_on_postgresql(
    do: Runner, tmp_path: Path, database: Database, other_server: sa.URL
) -> None:
    with roles(database) as known:
        project = notes(Project.create(tmp_path / "old", database), 2)
        do(project, "update", "v1", "--yes").succeeded()
        database.execute("INSERT INTO notes (id, text) VALUES (1, 'eins'), (2, 'zwei')")
        _execute(sa.make_url(database.url), EVERYTHING.format(name=database.name, **known))
        planted(project.data)

        def new() -> Project:
            _execute(
                other_server,
                "CREATE ROLE postgres SUPERUSER",
                *(f"CREATE ROLE {role}" for role in known.values()),
                "CREATE DATABASE elsewhere TEMPLATE template0",
            )
            url = other_server.set(database="elsewhere").render_as_string(hide_password=False)
            return on_new_machine(project, tmp_path / "new", Database(POSTGRESQL, url, "elsewhere"))

        goes_to(do, project, new, _script)


def _script(database: Database) -> list[str]:
    """Give pg_dump's script with all that belongs to the database itself, without its name and its own owner."""
    url = sa.make_url(database.url)
    where = ["-h", str(url.host), "-p", str(url.port), "-U", str(url.username)]
    text = subprocess.check_output(["pg_dump", "--create", *where, database.name], text=True)
    lines = text.replace(database.name, "DATABASE").splitlines()
    own = re.compile(
        r"(CREATE DATABASE|ALTER DATABASE DATABASE OWNER|(GRANT|REVOKE) .* (TO|FROM) (postgres|elsewhere);)"
    )
    return [line for line in lines if not _NOISE.fullmatch(line) and not own.match(line)]


@pytest.mark.parametrize("database", [MARIADB], indirect=True)
def test_a_new_machine_gets_everything_back_on_mariadb(do: Runner, tmp_path: Path, database: Database) -> None:
    """On another port, under another name, for an ordinary user: what was root's is his own."""
    with mariadb.another_server() as server:
        project = notes(Project.create(tmp_path / "old", database), 2)
        do(project, "update", "v1", "--yes").succeeded()
        database.execute("INSERT INTO notes (id, text) VALUES (1, 'eins'), (2, 'zwei')")
        mariadb.make_everything(database.url)
        planted(project.data)
        url = server.set(username="heir", database="elsewhere").render_as_string(hide_password=False)

        def new() -> Project:
            _execute(
                server,
                "CREATE USER heir@127.0.0.1",
                "GRANT ALL ON `elsewhere%`.* TO heir@127.0.0.1",
                "CREATE DATABASE elsewhere CHARACTER SET latin1",
            )
            return on_new_machine(project, tmp_path / "new", Database(MARIADB, url, "elsewhere"))

        def dumped(database: Database) -> Any:
            text = mariadb.text_of(database).replace("`root`@`127.0.0.1`", "`heir`@`127.0.0.1`")
            return text.replace('"root"@"127.0.0.1"', '"heir"@"127.0.0.1"')

        goes_to(do, project, new, dumped)
