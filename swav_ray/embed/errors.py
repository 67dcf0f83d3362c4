"""What embedding raises."""

from __future__ import annotations


class EmbedError(ValueError):
    """Embeddings that cannot be: the message names what is wrong and what would be right."""
