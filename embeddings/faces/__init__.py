"""Pixels to faces: detection, alignment, recognition, and the views in which a picture is looked at."""
