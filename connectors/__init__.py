"""The wire: one module per vendor, and what they share (``wire``, ``auth``, ``registry``)."""
