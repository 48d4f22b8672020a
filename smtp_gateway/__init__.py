"""The submission server: SMTP in, a queue message out, then 250."""
