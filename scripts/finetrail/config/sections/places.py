"""Where a model comes from: a folder, or the hub. A module of its own, so that jobs need no pydantic for it."""


def is_folder(model: str) -> bool:
    """Tell a local folder from an id on the hub (``name`` or ``owner/name``), without looking at the disk."""
    return model.startswith((".", "/")) or model.count("/") > 1
