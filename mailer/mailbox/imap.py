"""A mailbox behind IMAP (RFC 9051, RFC 3501): its mails one by one, each moved away when it was read.

A mail is moved by MOVE (RFC 6851), else copied, marked ``\\Deleted`` and expunged. EXPUNGE removes whatever is so
marked (RFC 3501 §6.4.3), and only UIDPLUS (RFC 4315) can name one mail. Without it a mail is expunged only while it is
the only one marked; beside others that somebody else has marked it stays, marked, until they are expunged. Mails
marked ``\\Deleted`` aren't read.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError, LoginError

from mailer.errors import ConfigError, MailboxError
from mailer.model.settings import Imap

TIMEOUT = 60.0
"""Seconds for each answer of the server."""

_FAILURES = (IMAPClientError, OSError, ssl.SSLError)


class ImapFolder:
    """A folder that is open. Every method raises ``MailboxError``."""

    def __init__(self, client: IMAPClient, settings: Imap) -> None:
        self._client, self._folder, self._processed = client, settings.folder, settings.processed
        self._where = place(settings)
        self._has_processed = False

    def numbers(self) -> list[int]:
        """The UIDs of the mails that wait."""
        with _told(self._where):
            return sorted(self._client.search(["UNDELETED"]))

    def called(self, uid: int) -> str:
        """How errors call a mail."""
        return f"{self._folder}/{uid} in {self._where}"

    def read(self, uid: int, most: int) -> bytes | None:
        """Up to ``most`` bytes of a mail, which stays unseen. None: it has gone meanwhile.

        After an error the session is over: a server that can't read a mail may hang up (Dovecot does).
        """
        with _told(self.called(uid)):
            found = self._client.fetch([uid], [f"BODY.PEEK[]<0.{most}>"]).get(uid, {})
        return next((value for name, value in found.items() if name.startswith(b"BODY[")), None)

    def move(self, uid: int) -> None:
        """Puts a mail into the folder of what was read, which is made if it isn't there."""
        with _told(self._where):
            if not self._has_processed and not self._client.folder_exists(self._processed):
                self._client.create_folder(self._processed)
            self._has_processed = True
            if self._client.has_capability("MOVE"):
                self._client.move([uid], self._processed)
                return
            self._client.copy([uid], self._processed)
            self._client.delete_messages([uid])
            if self._client.has_capability("UIDPLUS"):
                self._client.uid_expunge([uid])
            elif self._client.search(["DELETED"]) == [uid]:
                self._client.expunge()


@contextmanager
def open_folder(settings: Imap) -> Iterator[ImapFolder]:
    """The folder that is to be read. Raises ``MailboxError``, and ``ConfigError`` for an unreadable ``ca_file``."""
    client = _connect(settings)
    try:
        with _told(place(settings)):
            if settings.security == "starttls":
                client.starttls(_tls(settings))
            _log_in(client, settings)
            if not client.folder_exists(settings.folder):
                raise MailboxError(
                    f"there is no folder '{settings.folder}'", where=place(settings), todo="See 'bounces.imap.folder'."
                )
            client.select_folder(settings.folder)
        yield ImapFolder(client, settings)
    finally:
        with suppress(*_FAILURES):
            client.logout()


def place(settings: Imap) -> str:
    """How errors call the mailbox."""
    return f"{settings.username}'s mailbox at {settings.host}:{settings.port}"


def _connect(settings: Imap) -> IMAPClient:
    context = _tls(settings) if settings.security == "tls" else None
    with _told(place(settings)):
        return IMAPClient(settings.host, settings.port, ssl=context is not None, ssl_context=context, timeout=TIMEOUT)


def _log_in(client: IMAPClient, settings: Imap) -> None:
    try:
        client.login(settings.username, settings.password.get_secret_value())
    except LoginError as error:
        raise MailboxError(
            f"the login is refused: {error}",
            where=place(settings),
            todo="Check 'bounces.imap.username' and 'bounces.imap.password'.",
        ) from None


def _tls(settings: Imap) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.ca_file:
        try:
            context.load_verify_locations(cafile=settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"ca_file '{settings.ca_file}' can't be read: {error}",
                where="bounces.imap.ca_file",
                todo="It must be a PEM file with the certificate of the authority that signed the server's.",
            ) from None
    return context


@contextmanager
def _told(where: str) -> Iterator[None]:
    """What goes wrong on the way, as one error of ours."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        todo = "Use the name that is in the certificate, or give its authority in 'bounces.imap.ca_file'."
        raise MailboxError(f"the certificate is not accepted: {error.verify_message}", where=where, todo=todo) from None
    except _FAILURES as error:
        raise MailboxError(f"can't be used: {str(error) or type(error).__name__}", where=where) from None
