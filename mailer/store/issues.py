"""Compiled issues, by the digest of their content: written once, never changed."""

from __future__ import annotations

import zlib

from mailer.errors import StoreError
from mailer.model.compiled import CompiledIssue
from mailer.store.database import Database


class SqlIssues:
    """``mailer.service.ports.Issues``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._put = database.sql(
            "INSERT INTO issues (digest, slug, title, body, created_at) VALUES (:digest, :slug, :title, :body, :now)"
            " ON CONFLICT DO NOTHING"
        )
        self._get = database.sql("SELECT body FROM issues WHERE digest = :digest")

    def put(self, compiled: CompiledIssue, now: float) -> str:
        digest, body = compiled.digest, zlib.compress(compiled.to_json().encode())
        values = {"digest": digest, "slug": compiled.slug, "title": compiled.title, "body": body, "now": now}
        with self._database.write() as connection:
            connection.execute(self._put, values)
        return digest

    def get(self, digest: str) -> CompiledIssue:
        """Raises ``StoreError`` for an unknown digest, and for one that another version has compiled."""
        with self._database.read() as connection:
            body = connection.execute(self._get, {"digest": digest}).scalar()
        if body is None:
            raise StoreError(f"no compiled issue has the digest {digest}", where=self._database.where)
        try:
            return CompiledIssue.from_json(zlib.decompress(bytes(body)).decode())
        except (ValueError, zlib.error) as error:
            raise StoreError(
                f"the compiled issue {digest[:12]} can't be read: {error}",
                where=self._database.where,
                todo="Compile and send the issue again.",
            ) from error
