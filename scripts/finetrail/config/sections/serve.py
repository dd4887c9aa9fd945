"""How a server of our own is started: what of it decides its answers, and what only how fast they come.

The keys of kind *result* enter the key of every call, and the params of the rules that ask the endpoint.
"""

from typing import Literal

from pydantic import model_validator

from finetrail.config.sections.fields import Commit, Count, Name, Section, Share, Text, operation, result
from finetrail.config.sections.places import is_folder
from finetrail.config.sections.schema import result_keys
from finetrail.rows.records import canonical_json, sha256_text

# Arguments of `vllm serve` that have a key of their own, or that the server is started with in any case.
OWNED_ARGUMENTS = {
    "--api-key": "nothing: the key is drawn anew for each server",
    "--chat-template": "serve.chat_template",
    "--config": "`serve`: a file would hide what decides the answers",
    "--dtype": "serve.dtype",
    "--enable-lora": "serve.lora_modules",
    "--generation-config": "nothing: every request says how it is sampled",
    "--gpu-memory-utilization": "serve.gpu_memory_utilization",
    "--host": "nothing: it listens on loopback",
    "--load-format": "nothing: weights are read from safetensors",
    "--lora-modules": "serve.lora_modules",
    "--max-lora-rank": "serve.lora_modules: it is read from the adapters",
    "--max-model-len": "serve.max_model_len",
    "--model": "model of the phase",
    "--port": "nothing: a free one is taken",
    "--quantization": "serve.quantization",
    "--revision": "revision of the phase's model",
    "--served-model-name": "model of the phase",
    "--structured-outputs-config": "serve.structured_output",
    "--tensor-parallel-size": "serve.tensor_parallel",
    "--tokenizer": "model of the phase",
    "--trust-remote-code": "nothing: no code that comes with a model is run",
    "--uds": "nothing: it listens on loopback",
    "-q": "serve.quantization",
    "-tp": "serve.tensor_parallel",
}


class Adapter(Section):
    """A LoRA adapter that is served on its base model; a model reference asks for it by its name."""

    path: Text = result(..., "folder of the adapter")
    base: Text = result(..., "model that it belongs to: id on the hub, or folder")
    revision: Commit | None = result(None, "commit of a base on the hub, 40 hexadecimal digits")

    @model_validator(mode="after")
    def _check_base(self) -> "Adapter":
        if problem := pin_problem(self.base, self.revision):
            raise ValueError(f"base: {problem}")
        return self


class Serve(Section):
    """The server of a `vllm` or `transformers` endpoint."""

    dtype: Literal["bfloat16", "float16", "float32"] = result("bfloat16", "number format of the weights in use")
    quantization: Text | None = result(
        None, "vllm: method, as its `--quantization` knows it; transformers: `nf4` or `int8`; none for none"
    )
    chat_template: Text | None = result(None, "file with the chat template; none for the model's own")
    lora_modules: dict[Name, Adapter] = result({}, "LoRA adapters by the name that a phase gives as `model`")
    structured_output: Literal["guidance", "xgrammar", "outlines"] = result(
        "guidance", "what holds answers to their JSON Schema; transformers: `guidance` only"
    )
    extra_args: list[Text] = result([], "vllm: further arguments; they are part of every call's key")
    speed_args: list[Text] = operation([], "vllm: further arguments that decide no answer, such as scheduling")
    device: Literal["gpu", "cpu"] = operation("gpu", "what the model runs on; `gpu` makes the rule ask for GPUs")
    python: Text | None = operation(
        None,
        "interpreter that has the server's packages; none for that of .venv-vllm, or .venv-vllm-cpu with `device: cpu` "
        "(vllm), and the step's own, or that of .venv where the step has no torch (transformers)",
    )
    tensor_parallel: Count = operation(1, "GPUs that share the model; the rule asks for so many")
    gpu_memory_utilization: Share = operation(0.9, "share of each GPU's memory that the server takes")
    max_model_len: Count | None = operation(None, "longest prompt and answer together; none for the model's own")
    cpu_cache_gb: Count = operation(4, "vllm on a CPU: GB of memory for the KV cache")
    batch_size: Count = operation(16, "transformers: most answers that are written at once")
    ready_s: float = operation(900.0, "seconds that loading may take", gt=0)

    @model_validator(mode="after")
    def _check_arguments(self) -> "Serve":
        for argument in (*self.extra_args, *self.speed_args):
            name = argument.partition("=")[0].replace("_", "-")
            # vLLM also takes an option by the beginning of its name.
            meant = [option for option in OWNED_ARGUMENTS if option == name or is_short_for(name, option)]
            if meant:
                raise ValueError(
                    f"`{name}` cannot be given as an argument; what sets it is {OWNED_ARGUMENTS[meant[0]]}"
                )
        return self

    def check_for_transformers(self) -> None:
        """Refuse what only vLLM knows.

        Raises:
            ValueError: a key means nothing to a `transformers` server.
        """
        if self.extra_args or self.speed_args:
            raise ValueError("`serve.extra_args` and `serve.speed_args` belong to the kind `vllm`")
        if self.quantization not in (None, "nf4", "int8"):
            raise ValueError("`serve.quantization` of the kind `transformers` is `nf4` or `int8`")
        if self.structured_output != "guidance":
            raise ValueError("`serve.structured_output` of the kind `transformers` is `guidance`")


def is_short_for(name: str, option: str) -> bool:
    """Tell whether a command line may mean an option by a name."""
    return len(name) > len("--") and name.startswith("--") and option.startswith(name)


def pin_problem(model: str, revision: str | None) -> str | None:
    """Say what is wrong with a model's revision; None where it names exactly one set of weights."""
    if is_folder(model):
        return None if revision is None else f"{model} is a folder, which has no `revision`"
    if revision is None or len(revision) != 40 or set(revision) - set("0123456789abcdef"):
        return f"{model} needs a `revision`: the commit of the model on the hub, 40 hexadecimal digits"
    return None


def settings_digest(serve: Serve, model: str) -> str:
    """Return a digest (12 hexadecimal digits) of the keys that decide a model's answers."""
    keys = result_keys(serve)
    adapter = keys.pop("lora_modules").get(model)
    return sha256_text(canonical_json({**keys, "adapter": adapter}))[:12]
