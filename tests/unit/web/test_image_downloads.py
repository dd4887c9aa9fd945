"""Images of strangers: what is refused, what is kept and how, and what is asked for once."""

import asyncio
import base64
import io
import random
import signal
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from finetrail.isolated import Bounds, Failed, Workers
from finetrail.rows.records import Row
from finetrail.vision.check_image import BadImage, Checked, check_image, check_within, image_bounds
from finetrail.web.fetch import PageLimits
from finetrail.web.image_downloads import ImageGetter, ImageStore, embedded_bytes
from tests.unit.small_png import small_png
from tests.unit.web.site import Site

PIXELS = 1_000_000
RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(form: str = "PNG", size: tuple[int, int] = (8, 4), colour: Any = RED, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, form, **options)
    return file.getvalue()


def get(folder: Path, urls: list[str], **options: Any) -> list[Row]:
    private = {"allow_private": options.pop("allow_private", True)}
    limits = PageLimits(**{"timeout_s": 1.0, "max_bytes": 100_000} | private | options.pop("limits", {}))
    settings = {"max_retries": 0, "refresh": False, "offline": False} | options
    with Workers(1, check_within, image_bounds(PIXELS, 60.0), (BadImage,)) as checkers:
        getter = ImageGetter(ImageStore(folder, checkers, PIXELS), limits, **settings)
        return [row for _, row in getter.get(urls)]


def reason(folder: Path, url: str, **options: Any) -> str:
    (row,) = get(folder, [url], **options)
    return str(row["reason"])


def test_an_image_is_kept_by_its_content_and_asked_for_once(site: Site, tmp_path: Path) -> None:
    urls = [site.page(f"/{name}.png", picture(), kind="image/png") for name in ("a", "b")]
    first = get(tmp_path, urls)
    assert first[0]["sha256"] == first[1]["sha256"] and first[0]["path"] == first[1]["path"]
    assert (tmp_path / first[0]["path"]).read_bytes() == picture()
    assert (first[0]["width"], first[0]["height"], first[0]["changed"]) == (8, 4, [])
    assert get(tmp_path, urls) == first
    assert get(tmp_path, urls, offline=True) == first
    assert len(site.visits) == 2
    assert "llm.mode: replay" in reason(tmp_path, site.url + "/new.png", offline=True)
    (tmp_path / first[0]["path"]).unlink()
    assert get(tmp_path, urls[:1]) == first[:1], "a lost file is fetched again"


def test_a_server_that_knows_the_tag_sends_nothing_again(site: Site, tmp_path: Path) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        if request.headers.get("If-None-Match") == '"v1"':
            return web.Response(status=304, headers={"ETag": '"v1"'})
        return web.Response(body=picture(), headers={"ETag": '"v1"', "Content-Type": "image/png"})

    site.pages["/a.png"] = serve
    first = get(tmp_path, [site.url + "/a.png"])
    assert get(tmp_path, [site.url + "/a.png"], refresh=True) == first
    assert [visit.headers.get("If-None-Match") for visit in site.visits] == [None, '"v1"']


def test_a_passing_failure_is_tried_again_and_a_batch_keeps_its_order(site: Site, tmp_path: Path) -> None:
    tries = 0

    async def flaky(request: web.Request) -> web.StreamResponse:
        nonlocal tries
        tries += 1
        if tries == 1:
            return web.Response(status=503)
        return web.Response(body=picture(colour=BLUE), headers={"Content-Type": "image/png"})

    site.pages["/flaky.png"] = flaky
    good = site.page("/good.png", picture(), kind="image/png")
    found = get(tmp_path, [site.url + "/flaky.png", good, site.url + "/gone.png"], max_retries=1)
    assert [row.get("reason") for row in found] == [None, None, "HTTP 404"]
    assert found[0]["sha256"] != found[1]["sha256"] and tries == 2


def test_the_inner_network_is_refused_also_behind_a_redirect(site: Site, tmp_path: Path) -> None:
    site.page("/a.png", picture(), kind="image/png")
    for url in (site.url + "/a.png", "http://169.254.169.254/latest/meta-data", "http://[::1]/a.png"):
        assert "is no public address" in reason(tmp_path, url, allow_private=False)
    assert site.visits == []
    assert "not a URL" in reason(tmp_path, "file:///etc/passwd")
    to_file = site.redirect("/r", "file:///etc/passwd")
    assert "not a URL" in reason(tmp_path, to_file)


def test_ten_gigabytes_announced_or_endless_take_no_memory(site: Site, tmp_path: Path) -> None:
    async def announced(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/png", "Content-Length": str(10 << 30)})
        await response.prepare(request)
        return response

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/png"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    site.pages |= {"/announced": announced, "/endless": endless}
    tracemalloc.start()
    for path in ("/announced", "/endless"):
        assert reason(tmp_path, site.url + path, limits={"timeout_s": 20.0}) == "it is larger than 100,000 bytes"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_slow_drip_ends(site: Site, tmp_path: Path) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/png"})
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    site.pages["/drip"] = drip
    assert reason(tmp_path, site.url + "/drip", limits={"timeout_s": 0.4}) == "it took more than 0.4 s"


def test_a_picture_of_too_many_pixels_is_never_decoded() -> None:
    tracemalloc.start()
    with pytest.raises(BadImage, match="50000 x 50000 pixels"):
        check_image(small_png(50_000, 50_000), 40_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", picture()[:40], small_png(9, 9), picture("JPEG")[:200], b"GIF89a\x01\x00\x01\x00"],
    ids=["empty", "html", "cut", "no pixels", "cut jpeg", "no frame"],
)
def test_what_does_not_decode_is_no_image(content: bytes) -> None:
    with pytest.raises(BadImage):
        check_image(content, PIXELS)


def test_html_that_calls_itself_an_image_is_refused(site: Site, tmp_path: Path) -> None:
    assert "no PNG" in reason(tmp_path, site.page("/a.png", "<html>", kind="image/png"))
    assert "text/html is not read here" in reason(tmp_path, site.page("/b.png", "<html>"))


def test_of_an_animation_the_first_frame_is_kept() -> None:
    frames = [Image.new("RGB", (6, 6), colour) for colour in (RED, BLUE)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=50)
    checked = check_image(file.getvalue(), PIXELS)
    assert (checked.suffix, checked.changed) == ("png", ("first of 2 frames",))
    assert Image.open(io.BytesIO(checked.content)).convert("RGB").getpixel((3, 3)) == RED
    still = check_image(picture("GIF"), PIXELS)
    assert (still.suffix, still.changed) == ("gif", ())


def test_a_picture_is_turned_as_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    checked = check_image(picture("JPEG", (40, 10), exif=exif), PIXELS)
    assert (checked.width, checked.height, checked.changed) == (10, 40, ("turned by EXIF",))
    upright = check_image(picture("JPEG", (40, 10)), PIXELS)
    assert (upright.width, upright.content) == (40, picture("JPEG", (40, 10)))


def test_an_image_within_a_record_is_read_or_named() -> None:
    text = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    assert embedded_bytes(text, 10_000) == picture()
    for bad, said in ((text[:-3] + "!", "damaged"), ("data:image/png,abc", "base64"), (text, "larger than 10 bytes")):
        with pytest.raises(BadImage, match=said):
            embedded_bytes(bad, 10 if bad is text else 10_000)


@pytest.mark.parametrize("tag", ["no quotes", '"a\u00e9"', '"' + "x" * 5000 + '"', 'W/"good"', '"\u2603"'])
def test_an_odd_tag_is_forgotten(site: Site, tmp_path: Path, tag: str) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        return web.Response(body=picture(), headers={"ETag": tag, "Content-Type": "image/png"})

    site.pages["/a.png"] = serve
    (first,) = get(tmp_path, [site.url + "/a.png"], limits={"max_bytes": 100_000})
    kept = first.get("etag")
    assert kept == (tag if tag == 'W/"good"' else None)
    (again,) = get(tmp_path, [site.url + "/a.png"], refresh=True)
    assert again["sha256"] == first["sha256"]
    assert site.visits[-1].headers.get("If-None-Match") == kept


def sleep_over_some(item: tuple[bytes, int]) -> Checked:
    """Stands for a decoder that one picture keeps busy for ever."""
    if len(item[0]) > 5000:
        signal.pause()
    return check_within(item)


@pytest.mark.heavy
def test_a_picture_that_never_decodes_costs_itself_only(site: Site, tmp_path: Path) -> None:
    noise = Image.frombytes("RGB", (64, 64), random.Random(0).randbytes(64 * 64 * 3))
    file = io.BytesIO()
    noise.save(file, "PNG")
    urls = [site.page(f"/{n}.png", body, kind="image/png") for n, body in enumerate([file.getvalue(), picture()])]
    with Workers(1, sleep_over_some, Bounds(1.0, 1 << 30), (BadImage,)) as checkers:
        limits = PageLimits(timeout_s=20.0, max_bytes=100_000, allow_private=True)
        store = ImageStore(tmp_path, checkers, PIXELS)
        getter = ImageGetter(store, limits, max_retries=0, refresh=False, offline=False)
        found = dict(getter.get(urls))
    assert found[urls[0]] == {"reason": "not read within 1 s"}
    assert "sha256" in found[urls[1]]


def slow_jpeg(side: int, scans: int) -> bytes:
    """Return a progressive JPEG whose last scan, of few bytes, comes many times: each goes over the whole picture."""
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last, end = content.rindex(b"\xff\xda"), len(content) - 2
    return content[:end] + content[last:end] * scans + content[end:]


@pytest.mark.heavy
def test_a_small_jpeg_of_many_scans_ends_at_its_time_limit() -> None:
    most = 40_000_000
    content = slow_jpeg(4000, 3500)
    assert len(content) < 250_000, "it decodes for a minute"
    with Workers(1, check_within, image_bounds(most, 4.0), (BadImage,)) as checkers:
        assert checkers.run((content, most)) == Failed("not read within 4 s")
        good = checkers.run((slow_jpeg(400, 1), most))
    assert isinstance(good, Checked) and (good.width, good.suffix) == (400, "jpg")
