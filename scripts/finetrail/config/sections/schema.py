"""Walking the typed model: which keys a section has, what a key holds, and which keys are operation keys."""

from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic.fields import FieldInfo

from finetrail.config.sections.fields import Kind, Section


def unwrap(annotation: Any) -> Any:
    """Strip constraints and the choice of None from a type."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, UnionType):
            inner = [option for option in get_args(annotation) if option is not NoneType]
            if len(inner) != 1:
                return annotation
            annotation = inner[0]
        else:
            return annotation


def as_section(annotation: Any) -> type[Section] | None:
    """Return the section that a type is, or None."""
    bare = unwrap(annotation)
    return bare if isinstance(bare, type) and issubclass(bare, Section) else None


def is_mapping(annotation: Any) -> bool:
    """Tell whether a type is a section or a mapping of names to values."""
    return as_section(annotation) is not None or get_origin(unwrap(annotation)) is dict


def child(annotation: Any, key: str | int) -> Any:
    """Return the type of what stands under a key (or an index); None where no such key is known."""
    section = as_section(annotation)
    if section is not None:
        field = section.model_fields.get(str(key))
        return field and field.annotation
    bare = unwrap(annotation)
    if get_origin(bare) is dict:
        return get_args(bare)[1]
    if get_origin(bare) is list:
        return get_args(bare)[0]
    return Any if bare is Any else None


def descend(annotation: Any, path: Sequence[str | int]) -> Any:
    """Return the type at a path; None where it leads nowhere."""
    for key in path:
        annotation = child(annotation, key)
    return annotation


def kind_of(field: FieldInfo) -> Kind:
    """Return whether a field is a result key or an operation key."""
    return cast(dict[str, Kind], field.json_schema_extra)["x-kind"]


def used_fields(section: Section) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the keys of a section that mean something beside the others' values."""
    unused = section.unused_keys()
    return ((name, field) for name, field in type(section).model_fields.items() if name not in unused)


def result_keys(section: Section) -> dict[str, Any]:
    """Return the result keys as plain data; below an operation key all keys are operation keys."""
    fields = used_fields(section)
    return {name: _results_below(getattr(section, name)) for name, field in fields if kind_of(field) == "result"}


def _results_below(value: Any) -> Any:
    """Choose among what stands under a result key."""
    if isinstance(value, Section):
        return result_keys(value)
    if isinstance(value, dict) and any(isinstance(item, Section) for item in value.values()):
        chosen = {name: result_keys(item) for name, item in value.items()}
        return {name: item for name, item in chosen.items() if item}
    return plain(value)


def plain(value: Any) -> Any:
    """Turn sections into plain dictionaries, all the way down."""
    if isinstance(value, Section):
        return {name: plain(getattr(value, name)) for name, _ in used_fields(value)}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def walk_keys(section: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every key of a section, dotted, in order; `<name>` stands for a name that the user chooses, or a place."""
    for name, field in section.model_fields.items():
        dotted = prefix + name
        yield dotted, field
        bare = unwrap(field.annotation)
        if inner := as_section(bare):
            yield from walk_keys(inner, f"{dotted}.")
        elif get_origin(bare) in (dict, list) and (inner := as_section(get_args(bare)[-1])):
            yield from walk_keys(inner, f"{dotted}.<name>.")
