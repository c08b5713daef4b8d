"""Notes with FastAPI; migrations as ``alembic init -t async`` writes them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import PlainTextResponse
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from fietsupdate import ensure_current

HERE = Path(__file__).parent
engine = create_async_engine(f"sqlite+aiosqlite:///{HERE / 'notes.db'}")


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    ensure_current(HERE / "alembic.ini")
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/notes/{number}", response_class=PlainTextResponse)
async def note(number: int) -> str:
    async with engine.connect() as connection:
        if await connection.scalar(text("SELECT id FROM note WHERE id = :id"), {"id": number}) is None:
            raise HTTPException(404)
    return (HERE / "data" / f"{number}.txt").read_text()
