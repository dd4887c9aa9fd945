"""Servers of our own: started, awaited, stopped whatever happens."""

import http.client
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from finetrail.errors import FinetrailError
from finetrail.serving.server_process import ServerSpec, offline_teacher, serve

PARENT = """
import os, signal, sys, time
# Whoever runs the tests in the background of a shell has this signal ignored, and passes that on.
signal.signal(signal.SIGINT, signal.default_int_handler)
from finetrail.serving.server_process import ServerSpec, serve
from test_serving import spec_of
with serve(spec_of()) as server:
    print(server.base_url, flush=True)
    time.sleep(600)
"""

SERVER = """
import http.server, os, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/v1/crash":
            print("out of memory", flush=True)
            os._exit(7)
        good = self.headers["Authorization"] == "Bearer " + os.environ["TEST_KEY"]
        self.send_response(200 if good else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[2]])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def spec_of(code: str = SERVER, ready_s: float = 20.0, mark: str = "finetrail-test-child") -> ServerSpec:
    return ServerSpec("test server", lambda port: [sys.executable, "-c", code, str(port), mark], "TEST_KEY", ready_s)


def processes(mark: str) -> list[str]:
    """Command lines of the running processes that hold a mark."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in line:
            lines.append(line)
    return lines


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_server_and_its_children_end_with_the_block_also_on_errors() -> None:
    mark = f"mark-block-{os.getpid()}"
    with pytest.raises(RuntimeError), serve(spec_of(mark=mark)) as server:
        running = processes(mark)
        assert len(running) == 3, "supervisor, server and the server's child"
        assert not any(server.api_key in line for line in running), "the key stays out of command lines"
        assert server.api_key not in repr(server)
        raise RuntimeError
    assert processes(mark) == []


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_server_ends_when_its_starter_is_killed(number: signal.Signals) -> None:
    mark = f"mark-killed-{os.getpid()}-{int(number)}"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    code = PARENT.replace("spec_of()", f"spec_of(mark={mark!r})")
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    assert parent.stdout is not None
    assert b"http://127.0.0.1:" in parent.stdout.readline()
    assert len(processes(mark)) >= 3
    parent.send_signal(number)
    parent.wait(20)
    parent.stdout.close()
    assert wait_for(lambda: processes(mark) == [])


def test_server_ends_when_its_supervisor_is_killed() -> None:
    mark = f"mark-supervisor-{os.getpid()}"
    server_code = SERVER.replace("subprocess.Popen", "(lambda *a: None)")
    with serve(spec_of(server_code, mark=mark)):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            line = path.read_bytes().decode(errors="replace") if path.exists() else ""
            if mark in line and "supervise.py" in line:
                os.kill(int(path.parent.name), signal.SIGKILL)
        assert wait_for(lambda: processes(mark) == [])


def test_the_log_is_shown_when_the_server_ends_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    mark = f"mark-crash-{os.getpid()}"
    with serve(spec_of(mark=mark)) as server:
        with pytest.raises((OSError, http.client.HTTPException)):
            urllib.request.urlopen(f"{server.base_url}/crash", timeout=20)
        assert wait_for(lambda: processes(mark) == [])
    assert "ended by itself" in caplog.text
    assert "out of memory" in caplog.text


def test_nothing_is_said_of_a_server_that_we_stopped(caplog: pytest.LogCaptureFixture) -> None:
    with serve(spec_of(mark=f"mark-stopped-{os.getpid()}")):
        pass
    assert "ended by itself" not in caplog.text


def test_the_log_is_shown_when_the_server_does_not_start() -> None:
    with (
        pytest.raises(FinetrailError, match=r"(?s)ended with exit code 3; its log:.*no GPU here"),
        serve(spec_of("import sys; print('no GPU here'); sys.exit(3)")),
    ):
        pass


def test_the_cause_is_shown_though_much_is_said_after_it() -> None:
    code = "print('(EngineCore) ValueError: no room'); print('at once\\n' * 200); raise RuntimeError('see above')"
    with pytest.raises(FinetrailError) as caught, serve(spec_of(code)):
        pass
    assert str(caught.value).count("(EngineCore) ValueError: no room") == 1
    assert "RuntimeError: see above" in str(caught.value)
    assert str(caught.value).count("at once") < 40


def test_keys_of_others_do_not_reach_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"HF_TOKEN", "HF_HOME", "CUDA_VISIBLE_DEVICES", "TOKENIZERS_PARALLELISM", "https_proxy", "TEST_KEY"}
    others = {"OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "wandb_token", "VLLM_API_KEY", "DATABASE_URL", "SLURM_JWT"}
    for name in kept | others:
        monkeypatch.setenv(name, "of the user")
    code = f"import os; print('found', sorted({kept | others} & os.environ.keys())); raise SystemExit(3)"
    with pytest.raises(FinetrailError) as caught, serve(spec_of(code)):
        pass
    assert f"found {sorted(kept)}" in str(caught.value)


def test_what_a_servers_log_says_neither_steers_a_terminal_nor_tells_its_key() -> None:
    code = "import os; print('\\x1b[31mred', os.environ['TEST_KEY'], 'end'); raise SystemExit(3)"
    with pytest.raises(FinetrailError, match=r"\[31mred <key> end") as caught, serve(spec_of(code)):
        pass
    assert "\x1b" not in str(caught.value)


def test_a_server_that_never_answers_is_stopped() -> None:
    mark = f"mark-mute-{os.getpid()}"
    with (
        pytest.raises(FinetrailError, match="did not answer in time"),
        serve(spec_of("import time; time.sleep(600)", ready_s=0.5, mark=mark)),
    ):
        pass
    assert processes(mark) == []


def test_the_offline_teacher_is_such_a_server() -> None:
    with serve(offline_teacher()) as server:
        assert server.base_url.startswith("http://127.0.0.1:")
        assert len(server.api_key) > 30
