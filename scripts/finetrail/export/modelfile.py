"""Write an Ollama Modelfile, and refuse what its grammar cannot say.

Source: Ollama's parser. A value is bare, in quotes or in triple quotes, and nothing can be escaped;
characters that Go does not call printable are dropped without a word; an unknown parameter is an error.
"""

import math
import re
from collections.abc import Mapping, Sequence

from finetrail.errors import FinetrailError

Parameter = int | float | bool

# Ollama's options and their types; `stop` is written from the layout.
_INTEGERS = {"num_ctx", "num_predict", "num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread"}
_INTEGERS |= {"seed", "top_k", "repeat_last_n"}
_NUMBERS = {"temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty"}
_NUMBERS |= {"frequency_penalty"}
_SWITCHES = {"use_mmap"}


def render_modelfile(
    *,
    source: str,
    template: str,
    stop: Sequence[str],
    system: str | None = None,
    parameters: Mapping[str, Parameter] | None = None,
    license_text: str | None = None,
) -> str:
    """Write a Modelfile.

    Args:
        source: what FROM names: ``./model.gguf``, or ``.`` for a folder of safetensors.
        template: Go text/template; compulsory, since Ollama otherwise guesses one.
        stop: strings that end an answer; at least one.
        system: the system prompt; None writes none.
        parameters: Ollama's options by name, without ``stop``.
        license_text: the model's licence.

    Raises:
        FinetrailError: a value that the grammar cannot say, or a parameter that Ollama does not know.
    """
    if not re.fullmatch(r"[!-~]+", source) or '"' in source:
        raise FinetrailError(f"FROM cannot name {source!r}", where="FROM", hint="Use ./model.gguf or .")
    if not template.strip() or not stop or "" in stop:
        raise FinetrailError("a Modelfile needs a TEMPLATE and a stop string", where="TEMPLATE")
    lines = [f"FROM {source}", f"TEMPLATE {_quoted(template, 'TEMPLATE')}"]
    if system:
        lines.append(f"SYSTEM {_quoted(system, 'SYSTEM')}")
    lines += [f"PARAMETER stop {_quoted(text, 'PARAMETER stop')}" for text in stop]
    lines += [f"PARAMETER {name} {_value(name, value)}" for name, value in sorted((parameters or {}).items())]
    if license_text:
        lines.append(f"LICENSE {_quoted(license_text, 'LICENSE')}")
    return "\n".join(lines) + "\n"


def check_text(text: str, where: str) -> None:
    """Refuse a text that a Modelfile cannot hold.

    Args:
        text: a value.
        where: the instruction, for messages.

    Raises:
        FinetrailError: it holds what ends a value, or characters that Ollama drops.
    """
    if '"""' in text:
        raise FinetrailError('the text holds """, which ends a value', where=where, hint="Write it another way")
    lost = next((letter for letter in text if not (letter.isprintable() or letter in "\n\t")), None)
    if lost is not None:
        raise FinetrailError(
            f"the text holds {lost!r} (U+{ord(lost):04X}), which Ollama drops",
            where=where,
            hint="Take it out",
        )


def _quoted(text: str, where: str) -> str:
    check_text(text, where)
    return f'"""{text}"""' if '"' in text or "\n" in text or where != "PARAMETER stop" else f'"{text}"'


def _value(name: str, value: Parameter) -> str:
    where = f"PARAMETER {name}"
    if name == "stop":
        raise FinetrailError("stop strings are given apart", where=where, hint="Use stop=")
    if name in _SWITCHES:
        fits = isinstance(value, bool)
    elif name in _INTEGERS:
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif name in _NUMBERS:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    else:
        known = ", ".join(sorted(_INTEGERS | _NUMBERS | _SWITCHES))
        raise FinetrailError("Ollama does not know the parameter", where=where, hint=f"Known are {known}")
    if not fits:
        raise FinetrailError(f"{value!r} is not of the parameter's type", where=where)
    return str(value).lower() if isinstance(value, bool) else repr(value)
