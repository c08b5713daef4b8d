"""Notes with pictures: ``uvicorn notes.main:app``."""

from fastapi import FastAPI, Response
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from notes.models import Note

app = FastAPI()
engine = create_engine("sqlite:///notes.db")


@app.post("/notes")
def add(text: str, picture: str) -> int:
    with Session(engine) as session:
        note = Note(text=text, picture=bytes.fromhex(picture))
        session.add(note)
        session.commit()
        return note.id


@app.get("/notes/{id_}/picture")
def picture(id_: int) -> Response:
    with Session(engine) as session:
        return Response(session.get_one(Note, id_).picture, media_type="image/png")
