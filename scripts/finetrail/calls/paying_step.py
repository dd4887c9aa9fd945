"""What a step that pays for answers shares with its run: arguments, shards, budget, shares, and rows set aside."""

import argparse
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from finetrail.calls.budget import Budget
from finetrail.calls.merge_shards import merge_shards
from finetrail.config.current import current_run
from finetrail.errors import FinetrailError
from finetrail.rows.shards import Shard
from finetrail.step.journal import shared_run_folder
from finetrail.step.step import Step, run_step, step_parser


def asking_parser(description: str | None) -> argparse.ArgumentParser:
    """Make a parser for a step that asks a model: it can say beforehand what it would ask, and share its rows out."""
    parser = step_parser(description)
    parser.add_argument("--plan", action="store_true", help="ask and write nothing; print what would be asked, as JSON")
    parser.add_argument("--shard", type=Shard.parse, help="work on a share of the rows only, such as 2/3")
    parser.add_argument("--shards", type=Path, nargs="*", help="ask nothing: merge these files, of all shards")
    parser.add_argument("--teacher", help="digest of what decides the answers of a server that the step starts")
    parser.add_argument(
        "--shares",
        type=int,
        default=0,
        help="shares of the endpoints' ceilings that this job holds (resource llm); 0: it has them for itself",
    )
    return parser


def run_asking_step(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    script: str,
    work: Callable[[Step, argparse.Namespace], None],
    key: str = "id",
) -> int:
    """Run a step that asks a model: its rows, the rows of one shard, or what all its shards have written.

    Args:
        parser: made by `asking_parser`.
        argv: the command line; None takes the process's own.
        script: the script's ``__file__``.
        work: asks about the rows.
        key: what names, in a row that it writes, the input row that it was made of.

    Returns:
        The exit status, as `run_step` does.
    """

    def work_or_merge(step: Step, args: argparse.Namespace) -> None:
        if args.shards:
            merge_shards(step, args, key)
        else:
            work(step, args)

    return run_step(parser, argv, script, work_or_merge)


def share_of(step: Step) -> Fraction:
    """Return what part of the ceilings of shared endpoints the job may use, beside the others of its run."""
    held: int = step.args.shares
    of: int | None = current_run().get("llm_shares")
    return min(Fraction(held, of), Fraction(1)) if held and of else Fraction(1)


def run_budget(settings: dict[str, Any]) -> Budget | None:
    """Return the budget that the jobs of this run share; a script that is run by hand has it for itself."""
    usd, calls = settings["budget_usd"], settings["budget_calls"]
    if usd is None and calls is None:
        return None
    run = shared_run_folder()
    return Budget(usd=usd, calls=calls, folder=run / "spending" if run else None)


def check_budget(budget: Budget | None, total: int, left: int) -> None:
    """Stop where the budget left rows unasked.

    Raises:
        FinetrailError: it did.
    """
    if budget is None or not left:
        return
    spent = budget.spent()
    raise FinetrailError(
        f"the budget of this run is spent: its jobs paid {spent.calls} calls, {spent.usd:.4f} USD; "
        f"{left} of {total} rows of this step are left",
        where=budget.bounds(),
        hint="All answers are kept: run again, with a higher bound, to pay for the rest only",
    )


class Patience:
    """Stops a step as soon as more of its rows have failed than may be set aside.

    Args:
        share: the share that may be (`llm.max_quarantined_share`).
        total: gives the most rows that there can be; None where that is not known yet.
        where: the file of the rows that are set aside, for the message.
    """

    def __init__(self, share: float, total: Callable[[], int | None], where: Path) -> None:
        self._share = share
        self._total = total
        self._where = where
        self.errors: dict[str, str] = {}

    @property
    def first(self) -> str:
        """The first row without an answer, with its error; empty where there is none."""
        return next((f"{row_id}: {error}" for row_id, error in self.errors.items()), "")

    def fail(self, row_id: str, error: str) -> None:
        """Count a row that has no answer.

        Raises:
            FinetrailError: too many have none.
        """
        self.errors.setdefault(row_id, error)
        total = self._total()
        if total is not None and len(self.errors) > self._share * total:
            so_far = f"{len(self.errors)} of at most {total} rows"
            raise _too_many(so_far, self._share, f"; the step stops early. The first: {self.first}", self._where)


def _too_many(failed: str, share: float, more: str, where: Path) -> FinetrailError:
    return FinetrailError(
        f"{failed} could not be processed, more than the share of {share:g} that llm.max_quarantined_share "
        f"allows{more}",
        where=str(where),
        hint="The rows and their errors are in that file; what was paid is kept, so that another run asks only for the "
        "rest",
    )


def check_quarantine(step: Step, total: int, quarantined: int, first_error: str) -> None:
    """Record the balance of a step that sets rows aside.

    Raises:
        FinetrailError: more rows failed than ``llm.max_quarantined_share`` allows.
    """
    step.count(rows_in=total, kept=total - quarantined, quarantined=quarantined)
    share = current_run()["llm"]["max_quarantined_share"]
    if quarantined > share * total:
        more = f"; the first: {first_error}"
        raise _too_many(f"{quarantined} of {total} rows", share, more, step.journal.quarantine_path)


def patience_of(step: Step, total: Callable[[], int | None]) -> Patience:
    """Return the patience that the run's configuration gives a step."""
    return Patience(current_run()["llm"]["max_quarantined_share"], total, step.journal.quarantine_path)
