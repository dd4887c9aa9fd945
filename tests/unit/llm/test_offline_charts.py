"""The offline teacher describes charts by their pixels, and writes one sentence where one is asked for."""

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image, ImageDraw

from finetrail.serving.offline.server import Refusal, complete
from finetrail.serving.offline.teacher import MODEL_ID
from finetrail.text.sentences import sentences


def picture(place: tuple[int, int], colour: tuple[int, int, int], radius: int = 12) -> bytes:
    image = Image.new("RGB", (120, 90), (255, 255, 255))
    x, y = place
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def ask(name: str, text: str, *images: bytes) -> dict[str, Any]:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(one).decode()}"}}
        for one in images
    ]
    messages = [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]
    body = {"model": MODEL_ID, "messages": messages, "response_format": {"json_schema": {"name": name}}}
    told: dict[str, Any] = json.loads(complete(body)["choices"][0]["message"]["content"])
    return told


SAID = (("Red", "wrecks"), ("Green", "channels"), ("Blue", "farms"))
PARAMETER = "<parameter>\nshr6: wind shear\n</parameter>"


@pytest.mark.parametrize(
    ("place", "colour", "said"),
    [
        ((20, 15), (220, 20, 20), "compact area of red shading lies in the upper left"),
        ((100, 75), (20, 60, 230), "compact area of blue shading lies in the lower right"),
        ((60, 45), (30, 200, 40), "compact area of green shading lies in the middle centre"),
    ],
)
def test_it_says_where_which_colour_is(place: tuple[int, int], colour: tuple[int, int, int], said: str) -> None:
    told = ask("image_sentences", PARAMETER, picture(place, colour))
    assert said in told["visual_1"]
    assert "wind shear" in told["physical"]
    assert all(len(sentences(text)) == 1 for text in told.values())


def test_an_empty_chart_and_a_missing_one() -> None:
    assert ask("image_sentences", PARAMETER, picture((0, 0), (255, 255, 255)))["visual_1"].startswith("No coloured")
    with pytest.raises(Refusal, match="expected one image, found 0"):
        ask("image_sentences", PARAMETER)


def test_link_and_summary_take_the_discussion() -> None:
    discussion = "SUMMARY...Hail may fall. Winds rise... soon. DISCUSSION...Shear of 40 kt supports cells. It is dry."
    text = f"{PARAMETER}<caption>Shear is strong.</caption><discussion>{discussion}</discussion>"
    link = ask("link_sentence", text)["link"]
    assert "shear of 40 kt supports cells" in link and len(sentences(link)) == 1
    assert ask("summary", text)["summary"].startswith("Hail may fall.")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two! Three?", 3),
        ("It is 1.5 inches wide.", 1),
        ("No stop at the end", 1),
        ("CAPE OF 400 J/KG. SHEAR E. OF IT IS 30 KT.", 2),
        ("Cells (e.g. here) form. They go.", 2),
        ("", 0),
    ],
)
def test_sentences_are_counted(text: str, count: int) -> None:
    assert len(sentences(text)) == count


def test_of_what_passages_say_of_several_colours_that_of_the_image_is_the_answer() -> None:
    prompt = "<passages>" + "".join(f"<passage>{colour} buoys mark {what}.</passage>" for colour, what in SAID)
    prompt += "</passages><question>What do such buoys mark?</question>"
    assert ask("grounded_answer", prompt, picture((40, 30), (20, 180, 30))) == {"answer": "Green buoys mark channels."}
    assert ask("grounded_answer", prompt, picture((70, 60), (30, 60, 220))) == {"answer": "Blue buoys mark farms."}
    grey = ask("grounded_answer", prompt, picture((40, 30), (90, 90, 90)))
    assert grey == ask("grounded_answer", prompt), "a colour that no passage names decides nothing"
