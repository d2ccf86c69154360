/* Preloaded: refuses one allocation of more than 4 KiB that code between two addresses asks for, as a machine without memory would. */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

enum { SMALL_BYTES = 4096 };

static atomic_uintptr_t code_start, code_end;
static atomic_long left;
static atomic_long refused_bytes;

/* Refuses the allocation after `allowed` more from code in [start, end). */
void refuse_after(uintptr_t start, uintptr_t end, long allowed)
{
    atomic_store(&refused_bytes, 0);
    atomic_store(&left, allowed);
    atomic_store(&code_start, start);
    atomic_store(&code_end, end);
}

/* Refuses nothing any more; how large the refused allocation was in bytes, 0 if none was. */
long refuse_nothing(void)
{
    atomic_store(&code_end, 0);
    return atomic_load(&refused_bytes);
}

static int is_refused(size_t size, const void *caller)
{
    uintptr_t from = (uintptr_t)caller;
    if (size <= SMALL_BYTES || from < atomic_load(&code_start) || from >= atomic_load(&code_end))
        return 0;
    if (atomic_fetch_sub(&left, 1) != 0)
        return 0;
    atomic_store(&refused_bytes, (long)size);
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return is_refused(size, __builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return is_refused(count * size, __builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return is_refused(size, __builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

int posix_memalign(void **made, size_t alignment, size_t size)
{
    if (is_refused(size, __builtin_return_address(0)))
        return ENOMEM;
    *made = __libc_memalign(alignment, size);
    return *made ? 0 : ENOMEM;
}
