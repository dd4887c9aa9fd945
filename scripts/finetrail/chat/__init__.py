"""Chat messages and templates: how a conversation becomes tokens, and which of them carry loss."""
