"""What a person may ask for: their data, and its erasure."""
