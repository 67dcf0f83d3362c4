"""Mean and deviation of the three colour channels, in units of 255: the one home of these figures.

The published SwAV code's own values; its red deviation is .228, where torchvision's is .229.
"""

MEAN = (0.485, 0.456, 0.406)
STD = (0.228, 0.224, 0.225)
