"""What differs between servers that are asked for money: a protocol says how one is asked, and how its replies read."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from finetrail.calls.base_endpoint import BaseEndpoint
from finetrail.calls.faults import Failed, Fault
from finetrail.calls.money import Usage
from finetrail.calls.segment import Request
from finetrail.errors import FinetrailError

R = TypeVar("R", bound=Request)


@dataclass(frozen=True)
class Reply:
    """One reply that is paid for: what is stored of it, who `answered` and in which version, and what it cost.

    `usage` and `usd` are None where they are not known; the budget then counts an `estimate`. `problem` says why it is
    of no use: it is stored with that, or, where it is not `kept`, raised once it is paid.
    """

    content: Mapping[str, Any]
    answered: str
    fingerprint: str | None = None
    usage: Usage | None = None
    usd: float | None = None
    estimate: float = 0.0
    problem: Failed | FinetrailError | None = None
    kept: bool = True


class Unusable(Exception):
    """What a request got is of no use; `content` is stored at its price all the same, and `cause` raised then."""

    def __init__(self, cause: Failed | FinetrailError, content: Mapping[str, Any], usd: float | None) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.content = content
        self.usd = usd


class ServerProtocol(Protocol[R]):
    """How one endpoint is asked; lives in one event loop."""

    endpoint: BaseEndpoint

    def asked(self, request: R) -> str:
        """Name the model or the service that a request is for; each has limits of its own."""

    def expected_tokens(self, request: R) -> float:
        """Return how many tokens a call may take, for the ceiling; 0 where tokens are not counted."""
        return 0.0

    async def send(self, request: R) -> Any:
        """Make one HTTP call and return what came, for `read`.

        Raises:
            Failed: nothing came that is paid for.
            FinetrailError: no call would bring anything.
        """

    def read(self, request: R, came: Any, *, answered: bool) -> Sequence[tuple[R, Reply]]:
        """Read what `send` returned: the reply to the request, then those to further requests that came along.

        A refusal may mean something else once the server has `answered` somebody.

        Raises:
            Failed: it is nothing that is paid for.
            FinetrailError: no call would bring anything.
        """

    async def answer(self, request: R, ask: Callable[[R], Awaitable[Reply]]) -> Reply:
        """Ask, and ask again where the reply is not as it should be; return what is stored.

        Raises:
            Unusable: the row has no answer, and what came is stored.
            Failed: the row has no answer.
        """
        reply = await ask(request)
        if reply.problem is not None:
            raise Unusable(reply.problem, reply.content, reply.usd)
        return reply

    def nothing_works(self, fault: Fault, request: R) -> FinetrailError:
        """Describe a fault that concerns all requests."""

    def nobody_answered(self, given_up: int, fault: Fault, request: R) -> FinetrailError:
        """Describe that so many requests were given up, the last one for this fault, and none was answered."""

    async def close(self) -> None:
        """Close the connections."""
