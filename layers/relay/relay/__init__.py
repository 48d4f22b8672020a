"""The relay's domain: what the gateway, the functions and the tools share (docs/flow.md)."""
