"""What llama.cpp says to dev rows with a GGUF file: the distributions that a merge is chosen by."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetrail.export.llama_runtime import LlamaRuntime
from finetrail.export.output_differences import context_for
from finetrail.training.merge_candidates import Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def ask_file(path: Path, targets: Sequence[Target], *, threads: int) -> Iterator["NDArray[np.float32]"]:
    """Yield what a file says to each target: float32 [tokens, vocabulary], log-probabilities.

    Args:
        path: the GGUF file.
        targets: places to ask at.
        threads: llama.cpp's CPU threads.

    Raises:
        FinetrailError: llama.cpp cannot load the file.
    """
    import numpy as np

    with LlamaRuntime(path, context=context_for(len(target.ids) for target in targets), threads=threads) as runtime:
        for target in targets:
            places = range(target.start, len(target.ids))
            vocabulary = target.log_probs.shape[1]
            yield np.stack([runtime.log_probs(target.ids[:place], vocabulary) for place in places])
