"""Cases with charts: WeatherQA's rows, the augmented layout, text products of any age, and missing charts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row
from finetrail.splits.held_out import hold_out
from ingest.readers import weatherqa
from ingest.readers.discussion_text import read_discussion
from tests.workspace import ROOT

TEXTS = ROOT / "data/documents/files/noaa_txt"
CHARTS = ROOT / "data/weatherqa/images"
CAPTION = "A low is in the west. It is 1.5 degrees wide. Air rises there. So storms may form."


def chart(folder: Path, name: str, frames: int = 1) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.new("RGB", (8, 8), (80 * number, 0, 0)) for number in range(1, frames + 1)]
    pictures[0].save(path, save_all=frames > 1, append_images=pictures[1:])


def read(path: Path, content: Any, images: Path | None = None) -> list[Row]:
    path.write_text(json.dumps(content))
    return list(weatherqa.read_records([path], images_root=images))


def test_a_published_row_keeps_what_it_has_and_lists_what_is_missing(tmp_path: Path) -> None:
    images = tmp_path / "images"
    chart(images, "md_image/2018/shr6/md0398_20180513_17_shr6.gif")
    chart(images, "md_image/2018/rgnlrad_cropped/md0398_20180513_17_rgnlrad.gif", frames=3)
    sample = json.loads((ROOT / "data/weatherqa/sample_original.json").read_text())
    (record,) = read(tmp_path / "rows.json", sample, images)
    case = record["case"]
    assert [(image["cond_name"], image["frames"]) for image in case["images"]] == [("shr6", 1), ("rgnlrad", 3)]
    assert len(case["missing"]) == 18 and {one["reason"] for one in case["missing"]} == {"missing"}
    assert case["summary"].startswith("Isolated to widely scattered thunderstorms")
    assert case["discussion"].startswith("Areas affected...portions of southeast OH")
    assert record["group_keys"] == {"case": "2018_md0398", "day": "20180513"}
    assert record["extra"]["year"] == "2018"


def test_several_augmented_files_at_once_under_one_root(tmp_path: Path) -> None:
    chart(tmp_path, "a/md0001_20190101_00_scp.gif")
    element = {"image_rel_path": "a/md0001_20190101_00_scp.gif", "cond_name": "scp", "caption": CAPTION}
    case = {"global_summary": "Storms.", "elements": [element]}
    first, second, third = (tmp_path / name for name in ("2014-2019.json", "2020.json", "lines.jsonl"))
    first.write_text(json.dumps({"2019_md0001": case}))
    second.write_text(json.dumps([case | {"case": "2020_md0002"}]))
    third.write_text(json.dumps(case | {"case": "2020_md0003"}) + "\n")
    records = list(weatherqa.read_records([first, second, third], images_root=tmp_path))
    assert [record["case"]["name"] for record in records] == ["2019_md0001", "2020_md0002", "2020_md0003"]
    assert {record["case"]["images"][0]["caption"] for record in records} == {CAPTION}
    assert {record["answer"] for record in records} == {"Storms."}


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    chart(tmp_path, "a_scp.gif")
    element = {"image_rel_path": "a_scp.gif", "cond_name": "scp", "caption": "One. Two. Three."}
    cases = {
        "three": {"global_summary": "Storms.", "elements": [element]},
        "none": {"global_summary": " ", "elements": [element | {"caption": CAPTION, "cond_name": 7}]},
        "odd": {"time": "now"},
    }
    with pytest.raises(FinetrailError) as caught:
        read(tmp_path / "cases.json", cases, tmp_path)
    said = str(caught.value)
    assert "cases.json:1 (three): element 1 (scp): its caption has 3 sentences, not 4" in said
    assert "cases.json:2 (none): `global_summary` is missing or empty" in said
    assert "element 1 has no texts image_rel_path, cond_name and caption" in said
    assert "cases.json:3 (odd): neither `elements` nor `para_paths` is a list of charts" in said


def test_a_chart_outside_the_folder_or_broken_is_recorded_not_read(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    chart(tmp_path, "md0001_20190101_00_scp.gif")
    (images / "md0001_20190101_00_stor.gif").write_bytes(b"GIF89a nothing")
    row = {
        "para_paths": ["../md0001_20190101_00_scp.gif", "md0001_20190101_00_stor.gif"],
        "annotations": "SUMMARY...X.",
    }
    (record,) = read(tmp_path / "rows.json", {"2019_md0001": row}, images)
    assert record["case"]["images"] == []
    reasons = [one["reason"] for one in record["case"]["missing"]]
    assert reasons[0] == "leads out of the images folder" and reasons[1].startswith("cannot be read")


def test_the_bundled_products_become_cases_with_their_charts() -> None:
    files = [*sorted(TEXTS.glob("*.txt")), ROOT / "data/weatherqa/graphics.json"]
    records = {row["case"]["name"]: row for row in weatherqa.read_records(files, images_root=CHARTS)}
    assert len(records) == 10
    corrected = records["2024_md0301"]
    assert corrected["origin"]["file"] == "SWOMCD_301_COR.txt"
    assert corrected["extra"]["corrects"] == ["SWOMCD_301.txt"] and corrected["extra"]["correction"] == "graphic"
    assert records["2010_md1157"]["case"]["summary"] is None
    assert "TSTMS SHOULD DEVELOP" in records["2010_md1157"]["case"]["discussion"]
    charts = [len(row["case"]["images"]) for name, row in records.items() if name != "2024_graphics_1013"]
    assert charts == [20] * 9
    real = records["2024_graphics_1013"]["case"]["images"]
    assert [(image["cond_name"], image["frames"]) for image in real] == [("mcon", 1)] * 3 + [("mcon", 3)]


@pytest.mark.parametrize(
    ("name", "begins", "correction"),
    [
        ("SWOMCD_sep1.txt", "2020-09-01T00:05", None),  # issued on 31 August
        ("SWOMCD_tags.txt", "2024-11-19T05:49", None),
        ("MPD.txt", "2013-06-10T05:43", None),
        ("SWOMCD_301_COR.txt", "2024-03-25T19:44", "graphic"),
    ],
)
def test_times_and_corrections(name: str, begins: str, correction: str | None) -> None:
    found = read_discussion((TEXTS / name).read_text())
    assert found.begins.isoformat().startswith(begins) and found.correction == correction


def test_control_characters_and_signatures_are_no_text() -> None:
    text = (TEXTS / "MPD.txt").read_text().replace("\n", "\r\r\n")
    found = read_discussion(f"\x01\r\n{text}\x1e\x03")
    assert found.discussion.endswith("THROUGH AT LEAST 1000 UTC.")  # not the forecaster's name
    assert found.summary is not None and found.summary.endswith("NEXT SEVERAL HOURS.")
    assert found.case == "2013_mpd0098"
    assert found.points[0] == (37.9, 78.22)


def test_a_product_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("AREA FORECAST DISCUSSION\n")
    with pytest.raises(FinetrailError, match=r"other\.txt: no line `MESOSCALE DISCUSSION"):
        list(weatherqa.read_records([tmp_path / "other.txt"], images_root=None))


def test_a_held_out_year_takes_whole_days() -> None:
    groups = {"a": "d1", "b": "d1", "c": "d2", "d": "d3", "e": "d4"}
    years = {"a": "2019", "b": "2019", "c": "2020", "d": "2018", "e": "2017"}
    draw = hold_out(years, {"test": ["2020"], "dev": []}, "year")
    placed = {row["id"]: row["split"] for row in draw(groups, {"train": 0.8, "dev": 0.1, "test": 0.1}, 1, {})}
    assert placed["c"] == "test" and placed["a"] == placed["b"]
    assert {placed[name] for name in "abde"} == {"train", "dev"}
    with pytest.raises(FinetrailError, match="no record has the year 2031"):
        hold_out(years, {"test": ["2031"]}, "year")(groups, {"train": 1.0}, 1, {})
    with pytest.raises(FinetrailError, match="its group has records of several years"):
        hold_out(years | {"b": "2020"}, {"test": ["2020"]}, "year")(groups, {"train": 1.0}, 1, {})


def test_the_charts_are_drawn_again_to_the_same_pixels(tmp_path: Path) -> None:
    script = ROOT / "scripts/setup/draw_charts.py"
    texts = [str(path) for path in TEXTS.glob("*.txt")]
    subprocess.run([sys.executable, str(script), *texts, "--images", str(tmp_path)], check=True, cwd=ROOT)
    drawn = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.gif"))
    assert drawn == sorted(path.relative_to(CHARTS) for path in CHARTS.glob("20??/*/*.gif"))
    for path in drawn:
        again, bundled = (Image.open(folder / path).convert("RGB").tobytes() for folder in (tmp_path, CHARTS))
        assert again == bundled
