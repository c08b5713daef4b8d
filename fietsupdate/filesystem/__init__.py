"""The data directory's room. It never imports SQLAlchemy or Alembic."""
