"""Several answers to one question: asked for with one call where the server knows `n`, with one call each elsewhere.

Requests that differ in nothing but their sample, one after another in the input, are gathered and sent as one, the
first of them, which knows the others as its `siblings`. Each answer is stored under the key of its own request; a
sibling that got none, or none of the asked form, is asked for anew. So what a later run reads does not depend on how
the answers came.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from finetrail.calls.caller import Caller
from finetrail.calls.future import Promise
from finetrail.calls.money import Usage
from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest

MOST_AT_ONCE = 128  # what OpenAI takes
Outcome = ChatAnswer | CallFailure
Waiting = tuple[ChatRequest, Promise[Outcome]]
Submit = Callable[[Caller[ChatRequest], ChatRequest, Promise[Outcome]], None]


class Gathering:
    """The requests that are gathered now; lives in the thread that iterates the engine's `run`.

    Args:
        submit: sends a request, with its siblings.
    """

    def __init__(self, submit: Submit) -> None:
        self._submit = submit
        self._waiting: list[Waiting] = []
        self._caller: Caller[ChatRequest] | None = None

    def add(self, caller: Caller[ChatRequest], request: ChatRequest, promise: Promise[Outcome], *, alone: bool) -> None:
        """Send a request, now where it goes alone, else together with the ones that follow it."""
        if self._waiting and not (
            len(self._waiting) < MOST_AT_ONCE and self._waiting[0][0].asks_the_same(request) and caller is self._caller
        ):
            self.send()
        self._caller = caller
        self._waiting.append((request, promise))
        if alone:
            self.send()

    def holds(self, promise: Promise[Outcome]) -> bool:
        """Say whether a promise belongs to a request that has not been sent."""
        return any(promise is held for _, held in self._waiting)

    def send(self) -> None:
        """Send what is gathered."""
        waiting, self._waiting = self._waiting, []
        if self._caller is not None:
            _send(self._submit, self._caller, waiting)


def _send(submit: Submit, caller: Caller[ChatRequest], waiting: Sequence[Waiting]) -> None:
    wanted = [(request, promise) for request, promise in waiting if not promise.done()]
    if not wanted:
        return
    (request, first), *others = wanted
    if others:
        request = replace(request, siblings=tuple(sibling for sibling, _ in others))
        # The answers of siblings come with the first one's, before it: this runs when all that came is stored.
        first.when_done(lambda: _share(submit, caller, others))
    submit(caller, request, first)


def _share(submit: Submit, caller: Caller[ChatRequest], others: Sequence[Waiting]) -> None:
    """Give siblings what came for them, and ask for the rest; where all has ended, asking says so."""
    left = []
    for request, promise in others:
        call = caller.came_along.pop(request.key, None)
        if call is None:
            left.append((request, promise))
        else:
            promise.keep(ChatAnswer.of(call, request, from_store=False))
    _send(submit, caller, left)


def share_usage(usage: Usage, answers: int) -> list[Usage]:
    """Split the tokens of one call among its answers: the prompt to the first, the rest as evenly as can be."""
    each, rest = divmod(usage.completion_tokens, answers)
    shares = [Usage(0, each + (number < rest)) for number in range(answers)]
    return [replace(usage, completion_tokens=shares[0].completion_tokens), *shares[1:]]
