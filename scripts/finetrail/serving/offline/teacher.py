"""The offline teacher: a rule-based stand-in for a language model, so that everything runs with no key.

It judges by words that texts share and answers with sentences of the passages. It understands nothing: a
figure that rests on it says so.
"""

from functools import cache
from pathlib import Path

from finetrail.digests.code_digest import DIGEST_LENGTH, tree_digests
from finetrail.rows.records import canonical_json, sha256_text

MODEL_ID = "offline-teacher-1"
PROGRAM = Path(__file__).with_name("server.py").resolve()


NOTE = (
    "The offline teacher compares words: figures that rest on it say that the chain works, not how good the answers are"
)


def rests_on_offline(model: str | None) -> dict[str, bool | str | None]:
    """Say in a report whether its figures rest on the offline teacher."""
    offline = bool(model and model.startswith("offline-"))
    return {"rests_on_offline_teacher": offline, "note": NOTE if offline else None}


@cache
def teacher_digest() -> str:
    """Return the digest of the teacher's own sources, comments and docstrings aside: it enters every key."""
    folder = Path(__file__).resolve().parent
    digests = tree_digests(folder.glob("*.py"), folder)
    return sha256_text(canonical_json(digests))[:DIGEST_LENGTH]
