"""Users of a MariaDB server that belong to one test, and a database with every kind of object."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from fietsupdate.database.dump import mysql_client, open_store
from fietsupdate.database.dump.store import Store
from support.databases import Database
from support.stores import administer

EVERYTHING = r"""
CREATE TABLE owner (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(80) NOT NULL UNIQUE DEFAULT 'it''s, so',
    hidden INT INVISIBLE DEFAULT 4, u UUID DEFAULT '123e4567-e89b-12d3-a456-426655440000', net INET6 DEFAULT '::1',
    twice INT AS (id * 2) VIRTUAL, half INT AS (LENGTH(name)) STORED, doc JSON, long_text TEXT COMPRESSED,
    CONSTRAINT named CHECK (name <> 'no')) AUTO_INCREMENT = 42 COMMENT 'who; has -- things';
CREATE TABLE thing (id BIGINT UNSIGNED PRIMARY KEY, owner INT, data LONGBLOB, b BIT(3), at TIMESTAMP(6) NULL,
    day DATE, feels ENUM('sad', 'glad'), many SET('a', 'b'), place GEOMETRY NOT NULL, SPATIAL KEY (place),
    FOREIGN KEY (owner) REFERENCES owner (id) ON DELETE CASCADE ON UPDATE SET NULL);
CREATE TABLE old_text (t VARCHAR(40) CHARACTER SET latin1 COLLATE latin1_german1_ci, FULLTEXT (t)) ENGINE = MyISAM;
CREATE TABLE in_aria (id INT PRIMARY KEY) ENGINE = Aria;
CREATE TABLE in_memory (id INT) ENGINE = MEMORY;
CREATE TABLE in_csv (id INT NOT NULL, t TEXT NOT NULL) ENGINE = CSV;
CREATE TABLE part_one (id INT, KEY (id)) ENGINE = MyISAM;
CREATE TABLE part_two LIKE part_one;
CREATE TABLE parts (id INT, KEY (id)) ENGINE = MERGE UNION = (part_one, part_two) INSERT_METHOD = LAST;
CREATE TABLE ranged (id INT PRIMARY KEY) PARTITION BY RANGE (id)
    (PARTITION low VALUES LESS THAN (10), PARTITION high VALUES LESS THAN MAXVALUE);
CREATE TABLE versioned (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING;
CREATE TABLE stamped (x INT, f TIMESTAMP(6) GENERATED ALWAYS AS ROW START, t TIMESTAMP(6) GENERATED ALWAYS AS ROW END,
    PERIOD FOR SYSTEM_TIME (f, t)) WITH SYSTEM VERSIONING;
CREATE TABLE booked (id INT, s DATE, e DATE, PERIOD FOR valid (s, e), UNIQUE (id, valid WITHOUT OVERLAPS));
CREATE SEQUENCE counter START WITH 7 INCREMENT BY 3 CACHE 5;
SELECT NEXTVAL(counter);
CREATE TABLE ticket (n BIGINT PRIMARY KEY DEFAULT (NEXTVAL(counter) + 100));
INSERT INTO ticket VALUES (DEFAULT);
CREATE TABLE `odd "näme` (`a b` TEXT);
INSERT INTO owner (name, doc) VALUES ('zoë', '{"a": null}'), ('emoji 🚲', NULL), ('tab\t ; \\ line\n', '[]');
INSERT INTO thing VALUES (18446744073709551615, 42, x'00ff0a0d001a5c27', b'101', '2026-03-29 01:30:00.123456',
    '2026-01-01', 'sad', 'a,b', POINT(1, 2)), (2, NULL, REPEAT(x'00', 100000), NULL, NULL, NULL, NULL, '', POINT(0, 0));
INSERT INTO old_text VALUES (CONVERT(x'fc6265' USING latin1)), (NULL);
INSERT INTO in_aria VALUES (1);
INSERT INTO in_memory VALUES (2);
INSERT INTO in_csv VALUES (3, 'a,"b"');
INSERT INTO part_one VALUES (1);
INSERT INTO part_two VALUES (2);
INSERT INTO ranged VALUES (1), (20);
INSERT INTO versioned VALUES (1, 1);
UPDATE versioned SET v = 2;
INSERT INTO stamped (x) VALUES (1);
INSERT INTO booked VALUES (1, '2020-01-01', '2021-01-01');
INSERT INTO `odd "näme` VALUES ('NULL'), (NULL);
CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2;
CREATE AGGREGATE FUNCTION total(x INT) RETURNS INT DETERMINISTIC
BEGIN DECLARE s INT DEFAULT 0; DECLARE EXIT HANDLER FOR NOT FOUND RETURN s;
    LOOP FETCH GROUP NEXT ROW; SET s = s + x; END LOOP; END;
CREATE PROCEDURE forget(IN what INT) SQL SECURITY INVOKER COMMENT 'it''s' DELETE FROM thing WHERE id = what;
CREATE VIEW owned AS SELECT o.name, twice(t.id > 5) AS n FROM thing t JOIN owner o ON o.id = t.owner;
CREATE VIEW all_owned AS SELECT * FROM owned;
CREATE ALGORITHM = MERGE SQL SECURITY INVOKER VIEW checked AS SELECT id FROM thing WHERE id > 1 WITH CHECK OPTION;
CREATE TRIGGER first_noted BEFORE INSERT ON owner FOR EACH ROW SET NEW.name = CONCAT(NEW.name, ';');
CREATE TRIGGER then_noted BEFORE INSERT ON owner FOR EACH ROW FOLLOWS first_noted SET NEW.doc = '{}';
CREATE TRIGGER gone AFTER DELETE ON thing FOR EACH ROW INSERT INTO in_aria VALUES (OLD.id % 1000);
CREATE EVENT tidy ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01 00:00:00' COMMENT 'x' DO CALL forget(1);
CREATE EVENT quiet ON SCHEDULE AT '2037-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE DO DELETE FROM thing;
SET sql_mode = ORACLE
"""
"""Statements, each of which ends with a line."""
PACKAGE = "CREATE PACKAGE tools AS FUNCTION one RETURN INT; PROCEDURE two(a INT); END"
PACKAGE_BODY = (
    "CREATE PACKAGE BODY tools AS FUNCTION one RETURN INT AS BEGIN RETURN 1; END; "
    "PROCEDURE two(a INT) AS BEGIN SELECT a; END; END"
)


def make_everything(url: str) -> None:
    """Fill a database with one of every kind."""
    with connected(url) as connection:
        for statement in re.split(r";\n(?! )", EVERYTHING):
            connection.exec_driver_sql(statement.replace("%", "%%"))
        connection.exec_driver_sql(PACKAGE)
        connection.exec_driver_sql(PACKAGE_BODY)


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    """Return a connection on which each statement commits by itself."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@contextmanager
def user(database: Database, *grants: str, password: str = "") -> Iterator[str]:
    """Make an ordinary user of a server with the given grants; return the user's name.

    Args:
        database: A database on the server.
        grants: What is written between GRANT and TO.
        password: The user's password.
    """
    name = f"u{uuid.uuid4().hex[:10]}"
    administer(database, f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY '{password}'")
    try:
        administer(database, *(f"GRANT {grant} TO {name}@'127.0.0.1'" for grant in grants))
        yield name
    finally:
        administer(database, f"DROP USER {name}@'127.0.0.1'")


def everywhere(database: Database) -> str:
    """Return the grants that the documentation names: all, on the database and those beside it."""
    escaped = database.name.replace("_", "\\_")
    return f"ALL ON `{escaped}%`.*"


def as_user(url: str, name: str) -> str:
    """Return a URL with another user."""
    return sa.make_url(url).set(username=name).render_as_string(hide_password=False)


def text_of(database: Database) -> str:
    """Return the dump of a database without its name: all definitions with their owners, and all rows."""
    url = sa.make_url(database.url)
    login = [f"--user={url.username}", f"--host={url.host}", f"--port={url.port}", "--protocol=tcp"]
    what = ["--routines", "--events", "--hex-blob", "--dump-history", "--skip-dump-date", "--databases", database.name]
    done = subprocess.run(["mariadb-dump", "--no-defaults", *login, *what], capture_output=True, check=True)
    text = done.stdout.decode(errors="surrogateescape").replace(database.name, "NAME")
    return re.sub(r"-- Host:.*", "", text)


@contextmanager
def another_server() -> Iterator[sa.URL]:
    """Run a separate server on another port; its files are removed afterwards."""
    programs = [shutil.which(name) for name in ("mariadb-install-db", "mariadbd", "mariadb-admin")]
    if not all(programs) or os.geteuid() != 0:
        pytest.skip("a second MariaDB server is started as root, by Debian's programs")
    folder = Path(tempfile.mkdtemp(prefix="fietsupdate-"))
    shutil.chown(folder, "mysql")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    install, server, admin = (str(program) for program in programs)
    common = ["--no-defaults", "--user=mysql", f"--datadir={folder / 'data'}"]
    quick = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
    subprocess.run([install, *common, *quick], check=True, capture_output=True)
    place = [f"--port={port}", f"--socket={folder / 'socket'}", "--bind-address=127.0.0.1", "--skip-log-bin"]
    with open(folder / "log", "wb") as log:
        running = subprocess.Popen([server, *common, *place], stdout=log, stderr=log)
    try:
        there = f"until {admin} --no-defaults -uroot --socket={folder / 'socket'} ping; do sleep 0.05; done"
        subprocess.run(["sh", "-c", there], check=True, timeout=60, capture_output=True)
        yield sa.make_url(f"mysql+pymysql://root@127.0.0.1:{port}/")
    finally:
        running.terminate()
        running.wait()
        shutil.rmtree(folder)


def store_as(database: Database, name: str) -> Store:
    """Return the store of a database for another user."""
    mysql_client.families.clear()
    return open_store(as_user(database.url, name), file=None)
