"""What the next requests will need, judged by the latest ones: a call, or nothing because the answer is stored."""

LATELY = 256


class Outlook:
    """Counts requests as they are looked up in the store.

    Attributes:
        requests: all of them.
        missing: those that needed a call.
        share: the share of the latest ones that did, about 256 of them.
    """

    __slots__ = ("missing", "requests", "share")

    def __init__(self) -> None:
        self.requests = self.missing = 0
        self.share = 0.0

    def add(self, *, missing: bool) -> None:
        """Count a request."""
        self.requests += 1
        self.missing += missing
        self.share += (missing - self.share) / min(self.requests, LATELY)

    def calls_left(self, settled: int, requests: float) -> float:
        """Return how many calls are still to be made.

        Args:
            settled: how many of the missing requests have their answer, or were given up.
            requests: how many requests are still to come.
        """
        return max(0, self.missing - settled) + max(0.0, requests) * self.share
