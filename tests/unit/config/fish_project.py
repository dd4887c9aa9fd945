"""A small project whose configuration each test changes."""

from pathlib import Path

CONFIG = """\
recipes: [fish]
llm:
  endpoints:
    offline: {kind: offline}
    paid:
      kind: openai
      base_url: https://example.org/v1
      api_key_env: SOME_KEY
"""

RECIPE = """\
description: Questions about fish
source:
  format: fish
  files: [data/fish.jsonl]
  corpus: [data/ponds.jsonl]
  licence: MIT
recall:
  top_k: 30
label:
  model: {endpoint: paid, model: judge-1}
synthesize:
  teacher: {endpoint: paid, model: teacher-1, revision: abc, temperature: 0.8}
  judge: {endpoint: paid, model: judge-1}
base_model:
  hub: some/model
  revision: 9eb2daaa8597bf192a8b0e73f848f3a102794df5
train:
  models:
    lora:
      method: lora
      rank: 128
      learning_rate: 5e-5
      epochs: 10
evaluate:
  judge: {endpoint: paid, model: judge-2}
export:
  format: none
"""

OVERLAY = """\
base_model:
  tiny: llama
train:
  models:
    lora:
      rank: 8
      max_steps: 20
"""


class Project:
    """A folder with config/ files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("config.yaml", CONFIG)
        self.write("recipes/fish.yaml", RECIPE)
        self.write("tutorial/fish.yaml", OVERLAY)

    def write(self, name: str, text: str) -> Path:
        path = self.root / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.root / "config" / name).read_text(encoding="utf-8")
        assert old in text
        self.write(name, text.replace(old, new))

    def line(self, name: str, text: str) -> str:
        """Return ``config/<name>:<line>`` of the first line that contains a text."""
        lines = (self.root / "config" / name).read_text(encoding="utf-8").split("\n")
        return f"config/{name}:{next(number for number, line in enumerate(lines, 1) if text in line)}"
