"""How replies are read for waiting times, keys and causes."""

from datetime import UTC, datetime

import pytest

from finetrail.llm.caller import read_replies
from finetrail.llm.faults import Failed, Fault, redact, retry_after_seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:10 GMT"}, 10.0),
        ({"retry-after": "Wed, 31 Dec 2025 23:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_waiting_times_are_seconds_or_dates(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


def test_keys_are_taken_out_of_messages() -> None:
    said = redact("Incorrect key token-1 provided: sk-abc*****wxyz.\n See", "token-1")
    assert said == "Incorrect key <key> provided: <key> See"
    assert len(redact("x" * 5000, "none")) < 500


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "foreign"),
        (b"[1]", "foreign"),
        (b'{"choices": []}', "foreign"),
        (b'{"choices": [{"message": {"content": null, "refusal": "no"}}]}', "row"),
        (b'{"choices": [{"message": {"content": "  "}, "finish_reason": "content_filter"}]}', "row"),
    ],
)
def test_replies_without_an_answer(body: bytes, kind: str) -> None:
    if kind == "foreign":
        with pytest.raises(Failed) as caught:
            read_replies(body)
        assert caught.value.fault.kind == kind
        return
    (fault,) = read_replies(body)
    assert isinstance(fault, Fault)
    assert fault.kind == kind
