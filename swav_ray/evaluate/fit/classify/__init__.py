"""Classifiers that train on labelled images: heads on a frozen backbone, or the whole network."""
