"""The named algorithms, one small file per family."""
