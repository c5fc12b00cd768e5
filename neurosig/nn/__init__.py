"""Torch layers that several systems share."""
