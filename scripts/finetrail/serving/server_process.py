"""Servers of our own on this node: one context manager starts them, waits until they answer, and stops them.

A supervisor process stands between us and the server (`finetrail.serving.supervise`): it ends the server's whole
process group when we stop it, when we fail, and when we are killed: its standard input then reaches its end.
"""

import contextlib
import http.client
import logging
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from finetrail.calls.cleaning import Cleaner
from finetrail.errors import FinetrailError
from finetrail.serving.ports import free_port
from finetrail.serving.supervise import STOPPED

LOGGER = logging.getLogger(__name__)
HOST = "127.0.0.1"
POLL_S = 0.05
STOP_S = 15.0
LOG_LINES = 30
LINE_WIDTH = 2000
CAUSES = 8
CAUSE = re.compile(r"\b[A-Z]\w*(?:Error|Exception): ")
# What a server inherits, since it may run a model's own code: what finds programs, libraries, devices, caches, the hub
# and the way to it, but nothing that looks like a secret. The hub's key stays, for models that are gated.
NEEDED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TMP|TEMP|CC|CXX|LD_LIBRARY_PATH|LIBRARY_PATH|CPATH"
    r"|PYTHON\w+|VIRTUAL_ENV|CONDA_\w+|(OMP|MKL|KMP|GOMP|OPENBLAS|NUMEXPR)_\w+|(CUDA|CUDNN|CUBLAS|NVIDIA|NCCL|GLOO)\w*"
    r"|(ROCM|ROCR|HIP|HSA)_\w+|(TORCH|PYTORCH|TRITON|TORCHINDUCTOR|FLASHINFER|VLLM|RAY)_\w+"
    r"|(HF|HUGGINGFACE|HUGGING_FACE|TRANSFORMERS|TOKENIZERS|SAFETENSORS|FINETRAIL|XDG)_\w+"
    r"|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|(HTTPS?|ALL|NO)_PROXY",
    re.IGNORECASE,
)
SECRET = re.compile(r"(?:_|^)(?:KEY|APIKEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS)(?:_|$)", re.IGNORECASE)
KEPT = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")
PORT_TRIES = 3
LIBRARY_ROOT = Path(__file__).resolve().parents[2]
SUPERVISOR = Path(__file__).with_name("supervise.py")


@dataclass(frozen=True)
class ServerSpec:
    """How to start a server that speaks the OpenAI protocol.

    Args:
        name: for messages.
        command: makes the command line from the port to listen on.
        key_variable: the environment variable in which the server expects the API key: nodes are shared, and
            everyone can read a command line.
        ready_s: seconds that it may take until it answers.
        environment: further variables.
        hint: what to do when it does not start.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    key_variable: str
    ready_s: float
    environment: Mapping[str, str] = field(default_factory=dict)
    hint: str = "The end of its log stands above"


@dataclass(frozen=True)
class RunningServer:
    """Where a server of our own listens, and the key that it wants."""

    base_url: str
    api_key: str = field(repr=False)


def offline_teacher() -> ServerSpec:
    """Describe the rule-based offline teacher."""
    return ServerSpec(
        name="offline teacher",
        command=lambda port: [sys.executable, "-m", "finetrail.serving.offline.server", "--port", str(port)],
        key_variable="FINETRAIL_OFFLINE_KEY",
        ready_s=60.0,
    )


@contextmanager
def serve(spec: ServerSpec) -> Iterator[RunningServer]:
    """Run a server while the block runs.

    Raises:
        FinetrailError: it ended or did not answer in time; the message holds the end of its log.
    """
    key = secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory(prefix="finetrail-") as folder:
        log = Path(folder) / "server.log"
        process, port = _start(spec, key, log)
        try:
            yield RunningServer(f"http://{HOST}:{port}/v1", key)
        finally:
            # Asked of the supervisor, who waits for the server: our own look could come a moment too early.
            if _stop(process) != STOPPED:
                LOGGER.error("%s ended by itself; the end of its log:\n%s", spec.name, _tail(log, key))


def _tail(log: Path, key: str) -> str:
    """Return the end of a log, and before it the errors above: a server's helpers die before the server does."""
    cleaner = Cleaner(key)
    last: deque[str] = deque(maxlen=LOG_LINES)
    causes: list[str] = []
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if len(last) == LOG_LINES and len(causes) < CAUSES and CAUSE.search(last[0]) and last[0] not in causes:
                causes.append(last[0])
            last.append(cleaner.text(line.rstrip()[:LINE_WIDTH]))
    return "\n".join([*causes, "…", *last] if causes else last)


def _start(spec: ServerSpec, key: str, log: Path) -> tuple["subprocess.Popen[bytes]", int]:
    for last in (tries == PORT_TRIES for tries in range(1, PORT_TRIES + 1)):
        port = free_port()
        process = _spawn(spec, port, key, log)
        try:
            ready = _wait_until_ready(process, port, key, spec.ready_s)
        except BaseException:
            _stop(process)
            raise
        if ready:
            LOGGER.info("%s listens on port %d", spec.name, port)
            return process, port
        ended = process.poll()
        _stop(process)
        said = _tail(log, key)
        if "address already in use" in said.lower() and not last:
            continue  # another process took the port between our look and the server's start
        state = "did not answer in time" if ended is None else f"ended with exit code {ended}"
        raise FinetrailError(f"the server {state}; its log:\n{said}\n", where=spec.name, hint=spec.hint)
    raise AssertionError("unreachable")


def _spawn(spec: ServerSpec, port: int, key: str, log: Path) -> "subprocess.Popen[bytes]":
    path = os.pathsep.join(filter(None, [str(LIBRARY_ROOT), os.environ.get("PYTHONPATH")]))
    inherited = {name: value for name, value in os.environ.items() if _is_inherited(name)}
    environment = inherited | {"PYTHONPATH": path, spec.key_variable: key, **spec.environment}
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISOR), *spec.command(port)],
            stdin=subprocess.PIPE,  # its end tells the supervisor that we are gone
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _is_inherited(variable: str) -> bool:
    return variable in KEPT or (NEEDED.fullmatch(variable) is not None and not SECRET.search(variable))


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, key: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
            if connection.getresponse().status == 200:
                return True
        except (OSError, http.client.HTTPException):
            pass  # not yet listening
        finally:
            connection.close()
        time.sleep(POLL_S)
    return False


def _stop(process: "subprocess.Popen[bytes]") -> int:
    """Ask the supervisor to end the server and return its exit code; kill it should it not come to an end."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return STOPPED
