"""Misconfigurations of a cluster, each planted and caught by `make preflight` with a message that names the fix."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

import pytest

from tests.slurm.workspace import SlurmWorkspace
from tests.workspace import BIN

# What is planted: a change of the configuration, where it is found, what is said of it, what is to be changed.
PLANTED = {
    "partition": (
        "ingest_records: {partition: cpuu}",
        "resources.ingest_records.partition",
        "no partition cpuu",
        "cpu?",
    ),
    "time": ("load_passages: {local: false, runtime: 90}", "load_passages.runtime", "than the 60", "Set it to 60"),
    "memory": ("make_queries: {mem_mb: 9000}", "make_queries.mem_mb", "any node of cpu has (8000)", "Set it to 8000"),
    "cores": ("recall_passages: {local: false, threads: 5}", "recall_passages.threads", "(4)", "Set it to 4"),
    "no GPU": ("label_relevance: {gpus: 1, partition: cpu}", "site.gpu_partition", "cpu, which has none", "sinfo"),
    "GPU model": ("predict_answers: {gpus: 1, gpu_model: a10}", "predict_answers.gpu_model", "calls a10", "a100?"),
    "GPUs": ("train_adapter: {gpus: 3}", "train_adapter.gpus", "a node of gpu has (2)", "Set it to 2"),
    "feature": ("merge_adapter: {constraint: hbm8}", "merge_adapter.constraint", "feature hbm8", "There are: (none)"),
    "retries": ("generate_answers: {mem_mb: 7000, max_mem_mb: 9000}", "generate_answers.max_mem_mb", "9000", "8000"),
}


class _Models(BaseHTTPRequestHandler):
    """Lists two models to whoever has the key."""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Bearer right":
            self.send_error(401)
            return
        body = json.dumps({"data": [{"id": "gpt-mini"}, {"id": "gpt-large"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def models() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Models) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


@pytest.fixture
def workspace(on_cluster: Callable[[], SlurmWorkspace]) -> SlurmWorkspace:
    return on_cluster()


def preflight(
    workspace: SlurmWorkspace,
    *config: str,
    options: tuple[str, ...] = (),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """Run the program on the cluster; return its lines."""
    given = ["--profile", "slurm", "--sdm", "env-modules", *options]
    given += ["--configfile", *workspace.configfiles, "--config", *workspace.config, *config, "--", "all"]
    command = workspace.cluster.command(str(BIN / "python"), "scripts/setup/preflight.py", *given, cwd=workspace.root)
    environment = workspace.environment() | {"PYTHONPATH": "scripts", "TMUX": "yes"} | dict(variables)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    lines = done.stdout.splitlines()
    assert lines and lines[-1].partition(" errors, ")[0].isdecimal(), done.stdout + done.stderr
    assert done.returncode == (0 if lines[-1].startswith("0 errors") else 1), done.stdout + done.stderr
    return lines


def only(lines: list[str], where: str) -> str:
    """Return the one finding at a place."""
    found = [line for line in lines if line.partition(": ")[2].partition(": ")[0].endswith(where)]
    assert len(found) == 1, (where, lines)
    return found[0]


def test_a_right_configuration_passes_and_wrong_ones_are_named(workspace: SlurmWorkspace) -> None:
    (workspace.root / ".venv").mkdir()
    assert preflight(workspace)[-1].startswith("0 errors, 0 warnings; ")
    lines = preflight(workspace, f"resources={{{', '.join(change for change, *_ in PLANTED.values())}}}")
    for name, (_, where, what, fix) in PLANTED.items():
        line = only(lines, where)
        assert what in line and fix in line, (name, line)
    assert lines[-1].startswith(f"{len(PLANTED) - 1} errors, 1 warnings"), lines
    assert not workspace.jobs(), "nothing was submitted"


def test_what_only_slurm_knows_is_asked_of_it(workspace: SlurmWorkspace) -> None:
    (workspace.root / ".venv").mkdir()
    workspace.cluster.check("scontrol", "update", "partitionname=gpu", "state=drain")
    try:
        lines = preflight(workspace, "resources={merge_adapter: {constraint: 'hbm80&fast'}}")
    finally:
        workspace.cluster.check("scontrol", "update", "partitionname=gpu", "state=up")
    assert "it is drain" in only(lines, "partition gpu")
    assert "SLURM would refuse the job" in only(lines, "resources.merge_adapter")
    assert "feature" in only(lines, "resources.merge_adapter")


def test_places_tools_and_endpoints(workspace: SlurmWorkspace, models: str) -> None:
    # No .venv here, no room, a variable that no job has, an old conda, keys and models that the servers do not take.
    endpoints = f"""llm={{endpoints: {{
        keyless: {{kind: openai, base_url: '{models}', api_key_env: NOBODY_HAS_SET_THIS}},
        wrong: {{kind: openai, base_url: '{models}', api_key_env: WRONG_KEY}},
        right: {{kind: openai, base_url: '{models}', api_key_env: RIGHT_KEY}},
        silent: {{kind: openai, base_url: 'http://127.0.0.1:9/v1'}}}}}}"""
    asked = """overrides={crag_mm: {queries: {model: {endpoint: keyless, model: gpt-mini}},
        label: {model: {endpoint: wrong, model: gpt-mini}}, synthesize: {
        teacher: {endpoint: right, model: gpt-minni}, judge: {endpoint: silent, model: gpt-mini}}}}"""
    site = "site={cache: $NOBODY_HAS_SET_THIS/cache, free_gb: 100000000}"
    keys = {"WRONG_KEY": "wrong", "RIGHT_KEY": "right"}
    lines = preflight(workspace, *(" ".join(text.split()) for text in (endpoints, asked, site)), variables=keys)
    expected = {
        "site.cache": ("$NOBODY_HAS_SET_THIS, which is not set", "export NOBODY_HAS_SET_THIS"),
        "results_dir": ("site.free_gb asks for 1e+08", "lower site.free_gb"),
        ".venv": ("there is no .venv", "make env"),
        "llm.endpoints.keyless.api_key_env": ("NOBODY_HAS_SET_THIS is not set", "export NOBODY_HAS_SET_THIS"),
        "llm.endpoints.wrong.api_key_env": ("does not take the key in WRONG_KEY (401)", "Set the right key"),
        "llm.endpoints.silent.base_url": ("does not answer", "Start the server"),
        "synthesize.teacher": ("has no model gpt-minni", "Did you mean gpt-mini?"),
    }
    for where, (what, fix) in expected.items():
        line = only(lines, where)
        assert what in line and fix in line, line
    conda = workspace.root / "bin/conda"
    conda.parent.mkdir()
    conda.write_text("#!/bin/sh\necho conda 23.1.0\n")
    conda.chmod(0o755)
    path = f"{conda.parent}:{workspace.environment()['PATH']}"
    line = only(
        preflight(workspace, options=("--sdm", "conda"), variables={"PATH": path}), "software-deployment-method"
    )
    assert "conda 23.1.0" in line and "24.7.1" in line and "conda update" in line
