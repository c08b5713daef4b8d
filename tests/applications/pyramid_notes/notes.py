"""Notes with Pyramid; one INI file configures the application, Alembic and fietsupdate."""

from pathlib import Path

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response
from sqlalchemy import engine_from_config, text

from fietsupdate import require_current


def main(global_config, **settings):
    """Make the application, but not on an instance that is not up to date."""
    require_current(global_config["__file__"])
    config = Configurator(settings=settings)
    config.registry["engine"] = engine_from_config(settings)
    config.add_route("note", r"/notes/{number:\d+}")
    config.add_view(note, route_name="note")
    return config.make_wsgi_app()


def note(request: Request) -> Response:
    number = int(request.matchdict["number"])
    with request.registry["engine"].connect() as connection:
        if connection.scalar(text("SELECT id FROM note WHERE id = :id"), {"id": number}) is None:
            raise HTTPNotFound
    return Response((Path(request.registry.settings["notes"]) / f"{number}.txt").read_text())
