"""The same churn on several collectors, side by side. README.md defines the workload; `run.py` is `make peers`."""
