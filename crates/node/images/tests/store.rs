//! The store from outside: building, importing, naming, leasing, collecting.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use images::*;

fn open(dir: &Path) -> Store {
    Store::open(dir.join("store"), StoreConfig::default()).unwrap()
}

/// A layer directory with a few awkward files.
fn root(dir: &Path, name: &str) -> PathBuf {
    let root = dir.join(name);
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("bin/tool"), format!("tool of {name}")).unwrap();
    fs::set_permissions(root.join("bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("bin/tool"), root.join("bin/alias")).unwrap();
    symlink("/etc/../bin/tool", root.join("link")).unwrap();
    root
}

fn build(dir: &Path, name: &str, layers: Vec<LayerSource>, gzip: bool) -> PathBuf {
    let config = ImageConfig {
        cmd: vec!["/bin/tool".into()],
        user: "app".into(),
        stop_signal: "SIGQUIT".into(),
        ..Default::default()
    };
    build_layout(&dir.join("layout"), &Build { name: name.into(), layers, config, gzip }).unwrap();
    dir.join("layout")
}

#[tokio::test]
async fn a_layout_comes_back_as_it_was_built() {
    let dir = tempfile::tempdir().unwrap();
    let layers = || vec![LayerSource::Dir(dir.path().join("a"))];
    root(dir.path(), "a");
    let layout = build(dir.path(), "app:1", layers(), true);
    let first = fs::read(layout.join("index.json")).unwrap();
    build(dir.path(), "app:1", layers(), true);
    assert_eq!(fs::read(layout.join("index.json")).unwrap(), first, "building twice gives the same digests");
    let store = open(dir.path());
    let image = store.import(&layout, None).await.unwrap().remove(0);
    assert_eq!(image.repo_tags, ["docker.io/library/app:1"]);
    assert_eq!((image.config.user.as_str(), image.config.stop_signal.as_str()), ("app", "SIGQUIT"));
    let files = &image.layers[0].path;
    assert_eq!(fs::read_to_string(files.join("bin/alias")).unwrap(), "tool of a");
    let (tool, alias) =
        (fs::metadata(files.join("bin/tool")).unwrap(), fs::metadata(files.join("bin/alias")).unwrap());
    assert_eq!((tool.ino(), tool.mode() & 0o7777), (alias.ino(), 0o4755));
    assert_eq!(fs::read_link(files.join("link")).unwrap(), Path::new("/etc/../bin/tool"));
    let (stray, left) = (store.root().join("layers").join("0".repeat(64)), store.root().join("tmp/left"));
    fs::create_dir_all(stray.join("fs")).unwrap();
    fs::create_dir_all(left.join("fs")).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.get("app:1"), Some(image.clone()), "after reopening");
    assert!(!stray.exists() && !left.exists(), "what a crash left is gone");
    assert!(files.join("bin/tool").exists());
    for name in ["app:1", "docker.io/library/app:1", &image.id, &image.id[7..19]] {
        assert_eq!(store.get(name).map(|i| i.id), Some(image.id.clone()), "{name}");
    }
    assert_eq!(store.get("app:2"), None);
}

#[tokio::test]
async fn tars_compressed_or_not_are_layouts_too() {
    let dir = tempfile::tempdir().unwrap();
    root(dir.path(), "a");
    let layout = build(dir.path(), "app:1", vec![LayerSource::Dir(dir.path().join("a"))], false);
    let mut plain = tar::Builder::new(Vec::new());
    plain.append_dir_all(".", &layout).unwrap();
    let plain = plain.into_inner().unwrap();
    let store = open(dir.path());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    for (name, bytes) in [("plain", plain.clone()), ("gzip", gzip.finish().unwrap()), ("zstd", zstd)] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert_eq!(store.import(&path, None).await.unwrap().len(), 1, "{name}");
    }
    assert_eq!(store.list().len(), 1);
    fs::write(dir.path().join("junk"), &plain[..1000]).unwrap();
    assert!(matches!(store.import(&dir.path().join("junk"), None).await, Err(Error::NotAnImage { .. })));
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes).unwrap();
}

/// `docker save` as it was before version 25: a directory for each layer, symlinks between equal ones.
#[tokio::test]
async fn docker_archives_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "file", b"content");
    let layer = layer.into_inner().unwrap();
    let diff = sha256(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["x"]}},"rootfs":{{"type":"layers","diff_ids":["{diff}","{diff}"]}}}}"#
    );
    let digest = sha256(config.as_bytes());
    let name = format!("{}.json", &digest[7..]);
    let archive = |config: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        append(&mut tar, "one/layer.tar", &layer);
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        tar.append_link(&mut link, "two/layer.tar", "../one/layer.tar").unwrap();
        append(&mut tar, &name, config.as_bytes());
        let list = format!(
            r#"[{{"Config":"{name}","RepoTags":["old:1"],"Layers":["one/layer.tar","two/layer.tar"]}}]"#
        );
        append(&mut tar, "manifest.json", list.as_bytes());
        tar.into_inner().unwrap()
    };
    let store = open(dir.path());
    let path = dir.path().join("saved.tar");
    fs::write(&path, archive(&config)).unwrap();
    let image = store.import(&path, None).await.unwrap().remove(0);
    assert_eq!((image.id.as_str(), image.layers.len()), (digest.as_str(), 2));
    assert_eq!(fs::read(image.layers[1].path.join("file")).unwrap(), b"content");
    fs::write(&path, archive(&config.replace("\"x\"", "\"y\""))).unwrap();
    assert!(matches!(store.import(&path, None).await, Err(Error::DigestMismatch { what: "config", .. })));
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

#[tokio::test]
async fn corrupt_layers_are_named_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    root(dir.path(), "a");
    let layout = build(dir.path(), "app:1", vec![LayerSource::Dir(dir.path().join("a"))], true);
    let blobs = layout.join("blobs/sha256");
    let layer = fs::read_dir(&blobs)
        .unwrap()
        .flatten()
        .find(|e| fs::read(e.path()).unwrap().starts_with(&[0x1f, 0x8b]))
        .unwrap();
    let mut bytes = fs::read(layer.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(layer.path(), bytes).unwrap();
    let store = open(dir.path());
    let error = store.import(&layout, None).await.unwrap_err().to_string();
    assert!(error.starts_with("corrupt layer: digest mismatch"), "{error}");
    assert!(store.list().is_empty());
    assert_eq!(fs::read_dir(store.root().join("layers")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn names_move_and_garbage_goes_but_leases_hold() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["base", "a", "b"] {
        root(dir.path(), name);
    }
    let layers =
        |top: &str| vec![LayerSource::Dir(dir.path().join("base")), LayerSource::Dir(dir.path().join(top))];
    let store = open(dir.path());
    let layout = build(dir.path(), "app:1", layers("a"), false);
    let old = store.import(&layout, None).await.unwrap().remove(0);
    build(dir.path(), "app:1", layers("b"), false);
    let new = store.import(&layout, None).await.unwrap().remove(0);
    assert_eq!(old.layers[0], new.layers[0], "the base is shared");
    assert_eq!(store.get("app:1").unwrap().id, new.id);
    assert!(store.get(&old.id).unwrap().repo_tags.is_empty());
    store.acquire(&old, "container").unwrap();
    store.remove(&old.id).await.unwrap();
    assert!(store.in_use().into_iter().eq([old.id.clone()]));
    store.garbage_collect().await.unwrap();
    assert!(old.layers[1].path.exists());
    store.release("container").unwrap();
    let collected = store.garbage_collect().await.unwrap();
    assert_eq!(
        (collected.layers, old.layers[1].path.exists(), old.layers[0].path.exists()),
        (1, false, true)
    );
    assert!(collected.bytes > 0);
    store.tag("app:1", "other:2").await.unwrap();
    store.remove("app:1").await.unwrap();
    assert_eq!(store.get("other:2").unwrap().repo_tags, ["docker.io/library/other:2"]);
    store.remove("other:2").await.unwrap();
    assert!(matches!(store.remove("other:2").await, Err(Error::NotFound(_))));
    assert_eq!(store.garbage_collect().await.unwrap().layers, 2);
    assert_eq!(fs::read_dir(store.root().join("blobs")).unwrap().count(), 0);
}

#[tokio::test]
async fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path());
    let error = Store::open(dir.path().join("store"), StoreConfig::default()).unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
}

/// Layers whose entries try to get out.
#[tokio::test]
async fn hostile_layers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let store = open(dir.path());
    let raw = |name: &str, kind: tar::EntryType, link: &str, data: &[u8]| {
        let mut header = tar::Header::new_old();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().div_ceil(512) * 512, 0);
        bytes
    };
    use tar::EntryType::{Link, Regular, Symlink};
    let outside_text = outside.to_str().unwrap();
    let cases: Vec<(&str, Vec<Vec<u8>>, bool)> = vec![
        ("dots", vec![raw("../evil", Regular, "", b"x")], false),
        ("inner dots", vec![raw("a/../../evil", Regular, "", b"x")], false),
        ("hard link out", vec![raw("h", Link, "../../etc/passwd", b"")], false),
        ("absolute", vec![raw("/etc/evil", Regular, "", b"x")], true),
        (
            "through a symlink",
            vec![raw("l", Symlink, outside_text, b""), raw("l/evil", Regular, "", b"x")],
            true,
        ),
        (
            "through dots in a symlink",
            vec![raw("l", Symlink, "../../../../../../tmp", b""), raw("l/frk-evil", Regular, "", b"x")],
            true,
        ),
        ("loop", vec![raw("l", Symlink, "l", b""), raw("l/evil", Regular, "", b"x")], false),
    ];
    for (name, entries, fine) in cases {
        let tar = dir.path().join("hostile.tar");
        fs::write(&tar, [entries.concat(), vec![0; 1024]].concat()).unwrap();
        let layout = build(dir.path(), "evil:1", vec![LayerSource::Tar(tar)], false);
        let imported = store.import(&layout, None).await;
        assert_eq!(imported.is_ok(), fine, "{name}: {imported:?}");
        if !fine {
            assert!(imported.unwrap_err().to_string().starts_with("corrupt layer sha256:"), "{name}");
        }
        assert!(!Path::new("/etc/evil").exists() && !Path::new("/tmp/frk-evil").exists(), "{name}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{name}");
    }
}

/// What a later layer takes away, and where it writes when a parent has a symlink in the path.
#[tokio::test]
async fn layers_know_what_lies_below() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    fs::create_dir_all(base.join("usr/bin")).unwrap();
    fs::set_permissions(base.join("usr/bin"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::write(base.join("usr/bin/kept"), "").unwrap();
    fs::create_dir_all(base.join("gone")).unwrap();
    fs::create_dir_all(base.join("emptied")).unwrap();
    symlink("usr/bin", base.join("bin")).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "bin/new", b"n");
    append(&mut tar, ".wh.gone", b"");
    append(&mut tar, "emptied/.wh..wh..opq", b"");
    append(&mut tar, "emptied/fresh", b"");
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    tar.append_link(&mut header, "linked", "bin/kept").unwrap();
    fs::write(dir.path().join("top.tar"), tar.into_inner().unwrap()).unwrap();
    let layout = build(
        dir.path(),
        "app:1",
        vec![LayerSource::Dir(base), LayerSource::Tar(dir.path().join("top.tar"))],
        false,
    );
    let image = open(dir.path()).import(&layout, None).await.unwrap().remove(0);
    let top = &image.layers[1].path;
    assert!(!top.join("bin").exists() && top.join("usr/bin/new").exists());
    assert_eq!(fs::metadata(top.join("usr/bin")).unwrap().mode() & 0o777, 0o711);
    assert_eq!(fs::metadata(top.join("gone")).unwrap().rdev(), 0);
    assert_eq!(
        xattr::get(top.join("emptied"), "trusted.overlay.opaque").unwrap().as_deref(),
        Some(&b"y"[..])
    );
    assert_eq!(fs::metadata(top.join("linked")).unwrap().nlink(), 2);
}
