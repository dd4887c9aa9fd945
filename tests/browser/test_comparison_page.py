"""The page that compares models, opened in a real browser at phone and desktop width: what it draws is looked at."""

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from finetrail.report.comparison_page import comparison_page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-device-scale-factor=1",
]  # fmt: skip
GROUND = (244, 246, 248)
RED = (220, 20, 20)
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> & <b>bold</b>"
WIDTHS = {"phone": 500, "desktop": 1280}  # chromium draws no window narrower than 500


@pytest.fixture
def page(tmp_path: Path) -> Path:
    Image.new("RGB", (300, 200), RED).save(tmp_path / "chart.png")
    shown = base64.b64encode((tmp_path / "chart.png").read_bytes()).decode()
    row = {
        "image": f"data:image/png;base64,{shown}",
        "about": "2020/scp/" + "a_very_long_name_without_a_break_" * 6,
        "reference": f"Hail over Ohio. {EVIL}",
        "answers": {"base": "x" * 400, "uniform": "Some words. " * 30, "summary_centric": ""},
    }
    path = tmp_path / "index.html"
    path.write_text(comparison_page("weather: models side by side", ["A note."], [row, row]), encoding="utf-8")
    return path


def browse(page: Path, width: int, folder: Path, *options: str) -> str:
    profile = folder / f"profile{width}{len(options)}"
    command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},1600", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


def drawn(page: Path, width: int, folder: Path) -> Image.Image:
    shot = folder / f"{width}.png"
    browse(page, width, folder, f"--screenshot={shot}")
    picture = Image.open(shot).convert("RGB")
    assert picture.width == width
    return picture


def columns_of(picture: Image.Image, colour: tuple[int, int, int]) -> list[int]:
    """Return the columns that hold enough of a colour to be a picture."""
    raw, width = picture.tobytes(), picture.width
    counts = [0] * width
    for place in range(0, len(raw), 3):
        if tuple(raw[place : place + 3]) == colour:
            counts[place // 3 % width] += 1
    return [column for column, count in enumerate(counts) if count > 50]


@pytest.mark.parametrize("kind", WIDTHS)
def test_the_page_fits_and_shows_images(page: Path, tmp_path: Path, kind: str) -> None:
    width = WIDTHS[kind]
    picture = drawn(page, width, tmp_path)
    margin = picture.crop((width - 6, 0, width, picture.height)).getcolors()
    assert margin is not None and [colour for _, colour in margin] == [GROUND], "something sticks out on the right"
    shown = columns_of(picture, RED)
    assert 200 <= len(shown) <= 320, "the image is drawn, and not wider than its place"
    beside = picture.crop((shown[-1] + 40, 150, width - 20, 330))
    dark = sum(sum(pixel) < 300 for pixel in zip(*[iter(beside.tobytes())] * 3, strict=True))
    assert (dark > 200) == (kind == "desktop"), "texts stand beside the image on a desktop, below it on a phone"


def test_texts_are_never_markup(page: Path, tmp_path: Path) -> None:
    found = browse(page, 1280, tmp_path, "--dump-dom")
    assert "<title>weather: models side by side</title>" in found
    assert "<script" not in found and "<b>bold" not in found and found.count("<img") == 2
    assert found.count("<article") == 2 and found.count("(nothing)") == 2
