"""Boot Debian's own kernels under software emulation and put the package to the test on each.

`python -m kernels` is the command behind `make kernels`; the guests run `guest.py`, which imports nothing of this
package, so that a guest needs an interpreter and the installed distribution only.
"""
