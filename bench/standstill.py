"""How long a process stood still: stopped, or without a processor. What it waited for may have come in time, unseen."""

import threading
import time

TICK_S = 0.05


class Standstill:
    """Watches this process from a thread of its own.

    Attributes:
        longest_s: the longest time, in seconds, that it did not run.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        threading.Thread(target=self._watch, name="standstill", daemon=True).start()

    def _watch(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(TICK_S)
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - last - TICK_S)
            last = now
