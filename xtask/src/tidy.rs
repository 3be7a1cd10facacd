//! House rules that a compiler does not know: every file says what it is for, rooms stay small, and nothing in the
//! repository points outside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// Most lines of a hand-written file.
const LINES_MAX: usize = 800;

/// Every violation, one line each.
pub fn violations(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in rust_files(root)? {
        let text = fs::read_to_string(root.join(&path)).with_context(|| path.display().to_string())?;
        let shown = path.display();
        if !text.starts_with("//!") {
            found.push(format!("{shown}: does not open with //! saying what the file is for"));
        }
        let generated = path
            .components()
            .any(|part| part.as_os_str() == "generated" || part.as_os_str() == "generated.rs");
        if !generated && text.lines().count() > LINES_MAX {
            found.push(format!("{shown}: {} lines, at most {LINES_MAX}", text.lines().count()));
        }
        for (number, line) in text.lines().enumerate() {
            // Spelled in two halves so that this file passes its own check.
            for word in [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[", "ignore")] {
                if line.contains(word) {
                    found.push(format!("{shown}:{}: {word}", number + 1));
                }
            }
        }
    }
    Ok(found)
}

fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let output =
        Command::new("git").args(["ls-files", "*.rs"]).current_dir(root).output().context("git ls-files")?;
    let listed = String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect::<Vec<_>>();
    Ok(listed.into_iter().filter(|path| root.join(path).exists()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let found = violations(root).unwrap();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
