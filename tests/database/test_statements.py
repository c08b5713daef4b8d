"""What the text of a statement says of transactions."""

from __future__ import annotations

import pytest

from fietsupdate.database.statements import changes_schema, commits, only_reads, rolls_back

COMMITS = [
    "COMMIT",
    " commit work;",
    "COMMIT AND CHAIN",
    "END",
    "/* so */ end transaction",
    "-- so\nCOMMIT",
    "PREPARE TRANSACTION 'x'",
    "BEGIN",
    "START TRANSACTION",
    "SELECT 1; COMMIT",
    "SELECT 'a''b;' ; COMMIT",
    "SET autocommit = 1",
    "SET @@session.autocommit=1",
    "SET SESSION autocommit = 1",
    "XA END 'x'",
]
ROLLS_BACK = ["ROLLBACK", "rollback work", "ABORT", "ROLLBACK AND CHAIN", "ROLLBACK PREPARED 'x'", "SELECT 1; ROLLBACK"]
NEITHER = [
    "ROLLBACK TO SAVEPOINT a",
    "ROLLBACK TO a",
    "ROLLBACK WORK TO SAVEPOINT a",
    "ROLLBACK TRANSACTION TO a",
    "SAVEPOINT a",
    "RELEASE SAVEPOINT a",
    "SELECT '; COMMIT'",
    'SELECT "; COMMIT"',
    "SELECT `; COMMIT`",
    "SELECT 1 -- ; COMMIT",
    "INSERT INTO t VALUES ($$; ROLLBACK; $$)",
    "CREATE FUNCTION f() RETURNS void AS $x$ BEGIN; COMMIT; END; $x$ LANGUAGE plpgsql",
    "CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE t SET v = 1; END",
    "CREATE OR REPLACE PROCEDURE p() BEGIN START TRANSACTION; COMMIT; END",
    "BEGIN NOT ATOMIC SELECT 1; END",
    "SET SESSION sql_mode = ''",
    "",
]


@pytest.mark.parametrize("text", COMMITS)
def test_what_commits_is_known(text):
    assert commits(text)
    assert not rolls_back(text)


@pytest.mark.parametrize("text", ROLLS_BACK)
def test_what_rolls_back_is_known(text):
    assert rolls_back(text)
    assert not commits(text)


@pytest.mark.parametrize("text", NEITHER)
def test_what_ends_no_transaction_is_let_through(text):
    assert not commits(text)
    assert not rolls_back(text)


def test_reading_and_schema_changes_are_told_apart():
    assert only_reads("SELECT 1; SHOW tables")
    assert not only_reads("SELECT 1; DELETE FROM t")
    assert changes_schema("SELECT 1; /* x */ DROP TABLE t")
    assert not changes_schema("SELECT 'DROP TABLE t'")
