"""The outbound side of SMTP."""
