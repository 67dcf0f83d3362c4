"""Object detection: torchvision's detectors on a backbone, trained whole, and judged by average precision."""
