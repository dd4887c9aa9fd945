"""The lowest floor: rows, the files that hold them, and how an output is published."""
