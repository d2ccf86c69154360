"""The bare system calls: integers in, integers out, nothing checked, `KernelError` on failure.

These exist so that a rule book or a self-test can ask the kernel wrong questions. Each function takes what the kernel takes, in
its order, releases the GIL while it runs, and raises `subduct.KernelError` with `call`, `arguments`, `errno` and `remedy` where
the kernel refuses. Nothing keeps a caller from unmapping the interpreter: for everything else there are `Mapping`, `Memfd` and
`Userfaultfd`.

Flags are plain integers; the enums of `subduct.kernel` fit. Addresses and lengths are 0 to 2**64 - 1, in bytes.

- `mremap` passes all five arguments, unlike the C library, which drops `new_address` where `FIXED` is not set: with `DONTUNMAP`
  alone it is a hint (Linux 5.7).
- `uffd_copy`, `uffd_zeropage`, `uffd_continue`, `uffd_move` and `uffd_poison` return the bytes done. Fewer than asked means that
  the kernel stopped early (`EAGAIN`, or a page that was there already); an error is raised only where nothing was done.
- `uffd_read` returns whole messages of 32 bytes, at most 64; `b""` where nothing waits on a descriptor that does not block.
- `load` and `store` touch memory for real: where the mapping does not allow it, or a page has no backing, the process gets
  SIGSEGV or SIGBUS. A thread that waits for a userfaultfd in them does not hold the GIL.
- `peek` and `poke` go through `process_vm_readv(2)` on this process: `KernelError(EFAULT)` instead of a signal. A page that waits
  for a userfaultfd made with `USER_MODE_ONLY` is such an error too.
- `fallocate`, `ftruncate` and `uffd_read` go on after a signal (PEP 475).
"""

from subduct import _native

__all__ = [
    "add_seals",
    "fallocate",
    "ftruncate",
    "get_seals",
    "load",
    "madvise",
    "memfd_create",
    "mincore",
    "mlock",
    "mmap",
    "mprotect",
    "mremap",
    "mseal",
    "munlock",
    "munmap",
    "peek",
    "poke",
    "remedy",
    "store",
    "uffd_api",
    "uffd_continue",
    "uffd_copy",
    "uffd_move",
    "uffd_new",
    "uffd_poison",
    "uffd_read",
    "uffd_register",
    "uffd_unregister",
    "uffd_wake",
    "uffd_writeprotect",
    "uffd_zeropage",
    "userfaultfd",
]

add_seals = _native.sys_add_seals
fallocate = _native.sys_fallocate
ftruncate = _native.sys_ftruncate
get_seals = _native.sys_get_seals
load = _native.sys_load
madvise = _native.sys_madvise
memfd_create = _native.sys_memfd_create
mincore = _native.sys_mincore
mlock = _native.sys_mlock
mmap = _native.sys_mmap
mprotect = _native.sys_mprotect
mremap = _native.sys_mremap
mseal = _native.sys_mseal
munlock = _native.sys_munlock
munmap = _native.sys_munmap
peek = _native.sys_peek
poke = _native.sys_poke
remedy = _native.sys_remedy
store = _native.sys_store
uffd_api = _native.sys_uffd_api
uffd_continue = _native.sys_uffd_continue
uffd_copy = _native.sys_uffd_copy
uffd_move = _native.sys_uffd_move
uffd_new = _native.sys_uffd_new
uffd_poison = _native.sys_uffd_poison
uffd_read = _native.sys_uffd_read
uffd_register = _native.sys_uffd_register
uffd_unregister = _native.sys_uffd_unregister
uffd_wake = _native.sys_uffd_wake
uffd_writeprotect = _native.sys_uffd_writeprotect
uffd_zeropage = _native.sys_uffd_zeropage
userfaultfd = _native.sys_userfaultfd
