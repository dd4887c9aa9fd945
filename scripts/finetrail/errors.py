"""The one exception that the project raises for causes that a user can mend."""


class FinetrailError(Exception):
    """A failure with its cause, its place and what to do next.

    Args:
        cause: what is wrong, in one sentence without a full stop.
        where: ``file:line``, a row id or a config key; None where there is no single place.
        hint: what the user can do about it.
    """

    def __init__(self, cause: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        """Render as ``where: cause. hint``, on one line unless the cause lists several."""
        text = f"{self.where}: {self.cause}" if self.where else self.cause
        return f"{text}. {self.hint}" if self.hint else text
