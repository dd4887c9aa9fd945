"""How long a process stood still: stopped, or without a processor. What it waited for may have come in time, unseen."""

import threading
import time

TICK_S = 0.05


class Standstill:
    """Watches this process from a thread of its own."""

    def __init__(self) -> None:
        self._longest_s = 0.0
        self._last = time.monotonic()
        threading.Thread(target=self._watch, name="standstill", daemon=True).start()

    @property
    def longest_s(self) -> float:
        """The longest time, in seconds, that the process did not run, the one that has just ended included."""
        return max(self._longest_s, time.monotonic() - self._last - TICK_S)

    def _watch(self) -> None:
        while True:
            time.sleep(TICK_S)
            self._longest_s = self.longest_s
            self._last = time.monotonic()
