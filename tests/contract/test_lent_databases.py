"""The tests' own databases: PostgreSQL's are emptied and lent again, which is cheaper than making new ones."""

from __future__ import annotations

from contextlib import closing

from mailer.store import open_store
from tests.contract.store_cases import people
from tests.servers.postgres import PostgresServer

pytest_plugins = ("tests.servers.postgres",)


def test_lent_again(postgres: PostgresServer) -> None:
    """A database that comes back is lent again, without rows and statistics, and counts from one."""
    for _ in range(2):
        url = postgres.lend()
        with closing(open_store(url)) as store:
            assert store.subscribers.count() == 0
            people(store, "a", "b")
            with store.database.write() as connection:
                assert connection.exec_driver_sql("SELECT max(id) FROM subscribers").scalar() == 2
                known = "SELECT count(*) FROM pg_stats WHERE schemaname = 'public'"
                assert connection.exec_driver_sql(known).scalar() == 0
                store.database.analyze(connection, "subscribers")
        postgres.give_back(url)
    assert postgres.lend() == url
    postgres.give_back(url)


def test_not_lent_again(postgres: PostgresServer) -> None:
    """A database whose schema or version was changed, or that somebody still uses, is lent to nobody else."""
    for change in ("ALTER TABLE workers RENAME TO elsewhere", "DELETE FROM alembic_version", ""):
        url = postgres.lend()
        with closing(open_store(url)) as store:
            if change:
                with store.database.write() as connection:
                    connection.exec_driver_sql(change)
                store.close()
            postgres.give_back(url)
        after = postgres.lend()
        assert after != url
        postgres.give_back(after)
