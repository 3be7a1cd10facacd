//! Keeping the shim small.
//!
//! Starting a program touches pages of code and constants all over its file and its libraries. They cost nothing that the
//! page cache does not have anyway, but every page counts in the shim's resident size. Once the shim only waits, it lets
//! go of them; what its loop needs comes back by itself.

use std::fs;

/// Unmaps clean pages of files. Only code, and the first segment of each file (headers and constants), is let go: the
/// other read-only mappings hold addresses that the loader has filled in, which exist nowhere else.
pub(crate) fn release_file_pages() {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    for (start, end) in maps.lines().filter_map(clean_range) {
        // SAFETY: the pages are private, unmodified and backed by a file, so dropping them changes no content.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

/// The address range of a line of the memory map, if its pages can be read again from the file.
fn clean_range(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_whitespace();
    let (range, access, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let path = fields.nth(2)?;
    let code = access == "r-xp";
    let constants = access == "r--p" && usize::from_str_radix(offset, 16) == Ok(0);
    if !path.starts_with('/') || !(code || constants) {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clean_pages_go() {
        for (line, want) in [
            ("1000-3000 r-xp 00001000 08:01 42 /bin/x", Some((0x1000, 0x3000))),
            ("1000-3000 r--p 00000000 08:01 42 /bin/x", Some((0x1000, 0x3000))),
            ("1000-3000 r--p 00002000 08:01 42 /bin/x", None),
            ("1000-3000 rw-p 00000000 08:01 42 /bin/x", None),
            ("1000-3000 r-xp 00000000 00:00 0 [vdso]", None),
            ("1000-3000 r-xp 00000000 00:00 0", None),
        ] {
            assert_eq!(clean_range(line), want, "{line}");
        }
        release_file_pages();
    }
}
