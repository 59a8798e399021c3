"""Beliefs: a panel in, a snapshot of regime probabilities out."""
