"""How much memory the present job was given, for steps that choose by it how many processes they start."""

from finetrail.config.current import current_run

CHANGES_NO_RESULT = "how many processes work at once decides no row"
OTHERWISE_MB = 2000  # the default of config/config.yaml, for a step that is run by hand
OWN_MB = 500  # what the step itself needs beside its processes


def job_memory_mb(rule: str) -> int:
    """Return the memory of a rule's first attempt, in MB."""
    resources = current_run().get("resources", {})
    entries = [resources.get(name) or {} for name in (rule, "default")]
    return int(next((entry["mem_mb"] for entry in entries if entry.get("mem_mb")), OTHERWISE_MB))


def processes_within(rule: str, memory_bytes: int, most: int) -> int:
    """Return how many processes of a size fit into a job beside the step itself: at least one, `most` at most."""
    room = (job_memory_mb(rule) - OWN_MB) * 1_000_000
    return max(1, min(most, room // memory_bytes))
