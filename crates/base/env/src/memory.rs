//! How the allocator asks the kernel for memory.
//!
//! glibc gives each thread a heap that grows page by page, a system call each time: more than one for each write to a server
//! whose caches grow. Few heaps that grow by a MiB at a time make those calls rare, and hold half a MiB more on average.

/// Sets the process up for a server's memory: long-lived caches that many threads add to. For the start of `main`; a
/// process that should stay small, such as a container's shim, leaves it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn prepare_for_caches() {
    const GROWTH_BYTES: libc::c_int = 1 << 20;
    const KEPT_BYTES: libc::c_int = 32 << 20;
    const LARGE_BYTES: libc::c_int = 4 << 20;
    // SAFETY: plain settings of the allocator. One that it refuses stays as it was.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, heaps());
        libc::mallopt(libc::M_TOP_PAD, GROWTH_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
        // Setting a threshold ends glibc's own search for this one, so it is set where that search would go.
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}

/// One heap for every two processors: threads that seldom meet need no more, and each holds what it once held.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn heaps() -> libc::c_int {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    libc::c_int::try_from(processors.div_ceil(2)).unwrap_or(1).max(2)
}

/// Other allocators are taken as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn prepare_for_caches() {}
