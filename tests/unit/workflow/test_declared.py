"""What a script declares is read, or refused with its place: nothing of it is lost in silence."""

from pathlib import Path

import pytest

from finetrail.calls.paying_step import asking_parser
from finetrail.errors import FinetrailError
from finetrail.report.plots.plot_step import plot_parser
from finetrail.step.step import step_parser
from finetrail.workflow.declared import Declared, read_declared


def declared(folder: Path, text: str) -> Declared:
    script = folder / "step.py"
    script.write_text(text)
    read_declared.cache_clear()
    return read_declared(script)


def test_literals_files_and_options_are_read(tmp_path: Path) -> None:
    said = declared(
        tmp_path,
        """
SETTINGS = ("a.b", "c")
ASKS = "a.model"
ENVIRONMENT = "data"
parser = asking_parser(__doc__)
add_input(parser, "--rows", "rows")
parser.add_argument("--every-split", action="store_true")
add_output(parser, "--out", "rows")
""",
    )
    assert (said.settings, said.asks, said.environment) == (("a.b", "c"), "a.model", "data")
    assert (set(said.inputs), said.outputs) == ({"rows", "shards"}, ("out",))
    assert said.options == {"every_split", "shares", "shard"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('SETTINGS: tuple[str, ...] = ("a",)', "step.py:1: SETTINGS is declared in another form"),
        ('SETTINGS = ("a",)\nSETTINGS += ("b",)', "step.py:2: SETTINGS is declared in another form"),
        ('SETTINGS, ASKS = ("a",), "b"', "declared in another form"),
        ('if True:\n    ENVIRONMENT = "data"', "step.py:2: ENVIRONMENT is declared in another form"),
        ('SETTINGS = ("a")', "SETTINGS is 'a'. Write a tuple"),
        ('SETTINGS = {"a"}', "SETTINGS is {'a'}"),
        ('ENVIRONMENT = ("data",)', "Write a str"),
        ('SPREADS = "no"', "Write a bool"),
        ("ASKS = KEY", "step.py:1: a declaration of a step is no literal"),
    ],
)
def test_a_declaration_in_another_form_is_refused_by_its_place(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(FinetrailError) as caught:
        declared(tmp_path, line)
    assert message in str(caught.value)


def test_what_parsers_of_the_library_add_is_known(tmp_path: Path) -> None:
    shared = {action.dest for action in step_parser(None)._actions}
    plan = {"plan", "teacher"}  # what no rule gives, and what every rule that asks gives
    asking = {action.dest for action in asking_parser(None)._actions} - shared - plan
    said = declared(tmp_path, "parser = asking_parser(__doc__)")
    assert asking == {*said.inputs, *said.options}
    plots = {action.dest for action in plot_parser(None, "plot_x.py")._actions} - shared
    said = declared(tmp_path, "parser = plot_parser(__doc__, __file__)")
    assert plots == {*said.outputs, *said.options}
