//! `hostPath`: a path of the node, checked against the type that the pod expects.

use std::fs;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::{Error, Result};

/// Checks (and for the `OrCreate` types makes) what is at `path`.
pub fn check(path: &Path, type_: &str) -> Result<()> {
    let shown = path.display();
    let kind = fs::metadata(path).map(|m| m.file_type());
    let fail = |what: &str| Err(Error::HostPathType(format!("{shown} is not a {what}")));
    match (type_, kind) {
        ("", Ok(_)) => Ok(()),
        // Without a type the runtime makes a missing directory, as docker did.
        ("", Err(_)) => fs::create_dir_all(path).map_err(Error::io("cannot create", path)),
        ("DirectoryOrCreate", Err(_)) => {
            fs::create_dir_all(path).map_err(Error::io("cannot create", path))?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))
                .map_err(Error::io("cannot change the mode of", path))
        }
        ("FileOrCreate", Err(_)) => fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .map(drop)
            .map_err(Error::io("cannot create", path)),
        ("DirectoryOrCreate" | "Directory", Ok(t)) if t.is_dir() => Ok(()),
        ("FileOrCreate" | "File", Ok(t)) if t.is_file() => Ok(()),
        ("Socket", Ok(t)) if t.is_socket() => Ok(()),
        ("CharDevice", Ok(t)) if t.is_char_device() => Ok(()),
        ("BlockDevice", Ok(t)) if t.is_block_device() => Ok(()),
        ("DirectoryOrCreate" | "Directory", _) => fail("directory"),
        ("FileOrCreate" | "File", _) => fail("file"),
        ("Socket", _) => fail("socket file"),
        ("CharDevice", _) => fail("character device"),
        ("BlockDevice", _) => fail("block device"),
        (other, _) => Err(Error::HostPathType(format!("unknown hostPath type {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let tmp = tempfile::tempdir().unwrap();
        let file = tmp.path().join("f");
        let dir = tmp.path().join("d/e");
        check(&file, "FileOrCreate").unwrap();
        check(&dir, "DirectoryOrCreate").unwrap();
        for (path, type_, good) in [
            (&file, "File", true),
            (&file, "Directory", false),
            (&file, "", true),
            (&dir, "Directory", true),
            (&dir, "Socket", false),
            (&tmp.path().join("none"), "File", false),
            (&Path::new("/dev/null").to_path_buf(), "CharDevice", true),
        ] {
            assert_eq!(check(path, type_).is_ok(), good, "{path:?} {type_}");
        }
        let err = check(&file, "Directory").unwrap_err().to_string();
        assert_eq!(err, format!("hostPath type check failed: {} is not a directory", file.display()));
    }
}
