"""Render a Modelfile's TEMPLATE with Go's own text/template, fed as Ollama feeds it."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from finetrail.errors import FinetrailError

_TIMEOUT_SECONDS = 300
_PROGRAM = """package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	var work struct {
		Template string
		Cases    [][]message
	}
	fail(json.NewDecoder(os.Stdin).Decode(&work))
	parsed, err := template.New("").Option("missingkey=zero").Parse(work.Template)
	fail(err)
	rendered := []string{}
	for _, messages := range work.Cases {
		system := []string{}
		for _, one := range messages {
			if one.Role == "system" {
				system = append(system, one.Content)
			}
		}
		var text strings.Builder
		fail(parsed.Execute(&text, map[string]any{
			"System": strings.Join(system, "\\n\\n"), "Messages": messages, "Response": "",
		}))
		rendered = append(rendered, text.String())
	}
	fail(json.NewEncoder(os.Stdout).Encode(rendered))
}
"""


def go_version() -> str | None:
    """Name the Go on the PATH; None where there is none."""
    if shutil.which("go") is None:
        return None
    answer = subprocess.run(["go", "version"], capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS)
    return answer.stdout.strip() or None


def render_go(template: str, cases: Sequence[Sequence[Mapping[str, str]]]) -> list[str]:
    """Render each conversation with a Go template.

    Args:
        template: the TEMPLATE of a Modelfile, over ``.System`` and ``.Messages``.
        cases: conversations, ``role`` and ``content`` each.

    Raises:
        FinetrailError: Go is missing, or refuses the template.
    """
    if go_version() is None:
        raise FinetrailError("there is no go on the PATH", hint="Install Go 1.18 or later")
    work = {"Template": template, "Cases": [[dict(message) for message in case] for case in cases]}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "main.go"
        program.write_text(_PROGRAM, encoding="utf-8")
        environment = {"HOME": folder, **os.environ, "GO111MODULE": "off"}
        answer = subprocess.run(
            ["go", "run", str(program)],
            input=json.dumps(work),
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=_TIMEOUT_SECONDS,
        )
    if answer.returncode != 0:
        raise FinetrailError(f"Go refuses the template: {answer.stderr.strip()}", where="TEMPLATE")
    return [str(text) for text in json.loads(answer.stdout)]
