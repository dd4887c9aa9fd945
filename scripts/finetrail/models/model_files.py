"""The kinds of files that a model is made of; never what can run code."""

SMALL = ("*.json", "*.model", "*.jinja", "*.txt", "LICENSE*")
"""Files of configuration and tokenizer."""
ALL = (*SMALL, "*.safetensors")
"""What is downloaded, copied and hashed."""

NO_WEIGHTS = "holds no weights as safetensors"
"""What is said of a model in another format, which may run code when it is read."""
