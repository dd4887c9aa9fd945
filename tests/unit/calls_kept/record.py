"""Record the keys of stored calls anew, and name the reason why they changed."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.unit.calls_kept.asked import CASES, Case, Keys, asked_keys
from tests.unit.calls_kept.recorded import read_keys, record, told


def keys_of(case: Case) -> Keys:
    """Return the keys of a case."""
    with tempfile.TemporaryDirectory() as folder:
        return asked_keys(case, Path(folder))


def main(argv: Sequence[str] | None = None) -> int:
    """Write keys.json, and the reason into changes.yaml; where no key changed, write nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reason", help="why paid calls may be lost, in a sentence")
    args = parser.parse_args(argv)
    found = {name: keys_of(case) for name, case in CASES.items()}
    changed = told(read_keys(), found)
    print(changed or "All keys are as recorded.")
    if changed:
        record(found, args.reason)
    return 0


if __name__ == "__main__":
    sys.exit(main())
