"""A base model: what its folder says without its weights; each part is read once, when it is first asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from finetrail.chat.chat_layout import ChatLayout
from finetrail.chat.detect_layout import detect_layout
from finetrail.errors import FinetrailError
from finetrail.models.base import embedding_rows
from finetrail.models.chat_tokens import ChatTokens, chat_tokens, pad_id
from finetrail.models.image_inputs import Vision, load_vision
from finetrail.models.limits import Loss
from finetrail.models.model_folder import read_config, read_tokenizer, stored_parameters
from finetrail.rows.artifacts import MANIFEST_NAME, check_manifest, read_json
from finetrail.rows.records import sha256_file

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


@dataclass(frozen=True)
class BaseModel:
    """A base model's folder, in the layout of the transformers library.

    Every part raises `FinetrailError` where the folder holds none, or one that runs code of its own
    (`finetrail.models.model_folder`).

    Attributes:
        folder: where it is.
        known: SHA-256 of files that were hashed in this process, by name.
    """

    folder: Path
    known: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def verified(cls, manifest: Path) -> "BaseModel":
        """Open the folder of a manifest, whose files are hashed this one time.

        Raises:
            FinetrailError: a file is missing, or differs from the manifest.
        """
        files = check_manifest(manifest.parent, manifest)["files"]
        return cls(manifest.parent, {entry["path"]: entry["sha256"] for entry in files})

    @cached_property
    def config(self) -> "PreTrainedConfig":
        """Its configuration."""
        return read_config(self.folder)

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """Its tokenizer, with its chat template."""
        return read_tokenizer(self.folder)

    @property
    def chat(self) -> ChatTokens:
        """What its chat template does."""
        return chat_tokens(self.tokenizer)

    @cached_property
    def layout(self) -> ChatLayout:
        """The chat layout that its template follows."""
        return detect_layout(self.tokenizer)

    @cached_property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each of its files, by name."""
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        return {path.name: self.known.get(path.name) or sha256_file(path) for path in files}

    @cached_property
    def parameters(self) -> int | None:
        """How many parameters its files hold; None where there are no weights beside its configuration."""
        return stored_parameters(self.folder)

    @property
    def context(self) -> int:
        """The most tokens that it was made for."""
        return int(self.config.get_text_config().max_position_embeddings)

    @cached_property
    def stops(self) -> frozenset[int]:
        """The tokens at which generation stops: the EOS token, and those of ``generation_config.json``."""
        path = self.folder / "generation_config.json"
        told = read_json(path).get("eos_token_id") if path.is_file() else None
        listed = told if isinstance(told, list) else [told]
        return frozenset(number for number in (self.tokenizer.eos_token_id, *listed) if number is not None)

    def vision(self, images: str | None) -> Vision | None:
        """Return how it is shown images, whose paths are relative to a folder; None where it reads text only."""
        return load_vision(self.folder, images)

    def check(self, *, loss: Loss, max_length: int) -> None:
        """Refuse a model to which training would teach the wrong thing, before any row is encoded.

        Args:
            loss: which of the assistant's turns carry loss.
            max_length: tokens of the longest row.

        Raises:
            FinetrailError: no control token ends a turn, or generation would not stop at it; no pad token can be found;
                the template does not mark answers where that is needed; or rows may be longer than the context.
        """
        end, tokenizer, where = self.chat.end, self.tokenizer, str(self.folder)
        if end not in self.stops:
            named = ", ".join(str(tokenizer.convert_ids_to_tokens(number)) for number in sorted(self.stops)) or "none"
            raise FinetrailError(
                f"the final trained token would be {tokenizer.convert_ids_to_tokens(end)}, but generation stops at"
                f" {named}",
                where=where,
                hint="base_model.template sets the end-of-turn token together with the template",
            )
        pad_id(tokenizer)
        if loss == "assistant" and not self.chat.marks_answers:
            raise FinetrailError(
                "the chat template has no {% generation %}, so that the assistant's turns cannot be told from the"
                " others",
                where=where,
                hint="Name a layout in base_model.template, or set `loss: answer`",
            )
        if max_length > self.context:
            raise FinetrailError(
                f"limits.max_length is {max_length}, but the model's context is {self.context}",
                where=where,
                hint="Lower limits.max_length",
            )

    def check_new_tokens(self, modules_to_save: Sequence[str]) -> None:
        """Refuse tokens that the base has no trained embedding for, where an adapter would not train them.

        Args:
            modules_to_save: modules that are trained whole beside the adapter.

        Raises:
            FinetrailError: names the modules that have to be trained.
        """
        tied = self.config.get_text_config().tie_word_embeddings
        missing = [name for name in ["embed_tokens", *([] if tied else ["lm_head"])] if name not in modules_to_save]
        rows = range(embedding_rows(self.config), len(self.tokenizer))
        beyond = [str(self.tokenizer.convert_ids_to_tokens(number)) for number in rows]
        new = list(dict.fromkeys([*self._added(), *beyond]))
        if new and missing:
            raise FinetrailError(
                f"the tokenizer has {len(new)} new tokens ({', '.join(new[:5])}), whose embeddings an adapter does"
                " not train",
                where=str(self.folder),
                hint=f"Add {', '.join(missing)} to modules_to_save",
            )

    def _added(self) -> list[str]:
        """Return the tokens that `finetrail.models.base_tokenizer.prepare_tokenizer` added, as the manifest says.

        They may have found a spare embedding.
        """
        path = self.folder / MANIFEST_NAME
        added: list[str] = read_json(path).get("tokenizer", {}).get("new_tokens", []) if path.is_file() else []
        return added
