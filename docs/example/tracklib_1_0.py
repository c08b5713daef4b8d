"""The tables of tracklib 1.0, the release that the demo starts with: recordings and tags are columns of a track."""

import datetime as dt

from sqlalchemy import ForeignKey, LargeBinary, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    tracks: Mapped[list["Track"]] = relationship(back_populates="user")


class Track(Base):
    __tablename__ = "tracks"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(200))
    ridden_on: Mapped[dt.date]
    tags: Mapped[str] = mapped_column(String(200))
    """Names, separated by commas, in alphabetical order."""
    gpx: Mapped[bytes | None] = mapped_column(LargeBinary)
    user: Mapped[User] = relationship(back_populates="tracks")
