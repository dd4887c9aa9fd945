"""llama.cpp in this process, set up so that its arithmetic can be compared with the trained model's."""

import http.client
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from finetrail.errors import FinetrailError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TIMEOUT_SECONDS = 600.0
_FORCED = 1000.0


class Continuation(NamedTuple):
    """Greedy tokens of llama.cpp; ``ended`` when it stopped by itself, its end token the last of them."""

    tokens: list[int]
    ended: bool


class LlamaRuntime:
    """A context manager: an in-process llama.cpp server with one GGUF file loaded.

    Flash attention is off and the KV cache F32, without which log-probabilities differ by 0.02 to 0.04.

    Args:
        gguf_path: the file to load.
        context: tokens that the longest prompt and its continuation need.
        threads: CPU threads.

    Raises:
        FinetrailError: on entering, when llama.cpp cannot load the file.
    """

    def __init__(self, gguf_path: Path, *, context: int, threads: int) -> None:
        self._path = gguf_path
        self._context = context
        self._threads = threads
        self._server: Any = None
        self._connection: http.client.HTTPConnection | None = None
        self._letter = 0
        self._key = secrets.token_hex(16)  # other users of the machine can reach its loopback, too

    def __enter__(self) -> "LlamaRuntime":
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(self._path)
        params.n_ctx = self._context
        params.n_parallel = 1
        params.cpuparams.n_threads = self._threads
        params.n_gpu_layers = 0
        params.api_keys = [self._key]
        params.warmup = False
        params.fit_params = False
        params.verbosity = -1
        params.use_jinja = True
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise FinetrailError(f"llama.cpp cannot load the file: {error}", where=str(self._path)) from error
        address = urlsplit(self._server.listening_address)
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=_TIMEOUT_SECONDS)
        self._letter = self.tokenize("a")[-1]
        self.greedy([self._letter], 1)  # a server that is stopped before its loop has begun hangs for ever
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.close()
        self._server = None  # the server stops when its last reference goes

    def apply_template(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Render a prompt with the file's own chat template, as the chat endpoint does."""
        body = {"messages": [dict(message) for message in messages], "add_generation_prompt": True}
        return str(self._post("/apply-template", body)["prompt"])

    def tokenize(self, prompt: str) -> list[int]:
        """Tokenize a prompt as the chat endpoint does: with control tokens, and BOS if the file says so."""
        body = {"content": prompt, "add_special": True, "parse_special": True}
        return [int(number) for number in self._post("/tokenize", body)["tokens"]]

    def end_token(self) -> str:
        """The text of the file's end-of-sequence token."""
        return str(self._request("GET", "/props", None).get("eos_token", ""))

    def greedy(self, prompt: Sequence[int], length: int) -> Continuation:
        """Continue a prompt with the most probable tokens."""
        body = {"prompt": list(prompt), "n_predict": length, "temperature": 0, "return_tokens": True}
        answer = self._post("/completion", body)
        return Continuation([int(number) for number in answer["tokens"]], answer["stop_type"] == "eos")

    def log_probs(self, prompt: Sequence[int], vocabulary: int) -> "NDArray[np.float32]":
        """Log-probabilities of the token after a prompt: float32 [vocabulary]."""
        import numpy as np

        # The server reports nothing for a token that ends inside a character: make it choose a letter.
        # What it reports are the model's own probabilities, before any bias.
        body = {
            "prompt": list(prompt),
            "n_predict": 1,
            "n_probs": vocabulary,
            "temperature": 0,
            "logit_bias": [[self._letter, _FORCED]],
        }
        found = np.full(vocabulary, -np.inf, dtype=np.float32)
        for entry in self._post("/completion", body)["completion_probabilities"][0]["top_logprobs"]:
            found[entry["id"]] = entry["logprob"]
        return found

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._request("POST", path, json.dumps(body).encode("utf-8"))

    def _request(self, method: str, path: str, body: bytes | None) -> Any:
        assert self._connection is not None, "enter the context first"
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read().decode("utf-8")
        if answer.status != http.client.OK:
            raise FinetrailError(f"llama.cpp answers {path} with {answer.status}: {text}", where=str(self._path))
        return json.loads(text)
