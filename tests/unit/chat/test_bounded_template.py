"""A stranger's template: rendered as the library does, and ended where it would never end or write without end."""

from typing import Any

import pytest

from finetrail.chat.bounded_template import render_template
from finetrail.chat.chat_layout import LAYOUTS
from finetrail.errors import FinetrailError

pytestmark = pytest.mark.heavy

MESSAGES = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}, {"role": "user", "content": "x"}]
BOMBS = {
    "count off": "{% set finetrail_each = dict %}",
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "if false": "{% for i in range(99999) if false %}{% endfor %}" * 5,
    "nested if": "{% for a in range(99999) %}{% for i in range(99999) if false %}{% endfor %}{% endfor %}",
    "select": "{% for a in range(99999) %}{{ range(99999)|select('none')|list }}{% endfor %}",
    "lipsum": "{{ lipsum(n=10**8) }}",
    "square": "{% set n=namespace(x=9) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "tilde": "{% set n=namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "plus": "{% set n=namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "ljust": "{{ 'a'.ljust(2000000000) }}",
    "format": "{{ '{:>2000000000}'.format(1) }}",
    "ffilter": "{{ '%2000000000d'|format(1) }}",
    "star": "{{ '%*d' % (2000000000, 1) }}",
    "bytes": "{{ 'a'.encode() * 2000000000 }}",
    "center": "{{ 'a'|center(2000000000) }}",
    "cycler": "{{ cycler().next() }}",
    "mul": "{{ 'a'*10**9 }}",
    "macro": "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "replace": "{% set n=namespace(x='a') %}{% for i in range(90) %}{% set n.x = n.x.replace('a','aa') %}{% endfor %}",
    "write": "{% for i in range(9999) %}{{ 'a'*900000 }}{% endfor %}",
    "join": "{{ (['a'*999999]*1000)|join }}",
    "listmul": "{% set n=namespace(x=['a']) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "sort": "{{ range(99999)|list|sort|join|length }}",
    "tojson": "{{ ([1]*1000000)|tojson }}",
    "zfill": "{{ 'a'.zfill(10**10) }}",
}
ORDINARY = (
    "{% for message in messages %}{{ loop.index ~ '/' ~ loop.length }}{% if loop.last %}!{% endif %}"
    "{{ message.content | upper | trim }}{{ messages[loop.index0 - 1]['role'][:2] + '-' * 3 }}{% endfor %}"
    "{% set n = namespace(k=2) %}{% set n.k = n.k * 3 %}{{ n.k % 4 }}{{ 'a%sb' % n.k }}{{ {'a': [1]} | tojson }}"
    "{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(1) }}"
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
    "{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}{{ range(3) | list }}"
    "{{ messages[0].content.split('h') }}"
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}{% endfor %}"
)


class Tokenizer:
    """What rendering looks at of a tokenizer."""

    special_tokens_map = {"bos_token": "<s>", "eos_token": "</s>"}  # noqa: RUF012

    def __init__(self, template: str) -> None:
        self.chat_template = template

    def get_chat_template(self) -> str:
        return self.chat_template


def rendered(template: str) -> Any:
    tokenizer: Any = Tokenizer(template)
    return render_template(tokenizer, MESSAGES, where="row", add_generation_prompt=True)


@pytest.mark.parametrize("template", [ORDINARY, *(layout.jinja for layout in LAYOUTS.values())])
def test_it_renders_as_the_library_does(template: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    options: Any = {"add_generation_prompt": True, "enable_thinking": False, **Tokenizer.special_tokens_map}
    library: Any = render_jinja_template
    (wanted,), _ = library([MESSAGES], chat_template=template, **options)
    found = rendered(template)
    assert found.text == wanted
    if "generation" in template:
        assert [found.text[start:end].strip()[:2] for start, end in found.answers] == ["yo"]


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_would_not_end_or_fill_the_memory_is_ended(bomb: str) -> None:
    """Each of these would take minutes or gigabytes: the test ends at once, or the machine's time limit ends it."""
    with pytest.raises(FinetrailError, match="row: the chat template refuses the messages"):
        rendered(BOMBS[bomb])


def test_a_bomb_does_not_spoil_the_next_rendering() -> None:
    with pytest.raises(FinetrailError):
        rendered(BOMBS["loops"])
    assert rendered(LAYOUTS["qwen"].jinja).text == LAYOUTS["qwen"].render(MESSAGES, True, None)
