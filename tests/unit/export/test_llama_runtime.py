"""The llama.cpp runtime comes and goes without a trace."""

import subprocess
import sys
from pathlib import Path

import pytest

from finetrail.export.gguf_writer import convert_to_gguf

pytestmark = pytest.mark.heavy

STARTS = """
import sys
from pathlib import Path
from finetrail.export.llama_runtime import LlamaRuntime

for _ in range(40):
    with LlamaRuntime(Path(sys.argv[1]), context=64, threads=1):
        pass
print("all stopped")
"""


def test_a_server_that_is_stopped_at_once_does_stop(models: dict[str, Path], tmp_path: Path) -> None:
    """In a process of its own: one that hangs holds the interpreter's lock."""
    convert_to_gguf(models["llama"], tmp_path / "model.gguf")
    command = [sys.executable, "-c", STARTS, str(tmp_path / "model.gguf")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.endswith("all stopped\n")
