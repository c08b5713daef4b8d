"""Notes with Flask, Flask-SQLAlchemy and Flask-Migrate."""

from pathlib import Path

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

from fietsupdate import ensure_current

HERE = Path(__file__).parent
db = SQLAlchemy()


class Note(db.Model):
    id = db.Column(db.Integer, primary_key=True)


def create_app(*, serves: bool = True) -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{HERE / 'notes.db'}"
    app.config["NOTES"] = HERE / "data"
    db.init_app(app)
    Migrate(app, db, directory=str(HERE / "migrations"))
    if serves:
        ensure_current(HERE / "migrations" / "alembic.ini")

    @app.get("/notes/<int:number>")
    def note(number: int) -> str:
        db.get_or_404(Note, number)
        return (app.config["NOTES"] / f"{number}.txt").read_text()

    return app


def for_updates():
    """Give env.py and the update scripts the application that they ask for; `setup` names this function."""
    return create_app(serves=False).app_context()
