"""Where a model that the configuration names is to be found."""


def is_folder(model: str) -> bool:
    """Tell a local folder from an id on the hub (``name`` or ``owner/name``), without looking at the disk."""
    return model.startswith((".", "/")) or model.count("/") > 1
