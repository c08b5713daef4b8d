"""Checks of the whole instance, as Invenio's global pre-checks and post-checks are."""

from pathlib import Path

import sqlalchemy as sa


def pre_check_workers(config):
    if (Path(config["fietsupdate.data_dir"]).parent / "workers.pid").exists():
        raise RuntimeError("the workers still run: type `systemctl stop repository-workers`")


def post_check_orphans(config):
    engine = sa.create_engine(config["sqlalchemy.url"], poolclass=sa.NullPool)
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("buckets"):
            return None
        ids = connection.scalars(sa.text("SELECT record_id FROM buckets ORDER BY record_id")).all()
    engine.dispose()
    files = Path(config["fietsupdate.data_dir"]) / "files"
    return [f"record {one} has no metadata file" for one in ids if not (files / str(one) / "metadata.json").exists()]
