"""Revision upgrade script v0.4.0.

Date created: 2022-09-01 21:00:37.464583
"""

from myapp.updater.script import UpdateScript

update_id = "v0.4.0"
previous = []
alembic_revision = "c1"


class Up(UpdateScript):
    def pre_alembic(self, config):
        pass

    def post_alembic(self, config):
        pass


class Down(UpdateScript):
    def pre_alembic(self, config):
        pass

    def post_alembic(self, config):
        pass
