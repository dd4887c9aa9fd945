"""One description, four readings: Jinja, Go, Python and the published templates agree."""

import itertools
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from finetrail.chat.chat_layout import LAYOUTS
from finetrail.chat.detect_layout import PROBES, detect_layout
from finetrail.errors import FinetrailError
from finetrail.export.go_template import render_go
from tests.unit.export.tiny_models import CONVERSATIONS

pytestmark = pytest.mark.heavy

SYSTEM = {"role": "system", "content": "Be 'brief', {{ please }}."}
TURNS = [
    {"role": "user", "content": "One?\n\nTwo?"},
    {"role": "assistant", "content": "Three."},
    {"role": "user", "content": "One?\n\nTwo?"},
    {"role": "assistant", "content": "Four \\ five."},
]
TALKS = [start + TURNS[:length] for start, length in itertools.product(([], [SYSTEM]), (1, 2, 3, 4))]


def jinja(template: str, messages: Any, opened: bool) -> tuple[str, list[tuple[int, int]]]:
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered, spans = render_jinja_template(
        conversations=[messages],
        chat_template=template,
        add_generation_prompt=opened,
        return_assistant_tokens_mask=True,
        bos_token="<s>",
        eos_token="</s>",
    )
    return rendered[0], spans[0]


@pytest.mark.parametrize("name", LAYOUTS)
def test_jinja_says_what_python_says(name: str) -> None:
    layout = LAYOUTS[name]
    for talk, opened in itertools.product(TALKS, (False, True)):
        text, spans = jinja(layout.jinja, talk, opened)
        assert text == layout.render(talk, opened, "<s>")
        answers = [message["content"] for message in talk if message["role"] == "assistant"]
        end = layout.assistant[1]
        assert [text[start:stop] for start, stop in spans] == [layout.answer_lead + answer + end for answer in answers]


@pytest.mark.skipif(shutil.which("go") is None, reason="needs go on the PATH")
@pytest.mark.parametrize("name", LAYOUTS)
def test_go_says_what_python_says(name: str) -> None:
    layout = LAYOUTS[name]
    prompts = [talk for talk in TALKS if talk[-1]["role"] == "user"]
    assert render_go(layout.go_template, prompts) == [layout.render(talk, True, None) for talk in prompts]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("llama3", "llama3"),
        ("llama3_1", "llama3_1"),
        ("qwen2_5", "qwen2_5"),
        ("qwen3", "qwen"),
        ("qwen3_instruct_2507", "qwen"),
    ],
)
def test_published_templates_say_the_same(file: str, name: str) -> None:
    spec = find_spec("trl")
    assert spec is not None and spec.origin is not None
    template = (Path(spec.origin).parent / "chat_templates" / f"{file}.jinja").read_text("utf-8")
    for probe in PROBES:
        assert jinja(template, list(probe), True)[0] == LAYOUTS[name].render(probe, True, "<s>")


def test_published_qwen3_asked_not_to_think_says_the_same() -> None:
    spec = find_spec("trl")
    assert spec is not None and spec.origin is not None
    template = (Path(spec.origin).parent / "chat_templates" / "qwen3.jinja").read_text("utf-8")
    unthinking = "{%- set enable_thinking = false %}" + template
    for probe in PROBES:
        assert jinja(unthinking, list(probe), True)[0] == LAYOUTS["qwen3"].render(probe, True, "<s>")


def test_published_gemma_says_the_same_where_it_takes_the_messages() -> None:
    spec = find_spec("trl")
    assert spec is not None and spec.origin is not None
    template = (Path(spec.origin).parent / "chat_templates" / "gemma.jinja").read_text("utf-8")
    for probe in (probe for probe in PROBES if probe[0]["role"] != "system"):
        assert jinja(template, list(probe), True)[0] == LAYOUTS["gemma"].render(probe, True, "<s>")


def test_mistral_puts_the_system_message_into_the_last_question() -> None:
    text = LAYOUTS["mistral"].render([SYSTEM, *TURNS[:3]], True, "<s>")
    assert text == ("<s>[INST] One?\n\nTwo?[/INST] Three.</s>[INST] Be 'brief', {{ please }}.\n\nOne?\n\nTwo?[/INST]")


def test_trimming_is_llama3s_alone() -> None:
    talk = [{"role": "user", "content": " hi \n"}]
    assert "\n\nhi<|eot_id|>" in LAYOUTS["llama3"].render(talk, False, None)
    assert "\n hi \n<|im_end|>" in LAYOUTS["qwen"].render(talk, False, None)


@pytest.mark.parametrize(
    "roles",
    [[], ["system"], ["assistant"], ["user", "user"], ["user", "system"], ["user", "tool"]],
)
def test_other_orders_of_roles_are_refused(roles: list[str]) -> None:
    with pytest.raises(FinetrailError, match="user and assistant in turn"):
        LAYOUTS["qwen"].render([{"role": role, "content": "x"} for role in roles], True, None)


def loaded(models: dict[str, Path], architecture: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(models[architecture])


def test_layouts_are_found_again(models: dict[str, Path]) -> None:
    for name, architecture in (
        ("llama3_1", "llama"),
        ("mistral", "mistral"),
        ("qwen", "qwen3"),
        ("qwen2", "qwen2"),
    ):
        tokenizer = loaded(models, architecture)
        tokenizer.chat_template = LAYOUTS[name].jinja
        assert detect_layout(tokenizer).name == name


def test_an_unknown_template_is_named_with_its_nearest(models: dict[str, Path]) -> None:
    tokenizer = loaded(models, "qwen3")
    tokenizer.chat_template = LAYOUTS["qwen"].jinja.replace("<|im_start|>user\\n", "<|im_start|>human\\n")
    with pytest.raises(FinetrailError, match=r"nearest is 'qwen'.*at character 12 the template has 'human"):
        detect_layout(tokenizer)
    tokenizer.chat_template = None
    with pytest.raises(FinetrailError, match="no chat template"):
        detect_layout(tokenizer)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3"])
def test_training_masks_keep_exactly_the_answers(models: dict[str, Path], architecture: str) -> None:
    tokenizer = loaded(models, architecture)
    found = tokenizer.apply_chat_template(
        CONVERSATIONS[0], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    kept = [number for number, keep in zip(found["input_ids"], found["assistant_masks"], strict=True) if keep]
    end = "</s>" if architecture == "mistral" else tokenizer.eos_token
    answers = [message["content"] for message in CONVERSATIONS[0] if message["role"] == "assistant"]
    assert tokenizer.decode(kept).strip() in (
        end.join([*answers, ""]),
        end.join([answers[0], f" {answers[1]}", ""]),
    )
