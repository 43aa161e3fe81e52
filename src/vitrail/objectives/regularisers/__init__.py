"""What is asked of a latent beside reconstruction, one per file. May import types and errors."""
