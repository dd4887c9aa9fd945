"""The base of all sections, and the two kinds of keys: *result* keys and *operation* keys."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Kind = Literal["result", "operation"]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
FoldName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_]+$")]
Text = Annotated[str, StringConstraints(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]


class Section(BaseModel):
    """A mapping with known keys: no others, no conversion of types, no NaN.

    Attributes:
        replaces: for a key, the keys of earlier layers that it makes void (a new model id: the old revision).
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    replaces: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def unused_keys(self) -> tuple[str, ...]:
        """Name the keys that mean nothing beside the others' values; they are left out of plain data."""
        return ()


def result(default: Any, description: str, **constraints: Any) -> Any:
    """Declare a key that changes what comes out; it enters parameters and hashes. `...`: compulsory."""
    return Field(default, description=description, json_schema_extra={"x-kind": "result"}, **constraints)


def operation(default: Any, description: str, **constraints: Any) -> Any:
    """Declare a key that changes only how the work is done; it enters no digest. `...`: compulsory."""
    return Field(default, description=description, json_schema_extra={"x-kind": "operation"}, **constraints)
