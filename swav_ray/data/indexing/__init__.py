"""Making and holding the list of samples of a place that may be too long for memory."""
