"""SwAV pretraining on Ray."""
