"""What endpoints of every protocol have: a name, a key, the patience with which they are asked, and ceilings."""

import os
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from typing import ClassVar, Self

from finetrail.calls.rate_limit import part_of
from finetrail.config.sections.hosts import IN_THE_CLEAR, is_in_the_clear
from finetrail.errors import FinetrailError


@dataclass(frozen=True)
class BaseEndpoint:
    """Where something is asked, and with which patience.

    Args:
        name: its name in the config.
        api_key_env: the environment variable that holds the key; None where the server wants none.
        timeout_s: seconds that one attempt may take, first byte to last.
        max_concurrency: the most calls that are under way at once (sent and not yet safely stored).
        max_retries: how often a failed attempt is repeated before the row is given up.
        requests_per_minute: a ceiling for all that is asked there; None for none.
        tokens_per_minute: the same for tokens, of prompts and answers.
        max_wait_s: the longest that a server which refuses everything is waited for.
        allow_http: the key may travel in the clear.
    """

    SECTION: ClassVar[str]
    WITHOUT_KEY: ClassVar[str] = ""

    name: str
    _: KW_ONLY
    api_key_env: str | None = None
    timeout_s: float = 120.0
    max_concurrency: int = 16
    max_retries: int = 5
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_wait_s: float = 600.0
    allow_http: bool = False

    @property
    def entry(self) -> str:
        """Where the endpoint stands in the config."""
        return f"{self.SECTION}.{self.name}"

    def shared(self, share: Fraction) -> Self:
        """Return the endpoint as one of the jobs that share it may use it.

        Ceilings are cut to whole numbers, and to no less than 1, so that the jobs together keep to the endpoint's.

        Args:
            share: what part of its ceilings the job has.
        """
        return replace(
            self,
            max_concurrency=part_of(self.max_concurrency, share),
            requests_per_minute=self.requests_per_minute and part_of(self.requests_per_minute, share),
            tokens_per_minute=self.tokens_per_minute and part_of(self.tokens_per_minute, share),
        )

    def api_key(self, where: str, url: str) -> str:
        """Read the key from the environment; empty where the server wants none.

        Args:
            where: who asks, for the message.
            url: where the key would be sent.

        Raises:
            FinetrailError: the variable is not set, or the key would travel in the clear.
        """
        if self.api_key_env is None:
            return ""
        if is_in_the_clear(url) and not self.allow_http:
            raise FinetrailError(
                f"{url} is not asked with a key: {IN_THE_CLEAR}", where=where, hint=f"See {self.entry}.base_url"
            )
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise FinetrailError(
                f"the environment variable {self.api_key_env} is not set",
                where=where,
                hint=f"Run: export {self.api_key_env}=...  (keys are read from the environment only; the variable's "
                f"name stands in {self.entry}.api_key_env){self.WITHOUT_KEY}",
            )
        return key

    def key_advice(self) -> str:
        """Say what to do when the server refuses the key."""
        if self.api_key_env is None:
            return f"Set {self.entry}.api_key_env to the name of an environment variable that holds the key"
        return f"Check the environment variable {self.api_key_env} ({self.entry}.api_key_env)"
