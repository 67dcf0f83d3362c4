"""In which order samples come, and which of a long list are chosen, without holding either."""
