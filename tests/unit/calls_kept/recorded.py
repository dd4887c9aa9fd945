"""The keys that are recorded in `keys.json`, and the changes to them that `changes.yaml` names."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from finetrail.rows.records import sha256_file
from tests.unit.calls_kept.asked import Keys

KEYS_FILE = Path(__file__).with_name("keys.json")
CHANGES_FILE = Path(__file__).with_name("changes.yaml")
COMMAND = 'PYTHONPATH=scripts python -m tests.unit.calls_kept.record "<reason>"'
LINES_SHOWN = 20


def read_keys() -> dict[str, Keys]:
    """Read the recorded keys, by case."""
    keys: dict[str, Keys] = json.loads(KEYS_FILE.read_text(encoding="utf-8")) if KEYS_FILE.exists() else {}
    return keys


def read_changes() -> list[dict[str, Any]]:
    """Read the named changes, oldest first."""
    changes: list[dict[str, Any]] = yaml.safe_load(CHANGES_FILE.read_text(encoding="utf-8"))
    return changes


def record(keys: Mapping[str, Keys], reason: str) -> None:
    """Write the keys, and add the reason with the steps that it concerns to the named changes."""
    steps = sorted({" / ".join(place[:2]) for place, _ in _differences(read_keys(), keys)})
    KEYS_FILE.write_text(json.dumps(keys, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    entry = {"reason": reason, "steps": steps, "keys_sha256": sha256_file(KEYS_FILE)}
    with CHANGES_FILE.open("a", encoding="utf-8") as stream:
        yaml.safe_dump([entry], stream, sort_keys=False, allow_unicode=True, width=120)


def told(recorded: Mapping[str, Keys], found: Mapping[str, Keys]) -> str:
    """Say which keys differ, and what to do; nothing where all are the same."""
    lines = [f"  {' / '.join(place)}: {what}" for place, what in _differences(recorded, found)]
    if not lines:
        return ""
    more = [f"  and {len(lines) - LINES_SHOWN} more"] if len(lines) > LINES_SHOWN else []
    return "\n".join(
        [
            f"keys of stored calls that are not the recorded ones: {len(lines)} (recipe / step / row / call)",
            *lines[:LINES_SHOWN],
            *more,
            "Users who have paid for such calls would pay for them again. If you do not mean that, find what of the",
            f"request has changed (`ChatRequest.canonical`, `WebRequest.canonical`). If you do, name it: {COMMAND}",
        ]
    )


def _differences(recorded: Mapping[str, Keys], found: Mapping[str, Keys]) -> Iterator[tuple[Sequence[str], str]]:
    """Yield the places (case, rule, row, call) whose keys differ, and how."""
    before, after = _flat(recorded), _flat(found)
    for place in dict.fromkeys([*before, *after]):
        old, new = before.get(place), after.get(place)
        if old is None:
            yield place, "is not recorded"
        elif new is None:
            yield place, "is no longer asked"
        elif old != new:
            yield place, f"was {old[:12]}, is {new[:12]}"


def _flat(keys: Mapping[str, Keys]) -> dict[tuple[str, str, str, str], str]:
    return {
        (case, rule, row, f"call {number}"): key
        for case, rules in keys.items()
        for rule, rows in rules.items()
        for row, calls in rows.items()
        for number, key in enumerate(calls, start=1)
    }
