"""What an evaluation raises."""

from __future__ import annotations


class EvaluationError(ValueError):
    """An evaluation that cannot be: the message names what is wrong and what would be right."""
