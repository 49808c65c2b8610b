"""Stateful vendor emulators on loopback. They import nothing of ours and are written from the vendors' specs."""
