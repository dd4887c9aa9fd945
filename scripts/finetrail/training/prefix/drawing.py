"""Which row is drawn when: tasks in fixed shares, in phases, in exact numbers, the same under the same seed."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from finetrail.errors import FinetrailError
from finetrail.rows.records import derive_seed
from finetrail.training.settings.train_settings import DrawingPhase


def counts_of(phase: DrawingPhase, rows: Mapping[str, int]) -> dict[str, int]:
    """Return how often each task is drawn in a phase: its share of the draws, rounded so that the sum is exact.

    Args:
        phase: an epoch is as many draws as there are rows of the tasks whose share is above 0.
        rows: task → how many rows it has.

    Raises:
        FinetrailError: a task with a share has no row.
    """
    shares = {task: share for task, share in phase.tasks.items() if share > 0}
    if missing := sorted(task for task in shares if not rows.get(task)):
        raise FinetrailError(
            f"there are no rows of the task {', '.join(missing)}",
            where="train.models",
            hint="Set its probability to 0; synthetic.dropped.jsonl says why there are none",
        )
    total = phase.draws or round((phase.epochs or 1.0) * sum(rows[task] for task in shares))
    whole = {task: int(total * share) for task, share in shares.items()}
    rest = sorted(shares, key=lambda task: (-round(total * shares[task] - whole[task], 9), task))
    for task in rest[: total - sum(whole.values())]:
        whole[task] += 1
    return whole


def draw_rows(
    kinds: Sequence[str], phases: Sequence[DrawingPhase], seed: int
) -> tuple[list[int], list[dict[str, int]]]:
    """Draw the places of rows, phase after phase.

    Each task goes through its rows in a shuffled order before one comes again; the tasks of a phase are mixed.

    Args:
        kinds: the task of each row, in the order of the file.
        phases: see `counts_of`.
        seed: another seed draws anew.

    Returns:
        The places in the order in which they are trained on, and of each phase how often each task was drawn.
    """
    members: dict[str, list[int]] = {}
    for place, kind in enumerate(kinds):
        members.setdefault(kind, []).append(place)
    sizes = {kind: len(places) for kind, places in members.items()}
    drawn: list[int] = []
    counts: list[dict[str, int]] = []
    waiting: dict[str, list[int]] = {kind: [] for kind in members}
    rounds: Counter[str] = Counter()
    for number, phase in enumerate(phases):
        wanted = counts_of(phase, sizes)
        tasks = [task for task, count in sorted(wanted.items()) for _ in range(count)]
        random.Random(derive_seed("mixing tasks", seed, str(number))).shuffle(tasks)
        for task in tasks:
            if not waiting[task]:
                order = list(members[task])
                random.Random(derive_seed("order of rows", seed, f"{task} {rounds[task]}")).shuffle(order)
                waiting[task] = order
                rounds[task] += 1
            drawn.append(waiting[task].pop())
        counts.append(wanted)
    return drawn, counts
