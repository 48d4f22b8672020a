"""The same cloud on one machine."""
