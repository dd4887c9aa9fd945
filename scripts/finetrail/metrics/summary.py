"""What a metrics file says in a few lines, for the end of a run."""

from pathlib import Path
from typing import Any

from finetrail.metrics.bootstrap import bounds_text
from finetrail.metrics.compare import set_aside_lines
from finetrail.rows.artifacts import read_json


def summary_lines(path: Path) -> list[str]:
    """Say each comparison in two lines: every model's score, and the differences with their intervals.

    Args:
        path: ``metrics/{model}/{fold}.json``.
    """
    metrics: dict[str, Any] = read_json(path)
    lines = [f"{path}"]
    for comparison in metrics["comparisons"].values():
        scores = ", ".join(f"{name} {score['estimate']:.3f}" for name, score in comparison["models"].items())
        differences = ", ".join(
            f"{name} {difference['estimate']:+.3f} [{bounds_text(difference, '+.3f')}]"
            for name, difference in comparison["differences"].items()
        )
        lines.append(f"  {comparison['metric']} (rests on {comparison['rests_on']}): {scores}")
        subject = next(name for name in comparison["models"] if name not in comparison["differences"])
        lines.append(f"    {subject} minus {differences}")
    lines += [f"  {line}" for line in set_aside_lines(metrics)]
    for name, share in metrics.get("right_image_beats_another", {}).items():
        kinds = {"": share} if "estimate" in share else share
        for kind, found in ((kind, found) for kind, found in kinds.items() if found):
            said = f"{found['estimate']:.3f} [{bounds_text(found, '.3f')}] of {found['pairs']} pairs"
            lines.append(f"  {name}: the right image beats another one in {said}{kind and f' ({kind})'}")
    return lines
