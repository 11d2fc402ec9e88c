"""Who agreed to what, and the proof of it. Knows neither Feast nor pandas."""
