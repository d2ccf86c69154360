"""What several test files share: comparing graphs, watching the process, asking the kernel."""
