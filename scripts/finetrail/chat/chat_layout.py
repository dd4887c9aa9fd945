"""Chat layouts: one description gives the Jinja template, Ollama's Go template, stop strings and a renderer.

A layout says what stands around each message. Training reads it as a Jinja template (``{% generation %}``
markers let a trainer mask everything but the assistant's text), llama.cpp reads the same template from the
GGUF file, Ollama reads the Go template, and ``render`` is the plain Python that both are tested against.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from finetrail.errors import FinetrailError

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class ChatLayout:
    """What a model family writes around the messages of a conversation.

    Attributes:
        name: the layout's name in settings and reports.
        family: the model family that reads it.
        bos: whether the rendered text starts with the tokenizer's BOS token.
        system: the text before and after a system message; None where it has no turn of its own and goes,
            with a blank line, in front of the last user message.
        user: the text before and after a user message.
        assistant: the text before (which is also the generation prompt) and after an assistant message.
        prompt_lead: what the prompt itself writes behind ``assistant[0]`` in the turn that is to be answered (an empty
            block of thoughts, say); earlier turns show none of it.
        answer_lead: what the model writes before its answer's first word.
        answer_break: what follows an assistant message without being written by the model.
        trimmed: the roles whose messages lose white space at both ends.
        system_preamble: fixed text before every system message.
        default_system: the system message of a conversation that has none; None for no system turn at all.
        stop: strings that end an answer, the end of the turn first.
    """

    name: str
    family: str
    bos: bool
    system: tuple[str, str] | None
    user: tuple[str, str]
    assistant: tuple[str, str]
    stop: tuple[str, ...]
    prompt_lead: str = ""
    answer_lead: str = ""
    answer_break: str = ""
    trimmed: frozenset[Role] = frozenset()
    system_preamble: str = ""
    default_system: str | None = None

    @property
    def jinja(self) -> str:
        """The chat template in Jinja, with generation markers around what the assistant writes."""
        return _jinja(self)

    @property
    def go_template(self) -> str:
        """The TEMPLATE of a Modelfile (Go text/template over ``.System`` and ``.Messages``).

        It writes no BOS token, which the server adds, and trims nothing, which Ollama's templates cannot.
        """
        return _go_template(self)

    def render(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool, bos_token: str | None) -> str:
        """Lay out a conversation as the Jinja template does.

        Args:
            messages: ``role`` and ``content`` each: perhaps a system message, then user, assistant, user ...
            add_generation_prompt: whether to open the assistant's next turn at the end.
            bos_token: the tokenizer's BOS token; None or empty leaves it away.

        Raises:
            FinetrailError: an unknown role, or roles in an order that the layouts cannot all express.
        """
        check_roles(messages)
        last_user = max(number for number, message in enumerate(messages) if message["role"] == "user")
        system = messages[0]["content"] if messages[0]["role"] == "system" else self.default_system
        parts = [bos_token or ""] if self.bos else []
        if self.system is not None and system is not None:
            parts.append(self._wrap(self.system, "system", system))
        for number, message in enumerate(messages):
            if message["role"] == "user":
                merged = self.system is None and system is not None and number == last_user
                before = f"{self.user[0]}{system}\n\n" if merged else self.user[0]
                parts.append(self._wrap((before, self.user[1]), "user", message["content"]))
            elif message["role"] == "assistant":
                opening = self.assistant[0] + (self.prompt_lead if number == len(messages) - 1 else "")
                around = (opening, self.assistant[1])
                parts.append(self._wrap(around, "assistant", message["content"]) + self.answer_break)
        if add_generation_prompt:
            parts.append(self.assistant[0] + self.prompt_lead)
        return "".join(parts)

    def _wrap(self, around: tuple[str, str], role: Role, content: str) -> str:
        lead = {"system": self.system_preamble, "assistant": self.answer_lead}.get(role, "")
        return around[0] + lead + (content.strip() if role in self.trimmed else content) + around[1]


def check_roles(messages: Sequence[Mapping[str, str]]) -> None:
    """Refuse what Ollama, llama.cpp and the published templates would lay out differently.

    Raises:
        FinetrailError: no user message, an unknown role, a system message that is not the first, or two
            messages of one role in a row (Ollama merges them).
    """
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    expected = ["user" if number % 2 == 0 else "assistant" for number in range(len(turns))]
    if not turns or turns != expected:
        raise FinetrailError(
            f"roles {roles} are not an optional system message, then user and assistant in turn",
            hint="Merge neighbours of one role, and keep one system message at the start",
        )


def _quote(text: str) -> str:
    """Write a string as a Jinja literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def _sum(*parts: str) -> str:
    """Join literals and expressions to one Jinja output statement; an empty literal is left out."""
    return "{{- " + " + ".join(part for part in parts if part and part != "''") + " }}"


def _jinja(layout: ChatLayout) -> str:
    def content(role: Role) -> str:
        return "message['content']" + (" | trim" if role in layout.trimmed else "")

    lines = ["{{- bos_token }}"] if layout.bos else []
    user = _sum(_quote(layout.user[0]), content("user"), _quote(layout.user[1]))
    if layout.system is None:
        # By position, since two questions of one conversation may be equal.
        lines += [
            "{%- set place = namespace(last_user=0) %}",
            "{%- for message in messages %}",
            "    {%- if message['role'] == 'user' %}{%- set place.last_user = loop.index0 %}{%- endif %}",
            "{%- endfor %}",
        ]
        merged = ["messages[0]['content']", _quote("\n\n"), content("user"), _quote(layout.user[1])]
        system_turn = []
        user_turn = [
            "        {%- if messages[0]['role'] == 'system' and loop.index0 == place.last_user %}",
            "            " + _sum(_quote(layout.user[0]), *merged),
            "        {%- else %}",
            "            " + user,
            "        {%- endif %}",
        ]
    else:
        before, after = (layout.system[0] + layout.system_preamble, layout.system[1])
        if layout.default_system is not None:
            default = _quote(before + layout.default_system + after)
            lines.append("{%- if messages[0]['role'] != 'system' %}{{- " + default + " }}{%- endif %}")
        system_turn = ["        " + _sum(_quote(before), content("system"), _quote(after))]
        user_turn = ["        " + user]
    opening = _sum(_quote(layout.assistant[0])) if layout.assistant[0] else ""
    lead = _sum(_quote(layout.prompt_lead)) if layout.prompt_lead else ""
    answer = _sum(_quote(layout.answer_lead), content("assistant"), _quote(layout.assistant[1]))
    lines += [
        "{%- for message in messages %}",
        "    {%- if message['role'] == 'system' %}",
        *system_turn,
        "    {%- elif message['role'] == 'user' %}",
        *user_turn,
        "    {%- elif message['role'] == 'assistant' %}",
        *(["        " + opening] if opening else []),
        *(["        {%- if loop.last %}" + lead + "{%- endif %}"] if lead else []),
        "        {%- generation %}",
        "        " + answer,
        "        {%- endgeneration %}",
        *(["        " + _sum(_quote(layout.answer_break))] if layout.answer_break else []),
        "    {%- else %}",
        "        {{- raise_exception('unknown role: ' + message['role']) }}",
        "    {%- endif %}",
        "{%- endfor %}",
    ]
    if opening or lead:
        lines += ["{%- if add_generation_prompt %}", "    " + opening + lead, "{%- endif %}"]
    return "\n".join(lines)


def _go_template(layout: ChatLayout) -> str:
    user = f"{layout.user[0]}{{{{ $message.Content }}}}{layout.user[1]}"
    answer = f"{layout.answer_lead}{{{{ $message.Content }}}}{layout.assistant[1]}{layout.answer_break}"
    start = ""
    system_turn = ""
    if layout.system is None:
        start = (
            '{{ $last := 0 }}{{ range $number, $message := .Messages }}{{ if eq $message.Role "user" }}'
            "{{ $last = $number }}{{ end }}{{ end }}"
        )
        merged = "{{ if and $.System (eq $number $last) }}{{ $.System }}\n\n{{ end }}"
        user = f"{layout.user[0]}{merged}{{{{ $message.Content }}}}{layout.user[1]}"
    else:
        before, after = (layout.system[0] + layout.system_preamble, layout.system[1])
        if layout.default_system is not None:
            start = f"{{{{ if not .System }}}}{before}{layout.default_system}{after}{{{{ end }}}}"
        system_turn = f'{{{{ if eq $message.Role "system" }}}}{before}{{{{ $message.Content }}}}{after}{{{{ end }}}}'
    return (
        start
        + "{{ range $number, $message := .Messages }}"
        + system_turn
        + f'{{{{ if eq $message.Role "user" }}}}{user}{{{{ end }}}}'
        + f'{{{{ if eq $message.Role "assistant" }}}}{layout.assistant[0]}{answer}{{{{ end }}}}'
        + "{{ end }}"
        + layout.assistant[0]
        + layout.prompt_lead
    )


def _chatml(name: str, default_system: str | None, *more_stops: str, prompt_lead: str = "") -> ChatLayout:
    return ChatLayout(
        name=name,
        family="chatml" if name == "chatml" else "qwen",
        prompt_lead=prompt_lead,
        bos=False,
        system=("<|im_start|>system\n", "<|im_end|>\n"),
        user=("<|im_start|>user\n", "<|im_end|>\n"),
        assistant=("<|im_start|>assistant\n", "<|im_end|>"),
        answer_break="\n",
        default_system=default_system,
        stop=("<|im_end|>", "<|im_start|>", *more_stops),
    )


def _llama3(name: str, preamble: str, default_system: str | None) -> ChatLayout:
    def header(role: str) -> str:
        return f"<|start_header_id|>{role}<|end_header_id|>\n\n"

    return ChatLayout(
        name=name,
        family="llama3",
        bos=True,
        system=(header("system"), "<|eot_id|>"),
        user=(header("user"), "<|eot_id|>"),
        assistant=(header("assistant"), "<|eot_id|>"),
        trimmed=frozenset({"system", "user", "assistant"}),
        system_preamble=preamble,
        default_system=default_system,
        stop=("<|eot_id|>", "<|start_header_id|>", "<|end_of_text|>"),
    )


_ALL = (
    _chatml("qwen", None, "<|endoftext|>"),
    _chatml("qwen2", "You are a helpful assistant.", "<|endoftext|>"),
    _chatml("qwen2_5", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", "<|endoftext|>"),
    _chatml("chatml", None),
    # Qwen3 asked not to think (enable_thinking=false): the prompt closes an empty block of thoughts.
    _chatml("qwen3", None, "<|endoftext|>", prompt_lead="<think>\n\n</think>\n\n"),
    _llama3("llama3", "", None),
    # Llama 3.1's template with the date that it falls back to; 3.2's writes the present day instead.
    _llama3("llama3_1", "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n", ""),
    ChatLayout(
        name="mistral",
        family="mistral",
        bos=True,
        system=None,
        user=("[INST] ", "[/INST]"),
        assistant=("", "</s>"),
        answer_lead=" ",
        trimmed=frozenset({"assistant"}),
        stop=("</s>", "[INST]"),
    ),
    ChatLayout(
        name="gemma",
        family="gemma",
        bos=True,
        system=None,
        user=("<start_of_turn>user\n", "<end_of_turn>\n"),
        assistant=("<start_of_turn>model\n", "<end_of_turn>"),
        answer_break="\n",
        trimmed=frozenset({"user", "assistant"}),
        stop=("<end_of_turn>", "<start_of_turn>", "<eos>"),
    ),
    # Plain text for bases without control tokens of their own (Taori et al. 2023, without its preamble).
    ChatLayout(
        name="alpaca",
        family="alpaca",
        bos=True,
        system=("", "\n\n"),
        user=("### Instruction:\n", "\n\n"),
        assistant=("### Response:\n", "</s>"),
        answer_break="\n\n",
        trimmed=frozenset({"system", "user", "assistant"}),
        stop=("</s>", "### Instruction:"),
    ),
)
LAYOUTS: dict[str, ChatLayout] = {layout.name: layout for layout in _ALL}
