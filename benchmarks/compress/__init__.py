"""Folders of images to try ``dsd-bench compress`` with, as a new user would."""
