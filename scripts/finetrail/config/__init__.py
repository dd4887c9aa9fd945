"""The typed configuration: what a user may write, how layers are merged, and what each phase reads of it.

Nothing is imported here (`load_config` is in `finetrail.config.load`), so that a step depends only on what it
imports by name, and an edit to the loader reruns no step.
"""
