"""Poses over time -> people with identities, the same across experts."""
