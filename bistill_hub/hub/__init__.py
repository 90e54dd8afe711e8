"""The folder of a published pair: written, read back, and (later) checked and pushed."""
