"""Change the tokenizer of a base model's folder as a recipe says: template, pad token, new tokens."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.chat.chat_layout import LAYOUTS, ChatLayout
from finetrail.chat.detect_layout import detect_layout
from finetrail.errors import FinetrailError
from finetrail.models.model_folder import read_tokenizer
from finetrail.rows.artifacts import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def prepare_tokenizer(
    folder: Path,
    *,
    template: str | None,
    pad_token: str | None,
    new_tokens: Sequence[str],
    family: str | None = None,
) -> dict[str, Any]:
    """Write the changes into the folder; everything that reads the model later then agrees on them.

    Args:
        folder: of the base model; left as it is where nothing is to be changed.
        template: a layout of `finetrail.chat.chat_layout`, in place of the model's own template; the token that ends
            its turns becomes the EOS token, and generation stops there.
        pad_token: a token of the vocabulary to pad with.
        new_tokens: control tokens to add at the vocabulary's end; those that it has already stay as they are.
        family: what the model's prompts are said to look like; held to the template.

    Returns:
        What was changed, for the manifest.

    Raises:
        FinetrailError: a token is not in the vocabulary, a vision model would get new tokens, or the template is of
            another family.
    """
    if template is None and family is None and pad_token is None and not new_tokens:
        return {}
    tokenizer = read_tokenizer(folder)
    added = [token for token in new_tokens if token not in tokenizer.get_vocab()]
    if added:
        _add_tokens(tokenizer, folder, added)
    if pad_token is not None:
        _check_known(tokenizer, pad_token, "pad_token")
        tokenizer.pad_token = pad_token
    if template is not None:
        _set_template(tokenizer, folder, template)
    if family is not None:
        check_family(tokenizer, family)
    if template is not None or pad_token is not None or added:
        tokenizer.save_pretrained(folder)
    return {"template": template, "family": family, "pad_token": pad_token, "new_tokens": added}


def check_family(tokenizer: "PreTrainedTokenizerBase", family: str) -> ChatLayout:
    """Return the layout that a tokenizer's template follows.

    Raises:
        FinetrailError: the template follows none, or one of another family.
    """
    layout = detect_layout(tokenizer)
    if layout.family != family:
        raise FinetrailError(
            f"the model's template is {layout.name}, of the family {layout.family}, not {family}: it would be asked in "
            "a form that it does not know",
            where="base_model.family",
            hint=f"Set the family to {layout.family}, choose another model, or name a layout in base_model.template",
        )
    return layout


def _add_tokens(tokenizer: "PreTrainedTokenizerBase", folder: Path, new_tokens: Sequence[str]) -> None:
    from transformers import AddedToken

    if "vision_config" in read_json(folder / "config.json"):
        raise FinetrailError(
            "a vision model cannot get new tokens: its image token has to be the last one",
            where="base_model.new_tokens",
        )
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in new_tokens])


def _set_template(tokenizer: "PreTrainedTokenizerBase", folder: Path, template: str) -> None:
    layout = LAYOUTS[template]
    end = layout.stop[0]
    _check_known(tokenizer, end, f"template: {template} ends a turn with it, and")
    tokenizer.chat_template = layout.jinja
    tokenizer.eos_token = end
    (folder / "chat_template.json").unlink(missing_ok=True)  # the older place of the model's own template
    path = folder / "generation_config.json"
    generation = read_json(path) if path.is_file() else {}
    generation["eos_token_id"] = tokenizer.eos_token_id
    path.write_text(json.dumps(generation, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _check_known(tokenizer: "PreTrainedTokenizerBase", token: str, what: str) -> None:
    if token not in tokenizer.get_vocab():
        raise FinetrailError(
            f"{what} {token!r} is no token of the vocabulary",
            where="base_model",
            hint="Name another, or add it with base_model.new_tokens",
        )
