"""Bounds, theorem by theorem."""
