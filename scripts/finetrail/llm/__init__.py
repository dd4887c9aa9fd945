"""Calls to language models: requests, the call store, the engine, prompts, and servers of our own."""
