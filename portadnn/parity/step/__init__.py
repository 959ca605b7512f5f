"""What a step is: its operations, the kinks between two backends, and their noise."""
