"""Proof by DNS that a sender domain wants this mail sent."""
