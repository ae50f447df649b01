"""Simulated robots on PyBullet."""
