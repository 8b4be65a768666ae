"""What a run is: its configuration, and how one comes from a user's words."""
