"""Bistill."""
