//! The machine that the process runs on.

/// The host's name, as the kernel has it.
///
/// # Errors
/// The kernel does not tell, as where `/proc` is not mounted.
pub fn hostname() -> std::io::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    Ok(name.trim_end().to_owned())
}
