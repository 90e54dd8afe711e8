"""Measurements that a claim of the documentation rests on; each module is a command."""
