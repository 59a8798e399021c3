"""Answers: snapshots published, kept, and served; the command line."""
