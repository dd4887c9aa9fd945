"""The way to a server: which proxy, which redirects, and when a key may travel."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from finetrail.calls.proxies import proxy_of
from finetrail.config.sections.hosts import is_in_the_clear, is_inner
from finetrail.errors import FinetrailError
from finetrail.llm.request import ChatAnswer
from tests.unit.llm.fake_llm import FakeServer, Harness, make_request
from tests.unit.web.site import Site

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def elsewhere() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.mark.parametrize(
    ("url", "proxied"),
    [
        ("http://127.0.0.1:8000/v1", False),
        ("http://localhost:8000/v1", False),
        ("http://[::1]:8000/v1", False),
        ("http://10.1.2.3/v1", False),
        ("http://192.168.0.7/v1", False),
        ("http://169.254.1.1/v1", False),
        ("http://[fd00::1]/v1", False),
        ("http://[::ffff:10.0.0.1]/v1", False),
        ("http://node12/v1", True),
        ("http://models.lab.example.org/v1", False),
        ("http://models.example.com/v1", True),
        ("http://93.184.216.34/v1", True),
        ("http://10.example.org.evil.com/v1", True),
    ],
)
def test_this_machine_and_inner_addresses_have_no_proxy(
    monkeypatch: pytest.MonkeyPatch, url: str, proxied: bool
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example.org:3128")
    monkeypatch.setenv("no_proxy", ".lab.example.org")
    assert proxy_of(url) == ("http://proxy.example.org:3128" if proxied else None)


def test_a_proxy_is_used_for_a_name(harness: Harness, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    (answer,) = harness.run([make_request("a")], base_url="http://models.example.invalid/v1")
    assert isinstance(answer, ChatAnswer)
    assert len(server.bodies) == 1


def test_a_dead_proxy_is_named_without_its_password(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, nobody: str
) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:secret-word@{nobody}")
    with pytest.raises(FinetrailError) as caught:
        harness.run([make_request("a")], base_url="http://models.example.invalid/v1", max_retries=0)
    assert f"http://models.example.invalid/v1 (through the proxy http://{nobody}) cannot be reached" in str(
        caught.value
    )
    assert "secret-word" not in str(caught.value)


def test_a_dead_proxy_does_not_stand_before_this_machine(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, nobody: str
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{nobody}")
    monkeypatch.setenv("all_proxy", f"http://{nobody}")
    assert isinstance(harness.run([make_request("a")])[0], ChatAnswer)


def test_a_name_in_no_proxy_is_asked_without_it(
    harness: Harness, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "example.invalid")
    with pytest.raises(FinetrailError, match=r"http://models.example.invalid/v1 cannot be reached"):
        harness.run([make_request("a")], base_url="http://models.example.invalid/v1", max_retries=0)
    assert server.bodies == []


def test_a_proxy_that_wants_credentials_is_named(
    harness: Harness, elsewhere: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def who_are_you(request: web.Request) -> web.StreamResponse:
        return web.Response(status=407, headers={"Proxy-Authenticate": "Basic"})

    elsewhere.pages["/v1/chat/completions"] = who_are_you
    monkeypatch.setenv("http_proxy", elsewhere.url)
    with pytest.raises(FinetrailError, match=r"the proxy answers HTTP 407.*http_proxy, https_proxy and no_proxy"):
        harness.run([make_request("a")], base_url="http://models.example.invalid/v1")


def test_a_proxy_of_another_kind_is_refused(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://user:secret-word@127.0.0.1:1080")
    with pytest.raises(FinetrailError, match=r"cannot be used: socks5://127.0.0.1:1080") as caught:
        harness.run([make_request("a")], base_url="http://models.example.invalid/v1")
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:secret-word@host:port",
        "http://user:secret-word@host:99999",
        "http://user:secret-word@",
        "http://user:secret-word@[::1",
        "user:secret-word",
    ],
)
def test_a_proxy_that_is_no_address_is_named_by_its_variable(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("all_proxy", proxy)
    with pytest.raises(FinetrailError, match="variable all_proxy: the address of the proxy has no host") as caught:
        harness.run([make_request("a")], base_url="http://models.example.invalid/v1", max_retries=0)
    assert "secret-word" not in str(caught.value)


def test_no_redirect_is_followed(
    harness: Harness, server: FakeServer, elsewhere: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host would get the key and the prompts, and what it says would be stored as paid for."""

    async def sent_on(number: int, body: object, request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": f"{elsewhere.url}/v1/chat/completions"})

    monkeypatch.setenv("FAKE_KEY", "sk-secret-0123456789")
    server.handler = sent_on
    with pytest.raises(FinetrailError, match=r"sends us on to .* \(HTTP 307\), which is not followed"):
        harness.run([make_request("a")], api_key_env="FAKE_KEY")
    assert elsewhere.visits == []


@pytest.mark.parametrize(
    ("url", "clear"),
    [
        ("https://api.example.org", False),
        ("http://api.example.org", True),
        ("HTTP://api.example.org", True),
        ("http://127.0.0.1:1", False),
        ("http://node12:8000", True),
        ("http://10.0.0.1:8000", False),
    ],
)
def test_a_key_does_not_travel_in_the_clear(url: str, clear: bool) -> None:
    assert is_in_the_clear(url) is clear


def test_a_key_is_refused_over_http_unless_allowed(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEY", "sk-secret-0123456789")
    settings: dict[str, Any] = {
        "base_url": "http://models.example.invalid/v1",
        "api_key_env": "FAKE_KEY",
        "max_retries": 0,
    }
    with pytest.raises(FinetrailError, match="is not asked with a key: over http whoever stands on the way reads"):
        harness.run([make_request("a")], **settings)
    with pytest.raises(FinetrailError, match="cannot be reached"):
        harness.run([make_request("a")], **settings, allow_http=True)


@pytest.mark.parametrize("url", ["", "http://", "http://[", "http://[::1", "no url"])
def test_what_is_no_address_is_not_inner(url: str) -> None:
    assert not is_inner(url)
