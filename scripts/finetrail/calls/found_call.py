"""A record of the call store as it is found, and which of several answers to one request is used."""

from typing import NamedTuple

from finetrail.calls.segment import UNUSABLE, StoredCall


class FoundCall(NamedTuple):
    """A record, whether its segment is the store's own, and where it stands."""

    call: StoredCall
    is_own: bool
    where: str = ""

    def rank(self, choice: str | None = None) -> tuple[bool, bool, bool, str, str]:
        """Return what the answers to one request are ordered by; the first is used, by all readers.

        Args:
            choice: the hash of the answer that was chosen while two processes wrote; None for none.
        """
        call = self.call
        is_useless, is_chosen = UNUSABLE in call.answer, call.answer_sha256 == choice
        return is_useless, not self.is_own, not is_chosen, str(call.paid.get("at")), call.answer_sha256
