"""Requests to be subscribed, and their confirmation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row

from mailer.delivery.destination import destination
from mailer.model.people import SubscriberStatus
from mailer.service.sign_up import (
    CLAIM_SECONDS,
    DAY_SECONDS,
    LIFTED,
    LINK_SECONDS,
    MAILS,
    PAUSE_SECONDS,
    Confirmed,
    Letter,
    SignUp,
    SignUpsExhausted,
    Waiting,
    letter_for,
)
from mailer.store.database import Database, Lock, clean
from mailer.store.dialect import quoted
from mailer.store.people import PERSON, person
from mailer.store.removed import Removed
from mailer.store.resend import Resends

_LONGEST = 1000

FORGET = "DELETE FROM sign_ups WHERE email_key = :key"
"""For whoever is removed."""


class SqlSignUps:
    """``mailer.service.sign_up.SignUps``."""

    def __init__(self, database: Database, resends: Resends) -> None:
        self._database, self._resends, self._removed = database, resends, Removed(database)
        sql = database.sql
        self._asked_today = sql("SELECT count(*) FROM sign_ups WHERE asked_at > :since")
        self._asked = sql(
            """SELECT count(*) AS times, max(asked_at) AS latest FROM sign_ups
            WHERE email_key = :key AND asked_at > :since"""
        )
        self._ask = sql(
            """INSERT INTO sign_ups (email, email_key, first_name, referrer_id, asked_at, due_at)
            VALUES (:email, :key, :first_name, :referrer, :now, :now) RETURNING number"""
        )
        self._due = sql(
            """SELECT number FROM sign_ups WHERE due_at IS NOT NULL AND due_at <= :now
            ORDER BY due_at, number LIMIT :limit"""
        )
        self._claim = sql(
            "UPDATE sign_ups SET due_at = :until WHERE number = :number AND due_at IS NOT NULL AND due_at <= :now"
        )
        self._waiting = sql(
            """SELECT u.number, u.email, u.asked_at, u.attempts, s.status, x.reason
            FROM sign_ups u LEFT JOIN subscribers s ON s.email_key = u.email_key
            LEFT JOIN suppressions x ON x.email_key = u.email_key WHERE u.number = :number"""
        )
        self._settle = sql(
            """UPDATE sign_ups SET attempts = :attempts, due_at = :again
            WHERE number = :number AND confirmed_at IS NULL"""
        )
        self._request = sql("SELECT * FROM sign_ups WHERE number = :number AND asked_at > :since")
        self._suppression = sql("SELECT reason FROM suppressions WHERE email_key = :key")
        self._person = sql("SELECT {person} FROM subscribers s WHERE s.email_key = :key", person=PERSON)
        self._subscribe = sql(
            """INSERT INTO subscribers (email_key, email, destination, first_name, referrer_id, status, created_at,
                confirmed_at, updated_at)
            VALUES (:key, :email, :destination, :first_name, (SELECT id FROM subscribers WHERE id = :referrer),
                'subscribed', :now, :now, :now)"""
        )
        self._name = sql("UPDATE subscribers SET first_name = :first_name, updated_at = :now WHERE id = :id")
        self._return = sql(
            """UPDATE subscribers SET status = 'subscribed', confirmed_at = :now, updated_at = :now,
                unsubscribed_at = NULL, paused_until = NULL, referrer_id = NULL
            WHERE id = :id AND status <> 'subscribed'"""
        )
        self._lift = [
            sql("DELETE FROM soft_bounces WHERE email_key = :key"),
            sql("DELETE FROM suppressions WHERE email_key = :key AND reason IN ({lifted})", lifted=quoted(LIFTED)),
        ]
        self._use_up = sql(
            """UPDATE sign_ups SET confirmed_at = :now, due_at = NULL
            WHERE email_key = :key AND confirmed_at IS NULL"""
        )
        self._any_old = sql("SELECT EXISTS (SELECT 1 FROM sign_ups WHERE asked_at <= :until)")
        self._forget = sql("DELETE FROM sign_ups WHERE asked_at <= :until")

    def ask(self, sign_up: SignUp, now: float, per_day: int) -> int | None:
        with self._database.write() as connection:
            self._database.lock(connection, Lock.SIGN_UPS)
            if connection.execute(self._asked_today, {"since": now - DAY_SECONDS}).scalar_one() >= per_day:
                raise SignUpsExhausted
            before = connection.execute(self._asked, {"key": sign_up.key, "since": now - LINK_SECONDS}).one()
            if before.times and (before.times >= MAILS or before.latest > now - PAUSE_SECONDS):
                return None
            values = {
                "email": clean(sign_up.email, _LONGEST),
                "key": sign_up.key,
                "first_name": clean(sign_up.first_name, _LONGEST),
                "referrer": sign_up.referrer,
                "now": now,
            }
            return int(connection.execute(self._ask, values).scalar_one())

    def due(self, now: float, limit: int) -> list[int]:
        with self._database.read() as connection:
            return list(connection.execute(self._due, {"now": now, "limit": limit}).scalars())

    def claim(self, number: int, now: float) -> Waiting | None:
        with self._database.write() as connection:
            values = {"number": number, "now": now, "until": now + CLAIM_SECONDS}
            if not connection.execute(self._claim, values).rowcount:
                return None
            row = connection.execute(self._waiting, {"number": number}).one()
        status = SubscriberStatus(row.status) if row.status else None
        return Waiting(row.number, row.email, row.asked_at, row.attempts, status, row.reason)

    def settle(self, number: int, attempts: int, again: float | None) -> None:
        with self._database.write() as connection:
            connection.execute(self._settle, {"number": number, "attempts": attempts, "again": again})

    def confirm(self, number: int, asked_at: int, now: float) -> Confirmed:
        with self._database.write() as connection:
            self._database.lock(connection, Lock.PEOPLE)
            request = connection.execute(self._request, {"number": number, "since": now - LINK_SECONDS}).first()
            if request is None or int(request.asked_at) != asked_at:
                return Confirmed.GONE
            key = request.email_key
            reason = connection.execute(self._suppression, {"key": key}).scalar()
            known = connection.execute(self._person, {"key": key}).first()
            status = SubscriberStatus(known.subscriber_status) if known else None
            letter = letter_for(status, reason)
            if letter is None:
                return Confirmed.BARRED
            if request.confirmed_at is not None:
                return Confirmed.SUBSCRIBED if letter is Letter.SUBSCRIBED else Confirmed.GONE
            self._let_in(connection, request, known, now)
            for statement in self._lift:
                connection.execute(statement, {"key": key})
            connection.execute(self._use_up, {"key": key, "now": now})
        return Confirmed.SUBSCRIBED

    def _let_in(self, connection: Connection, request: Row[Any], known: Row[Any] | None, now: float) -> None:
        if known is None:
            values = {
                "key": request.email_key,
                "email": request.email,
                "destination": destination(request.email),
                "first_name": request.first_name,
                "referrer": request.referrer_id,
                "now": now,
            }
            connection.execute(self._subscribe, values)
            self._removed.come_back(connection, self._removed.find(connection, [request.email_key]), consenting=True)
            return
        before = person(known)
        named = replace(before, first_name=before.first_name or request.first_name)
        if named != before:
            self._resends.keep(connection, {before.id: before})
            connection.execute(self._name, {"id": before.id, "first_name": named.first_name, "now": now})
        connection.execute(self._return, {"id": before.id, "now": now})

    def forget(self, now: float) -> int:
        values = {"until": now - LINK_SECONDS}
        with self._database.read() as connection:
            if not connection.execute(self._any_old, values).scalar():
                return 0
        with self._database.write() as connection:
            return connection.execute(self._forget, values).rowcount
