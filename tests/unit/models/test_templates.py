"""The forms of a question and its answer, held to what each family's data look like."""

import pytest

from finetrail.chat.prompt_families import CONTROL, control_tokens
from finetrail.models.templates import TEMPLATES

WHOLE = {
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ?<|im_end|>\n<|im_start|>assistant\nA.<|im_end|>\n",
    "qwen": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ?<|im_end|>\n<|im_start|>assistant\nA.<|im_end|>\n",
    "llama3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nQ?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nA.<|eot_id|>"
    ),
    "mistral": "<s>[INST] S\n\nQ?[/INST] A.</s>",
    "gemma": "<bos><start_of_turn>user\nS\n\nQ?<end_of_turn>\n<start_of_turn>model\nA.<end_of_turn>\n",
}


@pytest.mark.parametrize("name", WHOLE)
def test_the_string_of_a_family(name: str) -> None:
    assert TEMPLATES[name]("S", "Q?", "A.") == {"text": WHOLE[name]}


def test_the_control_tokens_of_all_families() -> None:
    wanted = {"<s>", "</s>", "[INST]", "[/INST]", "<bos>", "<start_of_turn>", "<|im_start|>", "<|eot_id|>", "</think>"}
    assert wanted <= set(control_tokens())
    assert all(CONTROL.search(text["text"]) for text in (TEMPLATES[name]("", "Q?", "A.") for name in WHOLE))


def test_fields_and_turns() -> None:
    assert TEMPLATES["alpaca"]("", "Q?", "A.") == {"instruction": "Q?", "input": "", "output": "A."}
    assert TEMPLATES["sharegpt"]("S", "Q?", "A.") == {
        "conversations": [
            {"from": "system", "value": "S"}, {"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A."},
        ]
    }  # fmt: skip
    assert set(TEMPLATES) == {"alpaca", "sharegpt", *WHOLE}
