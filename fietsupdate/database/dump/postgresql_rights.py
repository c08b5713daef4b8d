"""Check beforehand what this user could not restore of a PostgreSQL database, and what no dump contains."""

from __future__ import annotations

import sqlalchemy as sa

from fietsupdate.database.dump.postgresql_client import PostgreSQLStatementError, select
from fietsupdate.database.dump.postgresql_load import refused

PROBED = "5s"
"""How long an expression that calls the application's own functions is tried."""

_FIRST = 16_384
"""The least oid of objects that were created after initdb (FirstNormalObjectId)."""
_BARRIERS = """
SELECT 'createdb', current_user::text, '' FROM pg_roles
 WHERE rolname = current_user AND NOT (rolcreatedb OR rolsuper)
UNION ALL
SELECT 'owner', current_user::text, pg_get_userbyid(datdba)::text FROM pg_database
 WHERE datname = current_database() AND NOT pg_has_role(datdba, 'USAGE')
UNION ALL
SELECT 'tablespace', current_user::text, spcname::text FROM pg_database JOIN pg_tablespace t ON t.oid = dattablespace
 WHERE datname = current_database() AND spcname <> 'pg_default' AND NOT has_tablespace_privilege(t.oid, 'CREATE')
UNION ALL
SELECT 'subscription', subname::text, '' FROM pg_subscription JOIN pg_database d ON d.oid = subdbid
 WHERE datname = current_database()
UNION ALL
SELECT 'slot', slot_name::text, '' FROM pg_replication_slots WHERE database = current_database() AND NOT temporary
UNION ALL
SELECT 'prepared', gid, '' FROM pg_prepared_xacts WHERE database = current_database()
UNION ALL
SELECT 'template', datname::text, '' FROM pg_database WHERE datname = current_database() AND datistemplate
"""

_WALLS = {
    "createdb": ("{0} may not make databases, and a restore makes one.", 'ALTER ROLE "{0}" CREATEDB'),
    "owner": (
        "The database belongs to {1}, and {0} may not rename it, as a restore does.",
        'GRANT "{1}" TO "{0}"',
    ),
    "tablespace": (
        "The database lies in the tablespace {1}, in which {0} may make none.",
        'GRANT CREATE ON TABLESPACE "{1}" TO "{0}"',
    ),
    "subscription": (
        "The database has the subscription {0}; a database with one cannot be dropped, and no backup holds it.",
        'ALTER SUBSCRIPTION "{0}" DISABLE; DROP SUBSCRIPTION "{0}"; create it again after the restore',
    ),
    "slot": (
        "The replication slot {0} belongs to the database, and would be lost with it.",
        "SELECT pg_drop_replication_slot('{0}'); make it again after the restore",
    ),
    "prepared": (
        "The transaction {0} is prepared in the database, which cannot be renamed meanwhile.",
        "COMMIT PREPARED '{0}', or ROLLBACK PREPARED '{0}'",
    ),
    "template": (
        "The database is a template, and cannot be dropped.",
        'ALTER DATABASE "{0}" IS_TEMPLATE false',
    ),
}

_OWN = f"""
WITH objects (kind, class, oid, owner, name) AS (
  SELECT 'relation', 'pg_class'::regclass, oid, relowner, oid::regclass::text FROM pg_class
   WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND relpersistence <> 't'
  UNION ALL SELECT 'function', 'pg_proc'::regclass, oid, proowner, oid::regproc::text FROM pg_proc
  UNION ALL SELECT 'schema', 'pg_namespace'::regclass, oid, nspowner, nspname FROM pg_namespace
   WHERE nspname <> 'public' AND nspname NOT LIKE 'pg!_%' ESCAPE '!'
  UNION ALL SELECT 'type', 'pg_type'::regclass, oid, typowner, oid::regtype::text FROM pg_type
   WHERE typtype IN ('e', 'd', 'r')
  UNION ALL SELECT 'event trigger', 'pg_event_trigger'::regclass, oid, evtowner, evtname FROM pg_event_trigger
  UNION ALL SELECT 'publication', 'pg_publication'::regclass, oid, pubowner, pubname FROM pg_publication
   WHERE puballtables
  UNION ALL SELECT 'foreign-data wrapper', 'pg_foreign_data_wrapper'::regclass, oid, fdwowner, fdwname
   FROM pg_foreign_data_wrapper
  UNION ALL SELECT 'operator class', 'pg_opclass'::regclass, oid, opcowner, opcname FROM pg_opclass
), own AS (
  SELECT * FROM objects o WHERE oid >= {_FIRST} AND NOT EXISTS (
    SELECT FROM pg_depend e WHERE e.classid = o.class AND e.objid = o.oid AND e.deptype = 'e')
), me AS (SELECT rolsuper AS super FROM pg_roles WHERE rolname = current_user)
"""  # noqa: S608  # our own text

_CAUTIONS = f"""
{_OWN}
SELECT 'owner', pg_get_userbyid(owner)::text, count(*)::text, min(name), current_user::text FROM own
 WHERE NOT pg_has_role(owner, 'MEMBER') GROUP BY 2
UNION ALL
SELECT 'super', kind, name, '', current_user::text FROM own, me
 WHERE NOT super AND kind IN ('event trigger', 'publication', 'foreign-data wrapper', 'operator class')
UNION ALL
SELECT 'super', 'function', name, '', current_user::text
  FROM own, me, pg_proc p JOIN pg_language l ON l.oid = p.prolang
 WHERE NOT super AND kind = 'function' AND own.oid = p.oid AND NOT lanpltrusted
UNION ALL
SELECT 'super', 'extension', e.extname, '', current_user::text FROM me, pg_extension e
  JOIN pg_available_extension_versions v ON v.name = e.extname AND v.version = e.extversion
 WHERE NOT super AND v.superuser AND NOT v.trusted
UNION ALL
SELECT 'subscription', subname, '', '', '' FROM pg_subscription JOIN pg_database d ON d.oid = subdbid
 WHERE datname = current_database()
UNION ALL
SELECT 'foreign', ftrelid::regclass::text, '', '', '' FROM pg_foreign_table
UNION ALL
SELECT 'role', rolname, array_to_string(setconfig, ', '), '', '' FROM pg_db_role_setting s
  JOIN pg_roles r ON r.oid = s.setrole WHERE s.setdatabase = 0 AND rolname = current_user
ORDER BY 1, 2, 3
"""  # noqa: S608  # our own text

_TOLD = {
    "owner": "{1} objects, {2} among them, belong to {0}, for whom {3} may not act: they "
    "become its own where it restores them",
    "super": "the {0} {1} can only be made by a superuser, and {3} is none: {3} cannot restore it",
    "subscription": "the subscription {0} is not in the backup; after a restore it has to be made again",
    "foreign": "the rows of the foreign table {0} lie on another server, and are not in the backup",
    "role": "what was set for the role {0} itself ({1}) belongs to the server, and is not in the backup",
}

_EXPRESSIONS = """
WITH calls AS (
  SELECT DISTINCT classid, objid FROM pg_depend WHERE refclassid = 'pg_proc'::regclass AND refobjid >= {first}
)
SELECT 'index', i.indexrelid::regclass::text, format('SELECT %s FROM %s LIMIT 1', concat_ws(', ',
         pg_get_expr(indexprs, indrelid), pg_get_expr(indpred, indrelid)), indrelid::regclass)
  FROM pg_index i JOIN calls ON classid = 'pg_class'::regclass AND objid = indexrelid
UNION ALL
SELECT 'check', conname, format('SELECT %s FROM %s LIMIT 1', pg_get_expr(conbin, conrelid), conrelid::regclass)
  FROM pg_constraint c JOIN calls ON classid = 'pg_constraint'::regclass AND objid = c.oid
 WHERE contype = 'c' AND conrelid <> 0
UNION ALL
SELECT 'generated column', attname,
       format('SELECT %s FROM %s LIMIT 1', pg_get_expr(adbin, adrelid), adrelid::regclass)
  FROM pg_attrdef d JOIN calls ON classid = 'pg_attrdef'::regclass AND objid = d.oid
  JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum WHERE attgenerated = 's'
UNION ALL
SELECT 'materialized view', c.oid::regclass::text, format('SELECT 1 FROM (%s) AS tried LIMIT 1',
         rtrim(pg_get_viewdef(c.oid), ';'))
  FROM pg_rewrite r JOIN calls ON classid = 'pg_rewrite'::regclass AND objid = r.oid
  JOIN pg_class c ON c.oid = ev_class WHERE relkind = 'm'
"""
"""Expressions that are computed while a dump is loaded, with only pg_catalog on the search path, by functions that may
need more. On an empty table nothing is called, here and there."""
_AS_LOADED = "SET search_path = '';\n"


def barriers(url: sa.URL) -> list[tuple[str, str]]:
    """Return the reasons why this user could restore nothing at all, each with the command that removes it."""
    obstacles = []
    for kind, *names in select(url, _BARRIERS):
        text, remedy = _WALLS[kind or ""]
        obstacles.append((text.format(*names), f"{remedy.format(*names)}."))
    return obstacles


def cautions(url: sa.URL) -> list[str]:
    """Return what this user could not restore of the database, and what no dump contains."""
    texts = [_TOLD[kind or ""].format(*names) for kind, *names in select(url, _CAUTIONS)]
    for kind, name, sql in select(url, _EXPRESSIONS.format(first=_FIRST), before=_AS_LOADED):
        if reason := _refused(url, sql or ""):
            texts.append(
                f"the {kind} {name} calls a function that needs a search path, and none is set while a dump is "
                f"loaded ({reason}): ALTER FUNCTION ... SET search_path, and make the backup again"
            )
    return texts


def _refused(url: sa.URL, sql: str) -> str:
    """Try an expression as it is computed while a dump is loaded; return the server's error, or ""."""
    before = f"{_AS_LOADED}SET statement_timeout = '{PROBED}';\nSET default_transaction_read_only = on;\n"
    try:
        return next((reason for reason, _, _ in refused(url, [sql], before)), "")
    except PostgreSQLStatementError:
        return ""  # it takes longer, so the result is unknown
