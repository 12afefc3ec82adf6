//! Memory that the allocator keeps.
#![allow(unsafe_code, reason = "glibc's allocator has no safe interface")]

/// Gives free memory back to the kernel, wherever in the heap it lies. glibc by itself shrinks a heap only from its
/// end, where one living allocation is enough to keep everything below it.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointer and is safe to call from any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
