"""A job's share of a shared endpoint: the jobs' shares together are no more than the endpoint allows."""

from fractions import Fraction

import pytest

from finetrail.calls.rate_limit import MINUTE_S, Pace
from finetrail.llm.endpoints import Endpoint
from finetrail.web.search_protocol import SearchEndpoint

SHARED = Endpoint("e", "openai", "http://127.0.0.1:1/v1", max_concurrency=16, requests_per_minute=100)


@pytest.mark.parametrize("jobs", range(1, 17))
def test_shares_add_up_to_no_more_than_the_endpoint(jobs: int) -> None:
    part = SHARED.shared(Fraction(1, jobs))
    assert 16 - jobs < jobs * part.max_concurrency <= 16
    assert part.requests_per_minute is not None and 100 - jobs < jobs * part.requests_per_minute <= 100
    assert part.tokens_per_minute is None


def test_several_shares_are_taken_together() -> None:
    parts = [SHARED.shared(Fraction(held, 7)).max_concurrency for held in (1, 2, 4)]
    assert parts == [2, 4, 9]


def test_servers_of_our_own_are_not_shared() -> None:
    own = Endpoint("offline", "offline", max_concurrency=16)
    assert own.shared(Fraction(1, 4)) == own


def test_search_services_are_shared_too() -> None:
    part = SearchEndpoint("s", "http://127.0.0.1:1", max_concurrency=5, requests_per_minute=50).shared(Fraction(1, 2))
    assert (part.max_concurrency, part.requests_per_minute) == (2, 25)
    assert SearchEndpoint("s", "http://127.0.0.1:1").shared(Fraction(1, 9)).requests_per_minute is None


@pytest.mark.parametrize("jobs", [2, 3, 7])
def test_no_minute_sees_more_requests_than_the_ceiling(jobs: int) -> None:
    each = SHARED.shared(Fraction(1, jobs)).requests_per_minute
    assert each is not None
    sent: list[float] = []
    for job in range(jobs):
        pace, now = Pace(each), 0.37 * job
        while now < 5 * MINUTE_S:
            now += pace.wait(now)
            pace.spend(1.0, now)
            sent.append(now)
    busiest = max(sum(begin <= moment < begin + MINUTE_S for moment in sent) for begin in sent)
    assert 100 - 2 * jobs <= busiest <= 100
