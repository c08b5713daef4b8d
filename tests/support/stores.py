"""Databases that hold some of everything, and programs that stand in for the databases' own."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fietsupdate.database.dump import open_store
from fietsupdate.database.dump.store import Store
from support.databases import MARIADB, POSTGRESQL, SQLITE, Database

SQLITE_SCRIPT = r"""
PRAGMA page_size = 8192; PRAGMA user_version = 42; PRAGMA application_id = 7;
CREATE TABLE owner (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE DEFAULT 'it''s, so');
CREATE TABLE thing (id INTEGER PRIMARY KEY, owner INTEGER REFERENCES owner (id) ON DELETE CASCADE, data BLOB,
    size REAL, label TEXT GENERATED ALWAYS AS (upper(size)) STORED, CHECK (id > 0));
CREATE TABLE pair (a TEXT, b TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE INDEX things_by_owner ON thing (owner) WHERE size > 1;
CREATE VIEW owned AS SELECT o.name, t.id FROM thing t JOIN owner o ON o.id = t.owner;
CREATE TRIGGER noted AFTER INSERT ON pair BEGIN INSERT INTO owner (name) VALUES (new.a || '; ' || new.b); END;
CREATE VIRTUAL TABLE words USING fts5(body);
INSERT INTO owner (name) VALUES ('zoë'), ('emoji 🚲'), ('');
DELETE FROM owner WHERE name = '';
INSERT INTO thing (id, owner, data, size) VALUES (1, 1, x'00ff0a0d00', 1.5), (2, NULL, NULL, NULL), (3, 2, x'', 1e300);
INSERT INTO pair VALUES ('tab	', 'line
end'), ('', 'null-not');
INSERT INTO words VALUES ('a bicycle');
"""

POSTGRESQL_SCRIPT = r"""
CREATE SCHEMA "Other part"; CREATE EXTENSION pg_trgm SCHEMA "Other part"; CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TABLE public.owner (id SERIAL PRIMARY KEY, name TEXT NOT NULL UNIQUE DEFAULT 'it''s, so', feels mood);
CREATE TABLE "Other part".thing (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at TIMESTAMPTZ, data BYTEA,
    owner INTEGER REFERENCES public.owner ON DELETE CASCADE DEFERRABLE, doc JSONB, tags TEXT[], CHECK (id > 0));
CREATE TABLE public.log (day DATE NOT NULL, what TEXT) PARTITION BY RANGE (day);
CREATE TABLE public.log_2026 PARTITION OF public.log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE INDEX things_by_doc ON "Other part".thing USING gin (doc);
CREATE INDEX owners_by_name ON public.owner USING gin (name "Other part".gin_trgm_ops);
CREATE VIEW public.owned AS SELECT o.name, t.id FROM "Other part".thing t JOIN public.owner o ON o.id = t.owner;
CREATE MATERIALIZED VIEW public.counted AS SELECT count(*) AS n FROM public.owner;
CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.what := NEW.what || ';'; RETURN NEW; END $$;
CREATE TRIGGER noted BEFORE INSERT ON public.log FOR EACH ROW EXECUTE FUNCTION public.note();
COMMENT ON TABLE public.owner IS 'who; has -- things';
INSERT INTO public.owner (name, feels) VALUES ('zoë', 'glad'), ('emoji 🚲', NULL), (E'tab\t \\N \\ line\n', 'sad');
INSERT INTO "Other part".thing (at, data, owner, doc, tags)
    VALUES ('2026-03-29 01:30:00+00', '\x00ff0a0d00', 1, '{"a": [1, null]}', '{a,"b c",NULL}'),
           (NULL, '', 2, NULL, '{}');
INSERT INTO public.log VALUES ('2026-05-01', 'ride');
SELECT lo_from_bytea(4711, '\xdeadbeef'); SELECT setval('public.owner_id_seq', 41);
REFRESH MATERIALIZED VIEW public.counted;
"""

MARIADB_SCRIPT = r"""
CREATE TABLE owner (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(80) NOT NULL UNIQUE DEFAULT 'it''s, so')
    AUTO_INCREMENT = 42;
CREATE TABLE thing (id BIGINT UNSIGNED PRIMARY KEY, owner INT, above BIGINT UNSIGNED, data BLOB, b BIT(3), at TIMESTAMP
    NULL, flat DECIMAL(30, 10), feels ENUM('sad', 'glad'), size INT GENERATED ALWAYS AS (LENGTH(data)) STORED,
    CONSTRAINT owned_by FOREIGN KEY (owner) REFERENCES owner (id) ON DELETE CASCADE,
    FOREIGN KEY (above) REFERENCES thing (id), KEY by_size (size), CHECK (id > 0));
CREATE TABLE `odd "näme` (`a b` TEXT, doc JSON) ENGINE = MyISAM;
INSERT INTO owner (name) VALUES ('zoë'), ('emoji 🚲'), ('tab\t ; \\ line\n');
INSERT INTO thing (id, owner, above, data, b, at, flat, feels) VALUES
    (18446744073709551615, 42, NULL, x'00ff0a0d00', b'101', '2026-03-29 01:30:00', 12345678901234567890.0123456789,
     'sad'),
    (2, NULL, 18446744073709551615, NULL, NULL, NULL, NULL, NULL);
INSERT INTO `odd "näme` VALUES ('NULL', '{"a": null}'), (NULL, NULL);
CREATE SEQUENCE counter START WITH 7; SELECT NEXTVAL(counter);
CREATE TABLE ticket (n BIGINT PRIMARY KEY DEFAULT NEXTVAL(counter)); INSERT INTO ticket VALUES (DEFAULT);
CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2;
CREATE PROCEDURE forget() DELETE FROM thing;
CREATE VIEW owned AS SELECT o.name, twice(t.id > 5) AS n FROM thing t JOIN owner o ON o.id = t.owner;
CREATE VIEW all_owned AS SELECT * FROM owned;
CREATE TRIGGER noted BEFORE INSERT ON owner FOR EACH ROW SET NEW.name = CONCAT(NEW.name, ';');
CREATE EVENT tidy ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01 00:00:00' DO DELETE FROM thing;
CREATE EVENT quiet ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01 00:00:00' DISABLE DO DELETE FROM thing
"""


def filled(database: Database, script: str = "") -> Store:
    """Put some of everything into an empty database; return its store."""
    if database.kind == SQLITE:
        with closing(sqlite3.connect(database.file)) as connection:
            connection.executescript(script or SQLITE_SCRIPT)
    else:
        store_of(database).run(script or (POSTGRESQL_SCRIPT if database.kind == POSTGRESQL else MARIADB_SCRIPT))
    return store_of(database)


def store_of(database: Database) -> Store:
    """Return the store of a test's database."""
    return open_store(database.url, file=database.file if database.kind == SQLITE else None)


CHANGES = {
    SQLITE: "DROP TABLE pair; DELETE FROM thing; UPDATE owner SET name = name || '!'; CREATE TABLE more (n)",
    POSTGRESQL: 'DROP TABLE public.log; DELETE FROM "Other part".thing; CREATE TABLE public.more (n INT)',
    MARIADB: "DROP VIEW all_owned; DROP VIEW owned; DROP TRIGGER noted; DELETE FROM thing; CREATE TABLE more (n INT)",
}
"""The statements that change a filled database afterwards."""


def everything(database: Database) -> dict[str, Any]:
    """Return all that a copy must bring back, beside the dump: sequences, routines, events, rights, settings."""
    return {"dump": database.dump(), "more": _MORE[database.kind](database)}


def _sqlite(database: Database) -> Any:
    with closing(sqlite3.connect(database.file)) as connection:
        pragmas = ("page_size", "user_version", "application_id", "journal_mode", "encoding")
        words = connection.execute("SELECT body FROM words WHERE words MATCH 'bicycle'").fetchall()
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas], words


_OF_POSTGRESQL = (
    "SELECT last_value, is_called FROM public.owner_id_seq",
    "SELECT loid::text, encode(data, 'hex') FROM pg_largeobject",
    "SELECT extname, extnamespace::regnamespace::text FROM pg_extension",
    "SELECT obj_description('public.owner'::regclass)",
    "SELECT n FROM public.counted",
    """SELECT datdba::regrole::text, pg_encoding_to_char(encoding), datcollate, datctype, datconnlimit, datacl::text,
              shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()""",
    """SELECT setrole::regrole::text, setconfig::text FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
        WHERE datname = current_database() ORDER BY 1""",
)


def _postgresql(database: Database) -> Any:
    return [database.execute(sql) for sql in _OF_POSTGRESQL]


_OF_MARIADB = (
    "SELECT event_name, status, event_definition FROM information_schema.events WHERE event_schema = DATABASE()",
    """SELECT routine_name, routine_type, routine_definition FROM information_schema.routines
        WHERE routine_schema = DATABASE()""",
    """SELECT default_character_set_name, default_collation_name FROM information_schema.schemata
        WHERE schema_name = DATABASE()""",
    """SELECT table_name, auto_increment FROM information_schema.tables
        WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'""",
    "SELECT next_not_cached_value FROM counter",
    "SELECT * FROM all_owned",
)


def _mariadb(database: Database) -> Any:
    return [sorted(database.execute(sql), key=repr) for sql in _OF_MARIADB]


_MORE = {SQLITE: _sqlite, POSTGRESQL: _postgresql, MARIADB: _mariadb}


def databases_on(database: Database) -> set[str]:
    """Return the databases that exist for this one: itself, and those whose names begin with its own."""
    if database.kind == SQLITE:
        return {path.name for path in database.file.parent.iterdir() if path.name.startswith(database.file.name)}
    column, table = ("datname", "pg_database") if database.kind == POSTGRESQL else ("schema_name", "schemata")
    place = table if database.kind == POSTGRESQL else f"information_schema.{table}"
    prefix = database.name.replace("_", r"\_")
    rows = store_of(database).query(f"SELECT {column} FROM {place} WHERE {column} LIKE '{prefix}%'")
    return {str(name) for (name,) in rows}


def stand_in(folder: Path, name: str, script: str) -> Path:
    """Write a program of that name into a folder that comes first on PATH; the test gives the folder to it."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def administer(database: Database, *statements: str) -> None:
    """Execute statements on a server, from a database that is none of the test's."""
    server = sa.make_url(database.url).set(database="postgres" if database.kind == POSTGRESQL else "")
    engine = sa.create_engine(server, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"))
    engine.dispose()


def quoted(database: Database, name: str) -> str:
    """Quote an identifier as the database's server wants it."""
    mark = '"' if database.kind == POSTGRESQL else "`"
    return mark + name.replace(mark, mark * 2) + mark


def sweep(database: Database) -> None:
    """Drop what a failed test left beside a server's database."""
    if database.kind != SQLITE and (left := databases_on(database) - {database.name}):
        administer(database, *(f"DROP DATABASE IF EXISTS {quoted(database, name)}" for name in left))
