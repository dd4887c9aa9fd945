import argparse
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from finetrail.config.current import RUN_CONFIG_VARIABLE
from finetrail.errors import FinetrailError
from finetrail.llm.ask import model_at
from finetrail.step.gate import DIGESTS_VARIABLE
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture(autouse=True)
def own_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_environment: None) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETRAIL_RUN", str(tmp_path / "run"))
    (tmp_path / "in.jsonl").write_text('{"id": "a"}\n{"id": "b"}\n')


def start(work: Any, *more: str) -> int:
    parser = step_parser("A step.")
    add_input(parser, "--rows", "rows")
    add_output(parser, "--out", "rows")
    command = ["--rows", "in.jsonl", "--out", "out/out.jsonl", "--meta", "out/out.meta.json", *more]
    return run_step(parser, command, str(SCRIPTS / "ingest" / "make_splits.py"), work)


def copy(step: Step, args: argparse.Namespace) -> None:
    out = step.writer(args.out)
    for row in step.rows(args.rows):
        out.write(row)
    step.count(rows_in=out.count, kept=out.count)


def records(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (tmp_path / "run" / "jobs").glob("*.json")]


def test_outputs_and_meta_appear_together(tmp_path: Path) -> None:
    assert start(copy, "--settings", '{"splits": {"seed": 7, "train": 0.5}}', "--code", "abc") == 0
    meta = json.loads((tmp_path / "out" / "out.meta.json").read_text())
    assert meta["outputs"][0]["rows"] == 2
    assert meta["outputs"][0]["path"] == "out/out.jsonl"
    assert meta["inputs"][0]["path"] == "in.jsonl"
    assert meta["counts"] == {"in": 2, "kept": 2, "dropped": {}, "quarantined": 0}
    assert meta["parameters"]["settings"] == {"splits": {"seed": 7, "train": 0.5}}
    assert meta["seeds"] == {"splits.seed": 7}
    assert (meta["parameters"]["code"], meta["status"]) == ("abc", "complete")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["out.jsonl", "out.meta.json"]


def test_a_failure_leaves_a_record_and_no_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(step: Step, args: argparse.Namespace) -> None:
        copy(step, args)
        step.quarantine([{"id": "b", "error": "odd"}])
        raise FinetrailError("the endpoint refuses", where="row b", hint="Set the key")

    assert start(fail) == 1
    assert list((tmp_path / "out").iterdir()) == []
    assert (
        capfd.readouterr().err.splitlines()[-1].endswith("make_splits failed: row b: the endpoint refuses. Set the key")
    )
    (record,) = records(tmp_path)
    assert (record["status"], record["error"]) == ("failed", "row b: the endpoint refuses. Set the key")
    (kept,) = (tmp_path / "run" / "jobs").glob("*.quarantine.jsonl")
    assert json.loads(kept.read_text())["id"] == "b"
    (log,) = (tmp_path / "run" / "jobs").glob("*.log")
    assert "the endpoint refuses" in log.read_text()


def test_an_unexpected_error_ends_with_its_cause(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(step: Step, args: argparse.Namespace) -> None:
        raise KeyError("question")

    assert start(fail) == 1
    error = capfd.readouterr().err
    assert "Traceback" in error
    assert "unexpected KeyError: 'question'" in error.splitlines()[-1]


def test_no_row_is_an_error_unless_it_is_a_result(tmp_path: Path) -> None:
    def nothing(step: Step, args: argparse.Namespace) -> None:
        step.writer(args.out)

    def nothing_dropped(step: Step, args: argparse.Namespace) -> None:
        step.writer(args.out, may_be_empty=True)

    assert start(nothing) == 1
    assert not (tmp_path / "out" / "out.jsonl").exists()
    assert start(nothing_dropped) == 0
    assert (tmp_path / "out" / "out.jsonl").read_text() == ""


def test_rows_that_vanish_stop_the_step(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def lose(step: Step, args: argparse.Namespace) -> None:
        step.writer(args.out).write({"id": "a"})
        step.count(rows_in=2, kept=1)

    assert start(lose) == 1
    assert "2 rows came in and 1 kept + 0 dropped" in capfd.readouterr().err
    assert not (tmp_path / "out" / "out.jsonl").exists()


def digests(tmp_path: Path, **changes: Any) -> Path:
    from finetrail.digests.code_digest import digest_files

    content = {
        "code": digest_files(SCRIPTS / "ingest" / "make_splits.py", SCRIPTS),
        "prompts": {},
        "settings": {"by_hand": {"splits": {"seed": 1, "train": 0.5}}},
        "config": {"recipe.yaml": "0"},
        "git": {"commit": "c", "dirty": False},
    }
    path = tmp_path / "digests.json"
    path.write_text(json.dumps(content | changes))
    return path


def test_the_gate_lets_the_run_that_was_started_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIGESTS_VARIABLE, str(digests(tmp_path)))
    assert start(copy, "--settings", '{"splits": {"seed": 1}}') == 0
    assert json.loads((tmp_path / "out" / "out.meta.json").read_text())["git"]["commit"] == "c"


@pytest.mark.parametrize(
    ("changes", "settings", "named"),
    [
        ({"code": {}}, "{}", "scripts/finetrail/"),
        ({}, '{"splits": {"seed": 2}}', "recipe.yaml"),
        ({}, '{"other": 2}', "recipe.yaml"),
    ],
)
def test_the_gate_stops_what_was_edited(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    settings: str,
    named: str,
) -> None:
    monkeypatch.setenv(DIGESTS_VARIABLE, str(digests(tmp_path, **changes)))
    assert start(copy, "--settings", settings) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert named in last
    assert "was edited after this run was started" in last
    assert not (tmp_path / "out" / "out.jsonl").exists()


def test_an_edit_while_the_step_runs_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = digests(tmp_path, prompts={"prompt.md": "x"})
    prompt = tmp_path / "prompt.md"
    prompt.write_text("ask")
    from finetrail.rows.records import sha256_file

    content = json.loads(path.read_text()) | {"prompts": {"prompt.md": sha256_file(prompt)}}
    path.write_text(json.dumps(content))
    monkeypatch.setenv(DIGESTS_VARIABLE, str(path))

    def edit(step: Step, args: argparse.Namespace) -> None:
        copy(step, args)
        prompt.write_text("ask otherwise")

    assert start(edit, "--prompt", "prompt.md") == 1
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_an_input_that_changes_meanwhile_publishes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], change: str
) -> None:
    def meddle(step: Step, args: argparse.Namespace) -> None:
        copy(step, args)
        args.rows.unlink()
        if change == "replaced":
            args.rows.write_text('{"id": "other"}\n')

    assert start(meddle) == 1
    assert "in.jsonl: was changed while this step read it" in capfd.readouterr().err.splitlines()[-1]
    assert list((tmp_path / "out").iterdir()) == []


def test_digests_that_are_gone_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(DIGESTS_VARIABLE, str(tmp_path / "gone.json"))
    assert start(copy) == 1
    assert "gone.json: cannot be read" in caplog.text


def test_the_gate_sees_the_teacher_that_a_step_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(DIGESTS_VARIABLE, str(digests(tmp_path)))  # knows the script's own sources only
    run: dict[str, Any] = {
        "llm": {"endpoints": {"offline": {"kind": "offline"}, "paid": {"kind": "openai"}}},
        "recipes": {"by_hand": {"label": {"model": {"endpoint": "offline"}, "other": {"endpoint": "paid"}}}},
    }
    (tmp_path / "run_config.yaml").write_text(json.dumps(run))
    monkeypatch.setenv(RUN_CONFIG_VARIABLE, str(tmp_path / "run_config.yaml"))

    def ask(key: str) -> Any:
        def work(step: Step, args: argparse.Namespace) -> None:
            step.settings = {"label": {"model": {}, "other": {}}}
            assert model_at(step, key).endpoint in run["llm"]["endpoints"]
            step.settings = {}
            copy(step, args)

        return work

    assert start(ask("label.other")) == 0
    assert start(ask("label.model")) == 1
    assert "scripts/finetrail/serving/" in capfd.readouterr().err.splitlines()[-1]


def test_a_signal_ends_the_step_without_an_output(tmp_path: Path) -> None:
    script = tmp_path / "slow_step.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, time
            from finetrail.step.step import add_output, run_step, step_parser

            def work(step, args):
                step.writer(args.out).write({"id": "a"})
                print("ready", flush=True)
                time.sleep(60)

            parser = step_parser(None)
            add_output(parser, "--out", "rows")
            sys.exit(run_step(parser, None, __file__, work))
            """
        )
    )
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, str(script), "--out", "o/out.jsonl", "--meta", "o/out.meta.json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 1
    assert list((tmp_path / "o").iterdir()) == []
    assert [record["status"] for record in records(tmp_path)] == ["interrupted"]
