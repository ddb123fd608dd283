"""Training loops: they collect rows and learn from them, and use no files and no clock."""
