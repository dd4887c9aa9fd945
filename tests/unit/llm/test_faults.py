"""How replies are read for waiting times, keys and causes."""

import html
import json
import signal
from datetime import UTC, datetime
from types import FrameType

import pytest

from finetrail.calls.cleaning import Cleaner
from finetrail.calls.faults import Failed, retry_after_seconds
from finetrail.calls.money import Usage
from finetrail.llm.completion import Bounds, read_replies


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
    said = Cleaner("token-1").message("Incorrect key token-1 provided: sk-abc*****wxyz.\n See")
    assert said == "Incorrect key <key> provided: <key> See"
    assert len(Cleaner().message("x" * 5000)) < 500


KEY = "sk-Fake/Key+1234567890=ab_c"


@pytest.mark.parametrize(
    "said",
    [
        json.dumps(KEY),
        KEY.replace("/", "\\/"),
        KEY.replace("/", "\\\\\\/"),
        "\\" + KEY,
        "\\%73" + KEY[1:],
        "".join(f"\\x{ord(character):02X}" for character in KEY),
        "".join(f"\\u{ord(character):04X}" for character in KEY),
        "".join(f"%{ord(character):02x}" for character in KEY),
        "".join(f"&#x{ord(character):X};" for character in KEY),
        html.escape(KEY).replace("/", "&sol;").replace("+", "&plus;").replace("=", "&equals;").replace("_", "&lowbar;"),
    ],
)
def test_keys_are_taken_out_however_they_are_written(said: str) -> None:
    cleaned = Cleaner(KEY).text(f"<{said}>")
    assert "<key>" in cleaned and "1234567890" not in cleaned and "234" not in cleaned


def test_a_long_run_of_backslashes_is_read_at_once() -> None:
    """A model that repeats itself may write one; looked at from each of them, a million would take hours."""

    def too_long(number: int, frame: FrameType | None) -> None:
        raise AssertionError("it takes the square of time")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(60)
    try:
        assert Cleaner(KEY).text("\\" * 1_000_000 + KEY).endswith("\\<key>")
        assert Cleaner(KEY).text("s\\" * 500_000) == "s\\" * 500_000
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("body", [b"{}", b"[1]", b'{"choices": []}'])
def test_what_is_no_completion(body: bytes) -> None:
    with pytest.raises(Failed) as caught:
        read_replies(body, Cleaner(), Bounds())
    assert caught.value.fault.kind == "foreign"


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        ('{"message": {"content": null, "refusal": "no"}}', "no"),
        ('{"message": {"content": "  "}, "finish_reason": "content_filter"}', "finish_reason content_filter"),
    ],
)
def test_replies_without_text_say_why_and_what_they_cost(choice: str, why: str) -> None:
    (empty,) = read_replies(
        f'{{"choices": [{choice}], "usage": {{"completion_tokens": 9}}}}'.encode(), Cleaner(), Bounds()
    )
    assert str(empty.problem) == f"the model gave no text ({why})" and empty.usage == Usage(0, 9)
