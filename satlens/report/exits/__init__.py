"""Exits: what leaving early gives, and what it saves."""
