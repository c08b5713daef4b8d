"""The databases' own programs: found, new enough, given no secret that others can see, and never left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from fietsupdate.database.dump import (
    mysql_client,
    mysql_origin,
    open_store,
    postgresql_client,
    postgresql_place,
    programs,
)
from fietsupdate.database.dump import mysql_client as mysql_address
from fietsupdate.errors import DatabaseError
from fietsupdate.process import Signals, Stop
from support.databases import MARIADB, POSTGRESQL, Database
from support.stores import is_alive, stand_in, store_of

SECRET = "pa:ss\\w'o\"rd #; ü="
POSTGRES = sa.URL.create("postgresql+asyncpg", "me", SECRET, "db.example", 6543, "shop").render_as_string(False)
MARIA = sa.URL.create("mysql+asyncmy", "me", SECRET, "db.example", 3307, "shop").render_as_string(False)

Programs = Callable[..., Path]


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Give a function that puts a program first on PATH; it may use $OUT, the test's folder."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("OUT", str(tmp_path))
    mysql_client.families.clear()
    mysql_client._only_mysql.cache_clear()
    yield lambda name, script: stand_in(tmp_path / "bin", name, script)
    mysql_client.families.clear()
    mysql_client._only_mysql.cache_clear()


def fails(action: Callable[[], object]) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught:
        action()
    return caught.value


# -- there, and new enough


@pytest.mark.parametrize(
    ("url", "program", "hint"),
    [
        (POSTGRES, "pg_dump", "Install PostgreSQL's client programs of the server's version"),
        (MARIA, "mysql or mariadb", "Install the database's client programs"),
    ],
)
def test_a_missing_program_is_named(url: str, program: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    error = fails(open_store(url, file=None).check)
    assert error.message == f"The program {program} is not installed, or not in PATH."
    assert error.hint.startswith(hint)


def test_pg_dump_must_not_be_older_than_the_server(postgresql: Database, stand_ins: Programs) -> None:
    store_of(postgresql).check()
    stand_ins("pg_dump", 'echo "pg_dump (PostgreSQL) 9.6.24"')
    error = fails(store_of(postgresql).check)
    assert re.fullmatch(r"pg_dump is version 9\.6\.24, older than the PostgreSQL server, \d.*\.", error.message)
    assert re.fullmatch(
        r"Install the client programs of PostgreSQL (\d+) \(Debian: postgresql-client-\1\)\.", error.hint
    )


def test_mariadb_dump_must_not_be_older_than_the_server(mariadb: Database, stand_ins: Programs) -> None:
    store_of(mariadb).check()
    stand_ins("mariadb-dump", 'echo "mariadb-dump  Ver 10.19 Distrib 10.1.48-MariaDB, for debian-linux-gnu (x86_64)"')
    error = fails(store_of(mariadb).check)
    assert re.fullmatch(r"mariadb-dump is version 10\.1\.48, older than the server, \d.*MariaDB.*\.", error.message)
    assert re.fullmatch(r"Install the client programs of version \d+\.\d+ or later\.", error.hint)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)", (10, 11, 19)),
        ("mariadb-dump from 11.4.2-MariaDB, client 10.19 for debian-linux-gnu (x86_64)", (11, 4, 2)),
        ("mysqldump  Ver 10.13 Distrib 5.7.44, for linux-glibc2.12 (x86_64)", (5, 7, 44)),
        ("mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)", (8, 0, 36)),
    ],
)
def test_versions_are_read_from_every_family(stand_ins: Programs, text: str, version: tuple[int, ...]) -> None:
    assert mysql_client.program_version(str(stand_ins("mysqldump", f'echo "{text}"'))) == version


# -- secrets

TELL_ALL = """
tr '\\0' '\\n' < /proc/$$/cmdline > $OUT/arguments
tr '\\0' '\\n' < /proc/$$/environ > $OUT/environment
{ stat -L -c %a "$PASS"; cat "$PASS"; } > $OUT/secret
"""


def test_a_postgresql_password_is_in_a_private_file_only(
    stand_ins: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "of somebody else")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    stand_ins("pg_dump", "PASS=$PGPASSFILE" + TELL_ALL + "echo dump")
    open_store(POSTGRES, file=None).dump(tmp_path / "dump")
    assert (tmp_path / "secret").read_text() == "600\n*:*:*:*:pa\\:ss\\\\w'o\"rd #; ü=\n"
    seen = (tmp_path / "arguments").read_text() + (tmp_path / "environment").read_text()
    assert "dbname='shop' user='me' host='db.example' port='6543'" in seen
    assert "rd #" not in seen
    assert "of somebody else" not in seen
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_mysql_password_is_in_a_private_file_only(
    stand_ins: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And in no file that is read beside it: `--defaults-file` is alone."""
    monkeypatch.setenv("MYSQL_PWD", "of somebody else")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    stand_ins("mysql", "PASS=${1#--defaults-file=}" + TELL_ALL + "exit 0")
    assert open_store(MARIA, file=None).query("SELECT 1") == []
    lines = (tmp_path / "secret").read_text().splitlines()
    assert lines[:2] == ["600", "[client]"]
    assert 'password="pa:ss\\\\w\'o\\"rd #; ü="' in lines
    assert {'host="db.example"', 'user="me"', 'port="3307"', 'protocol="tcp"'} <= set(lines)
    seen = (tmp_path / "arguments").read_text() + (tmp_path / "environment").read_text()
    assert "--database=shop" in seen
    assert "rd #" not in seen
    assert "of somebody else" not in seen
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_a_program_says_is_told_without_secrets(stand_ins: Programs, tmp_path: Path) -> None:
    stand_ins("pg_dump", "echo half; for n in 1 2 3 4 5 6 7; do echo line $n; done >&2; cat $PGPASSFILE >&2; exit 3")
    url = sa.make_url(POSTGRES).set(password="s3cret")
    store = open_store(url.render_as_string(hide_password=False), file=None)
    error = fails(lambda: store.dump(tmp_path / "dump"))
    assert error.message == "pg_dump failed: line 3 line 4 line 5 line 6 line 7 *:*:*:*:***."
    assert "s3cret" not in repr(store.masked_url) + repr(error.details)
    assert not list(tmp_path.glob("dump*"))


def test_statements_that_a_client_repeats_are_not_told(mariadb: Database) -> None:
    rows = "('private'), " * 5000
    error = fails(lambda: store_of(mariadb).run(f"INSERT INTO nowhere VALUES {rows}('private')"))
    assert re.fullmatch(r"The database said: Table '\w+\.nowhere' doesn't exist\.", error.message)


def test_passwords_in_the_query_are_not_shown() -> None:
    store = open_store("postgresql+psycopg://h/d?user=me&password=s3cret&sslpassword=other", file=None)
    assert "s3cret" not in store.masked_url
    assert "other" not in store.masked_url


# -- nobody is left behind


def test_a_signal_ends_the_program_and_removes_what_it_wrote(stand_ins: Programs, tmp_path: Path) -> None:
    stand_ins("pg_dump", "echo $$ > $OUT/pid; echo some; kill -TERM $PPID; exec sleep 300")
    store = open_store(POSTGRES, file=None)
    with Signals().installed(), pytest.raises(Stop):
        store.dump(tmp_path / "dump")
    assert not is_alive(int((tmp_path / "pid").read_text()))
    assert not list(tmp_path.glob("dump*"))


def test_a_program_that_does_not_listen_is_killed(
    stand_ins: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "GRACE", 0.05)
    stand_ins("pg_dump", "trap '' TERM; echo $$ > $OUT/pid; echo some; kill -TERM $PPID; while :; do sleep 1; done")
    store = open_store(POSTGRES, file=None)
    with Signals().installed(), pytest.raises(Stop):
        store.dump(tmp_path / "dump")
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_a_killed_dump_leaves_nobody_who_writes_on(stand_ins: Programs, tmp_path: Path) -> None:
    stand_ins("pg_dump", "echo $$ > $OUT/pid; while echo more; do :; done")
    code = "import sys, pathlib; from fietsupdate.database.dump import open_store as o; "
    code += "o(sys.argv[1], file=None).dump(pathlib.Path(sys.argv[2]))"
    child = subprocess.Popen([sys.executable, "-c", code, POSTGRES, str(tmp_path / "dump")], stderr=subprocess.DEVNULL)
    while not (pid := (tmp_path / "pid")).exists() or not pid.read_text().strip():
        assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    while is_alive(int(pid.read_text())):
        pass
    assert not (tmp_path / "dump").exists()


def test_a_reader_that_fails_says_why(stand_ins: Programs, tmp_path: Path) -> None:
    """It takes no more while we still write; its own words are told, not our broken pipe."""
    (tmp_path / "big").write_bytes(b"x" * 3_000_000)
    call = programs.Call((str(stand_ins("psql", "head -c 10 > $OUT/head; echo 'no room' >&2; exit 1")),))
    assert fails(lambda: programs.from_file(call, tmp_path / "big")).message == "psql failed: no room."


def test_ctrl_c_is_not_for_the_programs(stand_ins: Programs) -> None:
    call = programs.Call((str(stand_ins("psql", "ps -o pgid= -p $$ || cut -d' ' -f5 /proc/$$/stat")),))
    assert int(programs.output_of(call)) != os.getpgid(0)


# -- from URLs to options


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u@h/d", {"host": "h", "user": "u", "dbname": "d"}),
        ("postgresql+psycopg://u@[2001:db8::1]:5433/d", {"host": "2001:db8::1", "port": "5433"}),
        ("postgresql+psycopg://u@/d?host=/run/pg&port=5434", {"host": "/run/pg", "port": "5434"}),
        ("postgresql+psycopg://u@/d?host=a:1&host=b:2", {"host": "a,b", "port": "1,2"}),
        ("postgresql+psycopg://u@/d?host=a,b&port=1,2", {"host": "a,b", "port": "1,2"}),
        ("postgresql+asyncpg://u@/d?host=[2001:db8::1]:5&host=b:6", {"host": "2001:db8::1,b", "port": "5,6"}),
        ("postgresql+asyncpg://u@h/d?ssl=verify-full&command_timeout=5", {"sslmode": "verify-full"}),
        ("postgresql+asyncpg://u@h/d?ssl=True&prepared_statement_cache_size=0", {}),
        ("postgresql+pg8000://u@/d?unix_sock=/run/pg/.s.PGSQL.5435", {"host": "/run/pg", "port": "5435"}),
        ("postgresql+pg8000://u@/d", {"host": "localhost"}),
        ("postgresql+psycopg2://h?dbname=q&user=w&sslmode=require&sslrootcert=/ca", {"dbname": "q", "user": "w",
                                                                "sslmode": "require", "sslrootcert": "/ca"}),
        ("postgresql://u@h/d?target_session_attrs=read-write&options=-csearch_path%3Dx",
         {"target_session_attrs": "read-write", "options": "-csearch_path=x"}),
        ("postgresql://u@h/d?connect_timeout=3&application_name=x", {"connect_timeout": "3"}),
        ("postgresql://only_a_user@h", {"dbname": "only_a_user"}),
    ],
)  # fmt: skip
def test_any_postgresql_url_becomes_parameters(url: str, expected: dict[str, str]) -> None:
    found = postgresql_client.parameters(sa.make_url(url))
    parts = {name: found.get(name) for name in expected}
    assert parts == expected
    known = {"host", "port", "user", "dbname", "sslmode", "sslrootcert", "options", "target_session_attrs",
             "connect_timeout"}  # fmt: skip
    assert found.keys() <= known


def test_connection_strings_are_quoted() -> None:
    assert postgresql_client.conninfo({"dbname": "o'dd \\ x"}) == "dbname='o\\'dd \\\\ x'"


@pytest.mark.parametrize(
    ("url", "there", "not_there"),
    [
        ("mysql+pymysql://u@h/d?charset=utf8mb4", ['host="h"', 'protocol="tcp"'], ["port="]),
        ("mysql+mysqldb://u@localhost/d", ['host="localhost"'], ["protocol="]),
        ("mysql+pymysql://u@/d?unix_socket=/run/my.sock", ['socket="/run/my.sock"'], ["protocol=", "host="]),
        ("mysql+aiomysql://u@[2001:db8::1]:3307/d", ['host="2001:db8::1"', 'port="3307"'], []),
        ("mysql+pymysql://u@h/d?ssl_ca=/ca&ssl_cert=/c&ssl_key=/k", ['ssl-ca="/ca"', 'ssl-cert="/c"', "loose-ssl"], []),
        ("mysql+pymysql://u@h/d?ssl_ca=/ca&ssl_verify_identity=true", ["loose-ssl-verify-server-cert"], []),
        ("mysql+mysqldb://u@h/d?ssl_mode=REQUIRED", ["loose-ssl", "loose-ssl-mode=REQUIRED"], []),
        ("mysql+mysqldb://u@h/d?ssl_mode=DISABLED", ["loose-skip-ssl"], []),
        ("mariadb+mariadbconnector://u@h/d?ssl=true", ["loose-ssl-mode=REQUIRED"], []),
        ("mysql+mysqldb://u@h/d?read_default_file=/etc/app.cnf", ["!include /etc/app.cnf"], []),
        ("mysql+pymysql://u@h/d?connect_timeout=4", ["connect-timeout=4"], []),
        ("mysql+pymysql://u@h/d?autocommit=true&local_infile=1", [], ["autocommit", "infile"]),
    ],
)
def test_any_mysql_url_becomes_an_option_file(url: str, there: list[str], not_there: list[str]) -> None:
    lines = mysql_address.options(sa.make_url(url)).splitlines()
    assert set(there) <= set(lines)
    assert not [line for line in lines for name in not_there if line.startswith(name)]
    assert "default-character-set=utf8mb4" in lines


def test_settings_that_are_lists_are_written_as_lists() -> None:
    answers = {"pg_db_role_setting": [("", 'search_path="$user", "odd, ""x", public'), ("", "DateStyle=ISO, DMY")]}

    def ask(sql: str) -> list[tuple[str | None, ...]]:
        return next((rows for name, rows in answers.items() if name in sql), [])

    known = postgresql_place.properties(ask, "live")
    assert list(postgresql_place.statements(known, "new", "me")) == [
        "ALTER DATABASE \"new\" SET \"search_path\" TO '$user', 'odd, \"x', 'public'",
        'ALTER DATABASE "new" SET "DateStyle" TO \'ISO, DMY\'',
    ]


def test_lines_of_a_dump_that_name_their_database_are_turned_to_another() -> None:
    """And what belonged to the user who dumped; a sequence of another database, and what others own, stay theirs."""
    heir = mysql_origin.Heir("you@here", takes_all=False)
    edit = mysql_origin.fitting(mysql_origin.Origin("live", "me@%"), sa.make_url("mysql://h/o%60dd"), heir)
    assert edit(b"ALTER DATABASE `li``ve` CHARACTER SET utf8mb4 ;\n") == (
        b"ALTER DATABASE `o``dd` CHARACTER SET utf8mb4 ;\n"
    )
    assert edit(b"  `n` bigint(20) NOT NULL DEFAULT nextval(`live`.`counter`),\n") == (
        b"  `n` bigint(20) NOT NULL DEFAULT nextval(`counter`),\n"
    )
    assert edit(b"/*!50003 CREATE*/ /*!50017 DEFINER=`me`@`%`*/ /*!50003 TRIGGER") == (
        b"/*!50003 CREATE*/ /*!50017 DEFINER=CURRENT_USER*/ /*!50003 TRIGGER"
    )
    assert edit(b'CREATE DEFINER="me"@"%" PACKAGE "p" AS') == b'CREATE DEFINER=CURRENT_USER PACKAGE "p" AS'
    for same in (
        b"INSERT INTO `t` VALUES ('ALTER DATABASE `live` x'),('  `n` nextval(`live`.`c`)');\n",
        b"  `n` bigint(20) NOT NULL DEFAULT nextval(`other`.`counter`),\n",
        b"/*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */",
        b"CREATE DEFINER=`me`@`localhost` PROCEDURE `p`()",
    ):
        assert edit(same) == same


@pytest.mark.parametrize(("kind", "name"), [(POSTGRESQL, "_old_"), (MARIADB, "_old_")])
def test_tags_that_do_not_fit_into_a_name_are_hashed(kind: str, name: str) -> None:
    store = open_store(POSTGRES if kind == POSTGRESQL else MARIA, file=None)
    urls = [sa.make_url(store.sibling("old", tag).url).database or "" for tag in ("t1", "x" * 99, "y" * 99, "a`b")]
    assert urls[0] == f"shop{name}t1"
    assert len(set(urls)) == 4
    assert all(re.fullmatch(r"shop_old_[0-9a-z]{1,24}", url) for url in urls)
