"""Write config/schema.json and config/reference.md from the typed configuration, or check them."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from finetrail.config.reference import json_schema, reference
from finetrail.rows.artifacts import atomic_path


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check both files; with --check, 1 means that one is not current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is not current")
    parser.add_argument("--folder", type=Path, default=Path("config"), help="where the files stand")
    args = parser.parse_args(argv)
    stale = []
    for name, text in (("schema.json", json_schema()), ("reference.md", reference())):
        path: Path = args.folder / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path)
        if not args.check:
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
    for path in stale:
        advice = f"is not current: run python {Path(__file__).name}" if args.check else "written"
        print(f"{path} {advice}", file=sys.stderr)
    return 1 if stale and args.check else 0


if __name__ == "__main__":
    sys.exit(main())
