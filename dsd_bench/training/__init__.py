"""One training to completion on one device, or on several together."""
