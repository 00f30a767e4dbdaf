"""Links in test-sends and previews, which may show anybody's to somebody else: nothing is ever done behind them."""

from __future__ import annotations

from mailer.model.ledger import SendKind
from mailer.service.ports import Store
from mailer.wire.links import TokenClaims


class TrialLinks:
    """Tells them. What kind a send is never changes, so it is asked once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kinds: dict[int, SendKind] = {}

    def has(self, claims: TokenClaims) -> bool:
        """Whether a token is from a test-send, or a preview (send 0, or nobody's). May raise ``StoreError``.

        The token's seal keeps strangers from asking for sends that there aren't.
        """
        if claims.subscriber == 0 or claims.send == 0:
            return True
        if claims.send not in self._kinds:
            self._kinds.update({send.key: send.kind for send in self._store.sends.all()})
        return self._kinds.get(claims.send) is SendKind.TEST
