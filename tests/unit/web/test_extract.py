"""From a page's bytes to its title and text."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from finetrail.errors import FinetrailError
from finetrail.isolated import Bounds
from finetrail.web.extract import Extractors, PageText, extract, extractor_name
from finetrail.web.fetch import Fetched, FetchFailed

SENTENCE = "The caf&eacute; at the bridge was built in 1843 &amp; rebuilt in 1901, said its owner. "
HTML = (
    "<html><head><title>The caf&eacute; &amp; the bridge</title><script>{script}</script></head><body>"
    "<nav><a href='/'>Home</a><a href='/b'>Menu</a></nav><article>{body}</article>"
    "<footer>All rights reserved</footer></body></html>"
)


def page(body: bytes, kind: str = "text/html", charset: str | None = None) -> Fetched:
    return Fetched("https://example.org/a", kind, charset, body)


def html(body: str = f"<p>{SENTENCE * 4}</p><p>{SENTENCE * 3}</p>", script: str = "") -> bytes:
    return HTML.format(body=body, script=script).encode()


def test_title_and_main_text_without_what_stands_around() -> None:
    found = extract(page(html()))
    assert found.title == "The café & the bridge"
    assert "The café at the bridge was built in 1843 & rebuilt" in found.text
    assert "Menu" not in found.text and "<p>" not in found.text and "&amp;" not in found.text


def test_a_page_that_is_all_script() -> None:
    found = extract(page(html(script="var x = '" + "a" * 2_000_000 + "';")))
    assert "café" in found.text and "aaaa" not in found.text


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ("<html><body><p>Größe und Maß der Brücke, sagt man.</p></body></html>".encode("latin-1"), "latin-1"),
        ("<html><body><p>Größe und Maß der Brücke, sagt man seit langem.</p></body></html>".encode(), "no-such"),
        ("\ufeff<html><body><p>Größe und Maß der Brücke, sagt man.</p></body></html>".encode(), None),
        (b"<html><head><meta charset='latin-1'></head><body><p>Gr\xf6\xdfe und Ma\xdf, sagt man.</p></body>", None),
    ],
)  # fmt: skip
def test_the_character_set_is_found(body: bytes, charset: str | None) -> None:
    assert "Größe und Maß" in extract(page(body, charset=charset)).text


def test_plain_text_is_kept_and_cut() -> None:
    assert extract(page(b" a line\nanother \0", kind="text/plain")).text == "a line\nanother"
    assert len(extract(page(b"a" * 5_000_000, kind="text/plain")).text) == 1_000_000


@pytest.mark.parametrize("body", [b"", b"   ", b"\xff\xfe\x00", b"<", b"<html></html>", b"\0" * 100])
def test_pages_of_nothing_have_no_text(body: bytes) -> None:
    assert extract(page(body)).text == ""


def test_odd_pages_end(tmp_path: Path) -> None:
    """Deep nesting, a single line of megabytes, tables in tables: in a process of its own, within its time."""
    odd = [
        b"<div>" * 50_000 + b"text",
        b"<p>" + b"word " * 400_000 + b"</p>",
        b"<table><tr><td>" * 3_000 + b"x",
        b"\x1f\x8b\x08" + b"\0" * 500,
    ]

    async def run() -> None:
        extractors = Extractors(1)
        try:
            for body in odd:
                found = await extractors.extract(page(b"<html><body>" + body))
                assert len(found.text) <= 1_000_000
        finally:
            extractors.close()

    asyncio.run(run())


def test_the_same_page_gives_the_same_text_in_another_process() -> None:
    async def run() -> list[PageText]:
        extractors = Extractors(2)
        try:
            return list(await asyncio.gather(*(extractors.extract(page(html())) for _ in range(2))))
        finally:
            extractors.close()

    assert {*asyncio.run(run())} == {extract(page(html()))}


def crash_at_times(one: Fetched) -> PageText:
    """Stands for a parser that ends its process over some pages."""
    if b"crash" in one.body:
        os._exit(1)
    return PageText("", one.body.decode())


def test_a_page_that_ends_the_parser_harms_no_other() -> None:
    bodies = [b"one", b"crash", b"two", b"three", b"crash too", b"four"]

    async def run() -> list[PageText | BaseException]:
        extractors = Extractors(2, crash_at_times)
        try:
            calls = (extractors.extract(page(body)) for body in bodies)
            return await asyncio.gather(*calls, return_exceptions=True)
        finally:
            extractors.close()

    found = [one.text if isinstance(one, PageText) else str(one) for one in asyncio.run(run())]
    crashed = "its text cannot be extracted (its parser crashed (it may use 667 MB))"
    assert found == ["one", crashed, "two", "three", crashed, "four"]


def end_by_signal(one: Fetched) -> PageText:
    """Stands for a process that SLURM ends, with all others of its job."""
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
    return PageText("", "")


def test_a_signal_is_no_fault_of_the_page() -> None:
    async def run() -> None:
        extractors = Extractors(1, end_by_signal)
        try:
            with pytest.raises(FinetrailError, match="was ended by SIGTERM"):
                await extractors.extract(page(b"one"))
        finally:
            extractors.close()

    asyncio.run(run())


def test_the_extractor_has_its_version_in_its_name() -> None:
    pins = (Path(__file__).resolve().parents[3] / "envs" / "data.yaml").read_text()
    name, _, version = extractor_name().partition(",")[0].partition(" ")
    assert f"- {name}=={version}\n" in pins


def fill_memory(one: Fetched) -> PageText:
    """Stands for a parser that a page makes fill the memory."""
    if one.body == b"large":
        return PageText("", "x" * (1 << 30))
    return PageText("", one.body.decode())


def wait_for_ever(one: Fetched) -> PageText:
    """Stands for a parser that hangs in its C code, where no alarm reaches it."""
    if one.body == b"endless":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM})
        signal.pause()
    return PageText("", one.body.decode())


@pytest.mark.parametrize(
    ("work", "body", "bounds", "reason"),
    [
        (fill_memory, b"large", Bounds(60, 500 << 20), "needs more than 500 MB of memory"),
        (wait_for_ever, b"endless", Bounds(0.5, 500 << 20), "not read within 0.5 s"),
    ],
    ids=["memory", "time"],
)
def test_a_page_that_takes_too_much_fails_alone(
    work: Callable[[Fetched], PageText], body: bytes, bounds: Bounds, reason: str
) -> None:
    async def run() -> PageText:
        extractors = Extractors(1, work, bounds)
        try:
            with pytest.raises(FetchFailed) as failed:
                await extractors.extract(page(body))
            assert str(failed.value) == f"its text cannot be extracted ({reason})"
            return await extractors.extract(page(b"good"))
        finally:
            extractors.close()

    assert asyncio.run(run()).text == "good"
