"""A base model: its folder, tokenizer, template and image processor, and how a row becomes its tokens."""
