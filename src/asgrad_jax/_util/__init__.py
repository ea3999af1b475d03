"""What every package may use; imports nothing of the others."""
