"""A Modelfile says what was meant, by Ollama's grammar; what the grammar cannot say is refused."""

from typing import Any

import pytest

from finetrail.chat.chat_layout import LAYOUTS
from finetrail.errors import FinetrailError
from finetrail.export.modelfile import render_modelfile


def read_modelfile(text: str) -> list[tuple[str, str]]:
    """Read as Ollama's parser does: a value ends at a line's end where its quotes are closed."""
    commands = []
    rest = text
    while rest.strip():
        name, rest = rest.lstrip().split(" ", 1)
        end = 0
        while True:
            end = rest.find("\n", end + 1)
            value = unquote(rest[:end].strip())
            if value is not None:
                break
            assert end >= 0, "a value is not closed"
        rest = rest[end:]
        commands.append((name, value))
    return commands


def unquote(value: str) -> str | None:
    if value.startswith('"""'):
        return value[3:-3] if len(value) >= 6 and value.endswith('"""') else None
    if value.startswith('"'):
        return value[1:-1] if len(value) >= 2 and value.endswith('"') else None
    return value


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_written_is_read_again(name: str) -> None:
    layout = LAYOUTS[name]
    system = ' Answer "briefly".\n# Cite:\nFROM the passages.\t"'
    text = render_modelfile(
        source="./model.gguf",
        template=layout.go_template,
        stop=layout.stop,
        system=system,
        parameters={"temperature": 0.0, "num_ctx": 4096, "use_mmap": True},
        license_text="MIT\n\nDo as you like.",
    )
    commands = read_modelfile(text)
    assert commands[:3] == [
        ("FROM", "./model.gguf"),
        ("TEMPLATE", layout.go_template),
        ("SYSTEM", system),
    ]
    stops = [value.split(" ", 1)[1] for name, value in commands if name == "PARAMETER" and value[:5] == "stop "]
    assert [unquote(stop) for stop in stops] == list(layout.stop)
    assert ("PARAMETER", "num_ctx 4096") in commands
    assert ("PARAMETER", "temperature 0.0") in commands
    assert ("PARAMETER", "use_mmap true") in commands
    assert commands[-1] == ("LICENSE", "MIT\n\nDo as you like.")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "triple quotes": ({"system": 'say """this"""'}, 'SYSTEM: the text holds """'),
    "no-break space": ({"system": "10\u00a0km"}, r"U\+00A0.*Ollama drops"),
    "joiner": ({"template": "a\u200db"}, r"TEMPLATE: .*U\+200D"),
    "carriage return": ({"license_text": "a\r\nb"}, r"LICENSE: .*U\+000D"),
    "unknown parameter": ({"parameters": {"temprature": 1.0}}, "PARAMETER temprature: Ollama does not know"),
    "stop among parameters": ({"parameters": {"stop": 1}}, "stop strings are given apart"),
    "wrong type": ({"parameters": {"num_ctx": 1.5}}, r"num_ctx: 1\.5 is not of"),
    "switch for a number": ({"parameters": {"temperature": True}}, "temperature: True is not of"),
    "not a number": ({"parameters": {"top_p": float("nan")}}, "top_p: nan is not of"),
    "no template": ({"template": " "}, "needs a TEMPLATE"),
    "no stop": ({"stop": ()}, "needs a TEMPLATE and a stop"),
    "odd source": ({"source": "my model.gguf"}, "FROM cannot name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_is_refused(case: str) -> None:
    changed, message = REFUSED[case]
    with pytest.raises(FinetrailError, match=message):
        render_modelfile(**({"source": ".", "template": "{{ .Prompt }}", "stop": ["</s>"]} | changed))
