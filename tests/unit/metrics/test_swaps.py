"""The right image against others: which stand in, and what share they lose."""

from typing import Any

from finetrail.examples.swapped_images import swapped_rows
from finetrail.metrics.swaps import right_beats_another

DRAWN = {"resamples": 200, "seed": 1}


def row(name: str, group: str, **changes: Any) -> dict[str, Any]:
    return {"id": name, "group": group, "image": {"path": name, "sha256": name}} | changes


def test_images_of_the_same_group_of_none_and_of_other_kinds_never_stand_in() -> None:
    own = row("a", "g1", kind="caption")
    others = [
        row("b", "g1", kind="caption"),
        row("c", "g2", kind="summary"),
        row("d", "g3", kind="caption", image=None),
    ]
    assert swapped_rows(own, [own, *others]) == []
    wanted = [row(f"e{number}", "g4", kind="caption") for number in range(9)]
    chosen = swapped_rows(own, [own, *others, *wanted])
    assert len(chosen) == 4 and all(other in wanted for other in chosen)
    assert swapped_rows(own, [*wanted[::-1], *others, own]) == chosen, "by a hash, not by place"


def test_the_share_counts_pairs_and_its_interval_draws_groups() -> None:
    def measured(group: str, *others: float) -> dict[str, Any]:
        return {"group": group, "loss": {"nats": 2.0}, "swapped": [{"id": "x", "nats": nats} for nats in others]}

    found = right_beats_another([measured("g1", 3.0, 3.0), measured("g2", 1.0, 2.0)], DRAWN)
    assert found is not None
    assert (found["estimate"], found["pairs"]) == (0.5, 4), "as likely is not less likely"
    assert (found["low"], found["high"]) == (0.0, 1.0)
    assert right_beats_another([{"group": "g1", "loss": {"nats": 2.0}}], DRAWN) is None
