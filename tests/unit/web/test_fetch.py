"""Pages of strangers: what they may not do."""

import asyncio
import gzip
import socket
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from finetrail.web.fetch import Fetched, FetchFailed, PageFetcher, PageLimits
from tests.unit.web.site import Site

PAGE = "<html><body><p>A page.</p></body></html>"


class Names(AbstractResolver):
    """Knows the addresses of names that a test gives; each question takes the next answer, the last one for ever."""

    def __init__(self, port: int = 80, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(lists) for name, lists in answers.items()}
        self.port = port
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.answers:
            raise OSError("unknown name")
        lists = self.answers[host]
        addresses = lists.pop(0) if lists[1:] else lists[0]
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0)
            for one in addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


def fetch(url: str, names: AbstractResolver | None = None, **limits: Any) -> Fetched:
    async def run() -> Fetched:
        async with PageFetcher(PageLimits(**limits), names) as fetcher:
            return await fetcher.fetch(url)

    return asyncio.run(run())


def reason(url: str, names: AbstractResolver | None = None, **limits: Any) -> str:
    with pytest.raises(FetchFailed) as caught:
        fetch(url, names, **limits)
    return caught.value.reason


def test_a_page_is_fetched_with_nothing_of_ours(site: Site) -> None:
    url = site.page("/a", PAGE)
    page = fetch(url + "#part", allow_private=True)
    assert (page.url, page.kind, page.charset, page.body) == (url, "text/html", "utf-8", PAGE.encode())
    headers = site.visits[0].headers
    assert {"Cookie", "Authorization", "Referer"}.isdisjoint(headers)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/a", "http://localhost:{port}/a", "http://[::ffff:127.0.0.1]:{port}/a",
            "http://127.1:{port}/a", "http://2130706433:{port}/a", "http://0x7f000001:{port}/a", "http://0:{port}/a"],
)  # fmt: skip
def test_the_inner_network_is_refused_however_it_is_written(site: Site, url: str) -> None:
    site.page("/a", PAGE)
    said = reason(url.format(port=site.port))
    assert "no public address" in said or said == "not a URL that is fetched"
    assert site.visits == []


def test_the_address_of_the_cloud_metadata_is_refused() -> None:
    assert reason("http://169.254.169.254/latest/meta-data/") == "refused: 169.254.169.254 is no public address"


def test_a_name_of_the_inner_network_is_refused(site: Site) -> None:
    site.page("/a", PAGE)
    url = f"http://evil.example:{site.port}/a"
    said = reason(url, Names(evil_example=[["127.0.0.1"]]))
    assert said == "refused: evil.example (127.0.0.1) is no public address"
    assert "(10.0.0.8)" in reason(url, Names(evil_example=[["1.1.1.1", "10.0.0.8"]])), "every address is looked at"
    assert site.visits == []


def test_the_connection_goes_to_the_address_that_was_looked_at(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rebinding: the name is asked once for a connection, and answers otherwise from then on."""
    site.page("/a", PAGE)
    monkeypatch.setattr("finetrail.web.addresses.is_public", lambda address: address == "127.0.0.1")
    names = Names(evil_example=[["127.0.0.1"], ["127.0.0.2"]])
    assert fetch(f"http://evil.example:{site.port}/a", names).body == PAGE.encode()
    assert names.asked == ["evil.example"]
    assert "(127.0.0.2) is no public address" in reason(f"http://evil.example:{site.port}/a", names)
    assert site.paths() == ["/a"]


def test_a_redirect_to_a_name_of_the_inner_network_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site's own address counts as public here."""
    site.page("/secret", PAGE)
    site.redirect("/start", f"http://inner.example:{site.port}/secret")
    monkeypatch.setattr("finetrail.web.addresses.is_public", lambda address: address == "127.0.0.1")
    names = Names(site_example=[["127.0.0.1"]], inner_example=[["127.0.0.2"]])
    said = reason(f"http://site.example:{site.port}/start", names)
    assert said == "refused: inner.example (127.0.0.2) is no public address"
    assert site.paths() == ["/start"]


@pytest.mark.parametrize("target", ["http://169.254.169.254/", "http://10.0.0.1/", "http://[::1]/"])
def test_a_redirect_to_an_inner_address_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """The site itself counts as public here; the socket's gate stops the literal address of the redirect."""
    start = site.redirect("/start", target)
    monkeypatch.setattr("finetrail.web.addresses.is_public", lambda address: address == "127.0.0.1")
    assert "is no public address" in reason(start)
    assert site.paths() == ["/start"]


@pytest.mark.parametrize(
    "url",
    ["ftp://example.org/a", "file:///etc/passwd", "gopher://x/", "javascript:1", "", "http://", "//x/a", "data:,a",
     "http://user:secret@example.org/", "http://x/" + "a" * 5000, "http://[::1", "http://a:b/"],
)  # fmt: skip
def test_other_addresses_are_no_urls(url: str) -> None:
    said = reason(url)
    assert said.startswith("not a URL that is fetched")
    assert "secret" not in said


def test_a_redirect_to_another_protocol_is_refused(site: Site) -> None:
    start = site.redirect("/start", "file:///etc/passwd")
    assert reason(start, allow_private=True).startswith("not a URL that is fetched")


def test_redirects_are_followed_so_far(site: Site) -> None:
    site.page("/3", PAGE)
    for number in range(3):
        site.redirect(f"/{number}", f"/{number + 1}", status=307)
    assert fetch(site.url + "/0", allow_private=True, max_redirects=3).url == site.url + "/3"
    assert reason(site.url + "/0", allow_private=True, max_redirects=2) == "more than 2 redirects"
    site.redirect("/loop", "/loop")
    assert reason(site.url + "/loop", allow_private=True) == "more than 5 redirects"


def test_a_large_page_is_left(site: Site) -> None:
    announced = site.page("/announced", b"x" * 5000)
    assert reason(announced, allow_private=True, max_bytes=4999) == "it is larger than 4,999 bytes"
    assert len(fetch(announced, allow_private=True, max_bytes=5000).body) == 5000


def test_an_endless_page_is_left(site: Site) -> None:
    sent: list[int] = []

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)
            sent.append(65536)

    site.pages["/endless"] = endless
    assert reason(site.url + "/endless", allow_private=True, max_bytes=1_000_000) == "it is larger than 1,000,000 bytes"
    assert sum(sent) < 50_000_000


def test_a_bomb_is_left_before_it_is_unpacked(site: Site) -> None:
    bomb = gzip.compress(b"\0" * 200_000_000, 9)
    url = site.page("/bomb", bomb, **{"Content-Encoding": "gzip"})
    assert len(bomb) < 1_000_000
    import tracemalloc

    tracemalloc.start()
    assert reason(url, allow_private=True, max_bytes=1_000_000) == "it is larger than 1,000,000 bytes"
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000


# Without a time in it, which would stand in the test's name and differ between workers.
@pytest.mark.parametrize(
    ("encoding", "body"), [("gzip", gzip.compress(PAGE.encode(), mtime=0)), ("deflate", zlib.compress(PAGE.encode()))]
)
def test_packed_pages_are_unpacked(site: Site, encoding: str, body: bytes) -> None:
    url = site.page("/packed", body, **{"Content-Encoding": encoding})
    assert fetch(url, allow_private=True).body == PAGE.encode()


def test_a_packed_page_that_is_broken_is_named(site: Site) -> None:
    broken = site.page("/broken", b"no gzip", **{"Content-Encoding": "gzip"})
    assert reason(broken, allow_private=True).startswith("the compressed body is damaged")
    short = site.page("/short", gzip.compress(PAGE.encode())[:-12], **{"Content-Encoding": "gzip"})
    assert reason(short, allow_private=True) == "the compressed body is cut off"
    other = site.page("/other", b"x", **{"Content-Encoding": "br"})
    assert reason(other, allow_private=True) == "the content encoding br was not asked for"


def test_a_page_that_drips_is_left_though_each_read_is_fast(site: Site) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    site.pages["/drip"] = drip
    with pytest.raises(FetchFailed, match=r"it took more than 0\.5 s") as caught:
        fetch(site.url + "/drip", allow_private=True, timeout_s=0.5)
    assert caught.value.passing


def test_only_pages_of_text_are_read(site: Site) -> None:
    pdf = site.page("/pdf", b"%PDF", kind="application/pdf")
    assert reason(pdf, allow_private=True) == "the content type application/pdf is not read here"


@pytest.mark.parametrize(("status", "passing"), [(404, False), (403, False), (429, True), (500, True), (503, True)])
def test_a_status_is_named(site: Site, status: int, passing: bool) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    site.pages["/a"] = refuse
    with pytest.raises(FetchFailed, match=f"HTTP {status}") as caught:
        fetch(site.url + "/a", allow_private=True)
    assert caught.value.passing == passing


def test_hosts_that_are_not_there_are_named() -> None:
    assert reason("http://nowhere.example/", Names()) == "its host is not known"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert reason(f"http://127.0.0.1:{port}/", allow_private=True) == "its host does not answer"


def asked_with(site: Site, urls: list[str], **limits: Any) -> list[str]:
    """Fetch pages with regard to robots.txt, and return what came of each."""

    async def run() -> list[str]:
        chosen = PageLimits(**{"timeout_s": 5.0, "allow_private": True, "robots": True} | limits)
        async with PageFetcher(chosen) as fetcher:
            found = await asyncio.gather(*map(fetcher.fetch, urls), return_exceptions=True)
        return [one.body.decode() if isinstance(one, Fetched) else str(one) for one in found]

    return asyncio.run(run())


KEPT_OUT = "its site's robots.txt keeps programs from it"


def test_a_page_that_robots_txt_keeps_us_from_is_not_asked_for(site: Site) -> None:
    rules = "User-agent: *\nDisallow: /\n\nUser-agent: finetrail\nDisallow: /*/inner$\nAllow: /a/open\nDisallow: /b\n"
    site.page("/robots.txt", rules, kind="text/plain")
    urls = [site.page(path, path) for path in ("/a/open", "/a/inner", "/b/page", "/c")]
    assert asked_with(site, urls) == ["/a/open", KEPT_OUT, KEPT_OUT, "/c"]
    assert sorted(site.paths()) == ["/a/open", "/c", "/robots.txt"], "the rules are read once"


def test_a_redirect_leads_to_no_page_that_robots_txt_keeps_us_from(site: Site) -> None:
    site.page("/robots.txt", "User-agent: *\nDisallow: /secret\n", kind="text/plain")
    site.page("/secret/a", "hidden")
    assert asked_with(site, [site.redirect("/go", "/secret/a")]) == [KEPT_OUT]
    assert "/secret/a" not in site.paths()


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (404, b"", "/a"), (403, b"Disallow: /", "/a"), (500, b"", KEPT_OUT), (429, b"", KEPT_OUT),
        (200, b"\0\xff" * 9, "/a"), (200, b"User-agent: *\nDisallow: /" + b"a*" * 300_000, "/a"), (302, b"", "/a"),
    ],
)  # fmt: skip
def test_what_becomes_of_a_site_without_rules(site: Site, status: int, body: bytes, outcome: str) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={"Location": "/robots.txt"})

    site.pages["/robots.txt"] = serve
    assert asked_with(site, [site.page("/a", "/a")]) == [outcome]


def test_robots_txt_may_be_packed_and_be_turned_off_for_ones_own_site(site: Site) -> None:
    packed = gzip.compress(b"User-agent: *\nDisallow: /a\n")
    site.page("/robots.txt", packed, kind="text/plain", **{"Content-Encoding": "gzip"})
    url = site.page("/a", "/a")
    assert asked_with(site, [url]) == [KEPT_OUT]
    assert asked_with(site, [url], robots=False) == ["/a"]


def test_servers_are_told_who_asks(site: Site) -> None:
    url = site.page("/a", "/a")
    asked_with(site, [url], contact="https://lab.example/bot")
    asked_with(site, [url])
    named, unnamed = (visit.headers["User-Agent"] for visit in site.visits if visit.path == "/a")
    assert named.startswith("finetrail/") and "(+https://lab.example/bot; reads pages" in named
    assert "(reads pages for training data, each once)" in unnamed
