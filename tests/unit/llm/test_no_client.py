"""What the store has all of needs no client: it takes half a second to import."""

import subprocess
import sys

from tests.unit.llm.fake_llm import Harness, make_request

FROM_STORE = """
import sys
from pathlib import Path
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.engine import Engine
from finetrail.llm.request import ChatRequest, Message, Sampling
from finetrail.calls.store import CallStore
messages = (Message("system", "be brief"), Message("user", "0"))
sampling = Sampling(temperature=0.0, max_tokens=50, seed=7)
request = ChatRequest("row-0", "label", messages, "fake", "m", sampling=sampling)
endpoint = Endpoint("fake", "openai", "http://127.0.0.1:9/v1")
with CallStore(Path(sys.argv[1])) as store, Engine([endpoint], store) as engine:
    (answer,) = engine.run([request])
print(answer.from_store, "aiohttp" in sys.modules)
"""


def test_no_client_is_imported_when_the_store_has_all(harness: Harness) -> None:
    harness.run([make_request("0")])
    command = [sys.executable, "-c", FROM_STORE, str(harness.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
