"""Tiny random models of every architecture that can be exported, with trained tokenizers of both kinds."""

from pathlib import Path
from typing import Any

TEXTS = [
    "The permit office opens at nine and closes at five on weekdays. Who may apply for the permit in 2024?",
    "Résumé naïve café — 12345 numbers, “quotes” and\n\nnew lines; it's 3.14.",
    "Question: where is the office? Answer: on Main Street 12.",
] * 20
CONTEXT = 512
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    # Short, so that waves of all three ranges occur among eight frequencies.
    "original_max_position_embeddings": 64,
}
# Between them: tied and untied, shards, each rope type, heads wider than their share.
VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False, "rope_parameters": LLAMA3_ROPE},
    "mistral": {"tie_word_embeddings": False, "head_dim": 24, "sliding_window": None},
    "qwen2": {
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
    },
    "qwen3": {"tie_word_embeddings": True, "head_dim": 32},
}
CONVERSATIONS = [
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who may apply in 2024?"},
        {"role": "assistant", "content": "naïve  café it's 3.14"},
        {"role": "user", "content": "Where\n\n is   the office? 日本"},
        {"role": "assistant", "content": "On Main Street “12”."},
    ],
    [{"role": "user", "content": "Who may apply in 2024?"}],
]


def build_model(folder: Path, architecture: str, *, padding: int = 0, shard: str = "1GB", **shape: Any) -> Path:
    """Save a random model and its tokenizer; weights are scaled up, so that its predictions are not flat."""
    import torch
    import transformers

    from finetrail.tiny.tiny_tokenizer import train_tokenizer

    tokenizer = train_tokenizer(architecture, TEXTS, vocabulary_size=512, context=CONTEXT)  # type: ignore[arg-type]
    name = architecture.capitalize()
    sizes = {
        "vocab_size": len(tokenizer) + padding,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = getattr(transformers, f"{name}Config")(**(sizes | VARIANTS[architecture] | shape))
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
            elif parameter_name.endswith("bias"):
                parameter.normal_(0, 0.3)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    return folder
