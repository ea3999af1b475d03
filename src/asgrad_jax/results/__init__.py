"""Labelled results: what to select, average and read off."""
