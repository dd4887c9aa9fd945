"""The chat protocol on top of `finetrail.calls`: requests, schemas, prompts, and how a step asks."""
