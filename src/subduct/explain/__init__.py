"""Answers without doing: whether the kernel would move a mapping, by which steps, and what that and a flip would cost."""
