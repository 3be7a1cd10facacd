//! `/logs/`: the files below `/var/log` of the node, as Go's file server shows them.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio::sync::mpsc;

use super::{Body, Request, answer, streamed, text};

/// What is served.
const ROOT: &str = "/var/log";
const CHUNK_BYTES: usize = 64 * 1024;

/// Serves a file or the names in a directory.
pub async fn serve(request: &Request, rest: &str) -> Response<Body> {
    show(Path::new(ROOT), request.uri().path(), rest).await
}

async fn show(root: &Path, asked: &str, rest: &str) -> Response<Body> {
    let Some(path) = below(root, rest) else { return absent() };
    // A pod that may write logs of its node must not show other files by links, so those that lead out are not followed.
    let root = root.to_owned();
    let opened = tokio::task::spawn_blocking(move || open(&root, &path)).await;
    let Ok(Ok((opened, meta))) = opened else { return absent() };
    let slash = asked.ends_with('/');
    if meta.is_dir() != slash {
        // A directory has a slash at its end, and a file has none; links are relative to that.
        let name = asked.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        return moved(&if meta.is_dir() { format!("{name}/") } else { format!("../{name}") });
    }
    match (meta.is_dir(), meta.is_file()) {
        (true, _) => directory(&opened).await,
        (_, true) => file(opened, meta.len()).await,
        // Pipes and devices may have no end.
        _ => text(StatusCode::FORBIDDEN, "403 Forbidden\n"),
    }
}

/// What lies at the path, links resolved, if that is below `root`. Opened from the root without links, so that nobody puts
/// another one in their place meanwhile, and without waiting for the other end of a pipe.
fn open(root: &Path, path: &Path) -> io::Result<(File, Metadata)> {
    let (root, path) = (root.canonicalize()?, path.canonicalize()?);
    let inside = path.strip_prefix(&root).map_err(|_| io::ErrorKind::NotFound)?;
    let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let opened = File::from(openat2(File::open(&root)?, inside, how)?);
    let meta = opened.metadata()?;
    Ok((opened, meta))
}

fn absent() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn moved(to: &str) -> Response<Body> {
    let mut response = text(StatusCode::MOVED_PERMANENTLY, "");
    if let Ok(to) = to.parse() {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

/// The path of a file below `root`; none that leads out of it.
fn below(root: &Path, rest: &str) -> Option<PathBuf> {
    let mut path = root.to_owned();
    for part in Path::new(rest.trim_start_matches('/')).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

async fn directory(opened: &File) -> Response<Body> {
    let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
    let Ok(mut entries) = tokio::fs::read_dir(path).await else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "Error reading directory\n");
    };
    let mut names = Vec::new();
    while let Ok(Some(entry)) = entries.next_entry().await {
        let slash = if entry.file_type().await.is_ok_and(|kind| kind.is_dir()) { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    let mut page =
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n".to_owned();
    for name in names {
        page.push_str(&format!("<a href=\"{}\">{}</a>\n", link(&name), escaped(&name)));
    }
    page.push_str("</pre>\n");
    answer(StatusCode::OK, "text/html; charset=utf-8", page.into_bytes())
}

/// A name as a link: what has a meaning in URLs is percent-encoded.
fn link(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&b);
    let encoded: String = name
        .bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect();
    // A colon in the first part would make it a scheme.
    let prefix = if encoded.contains(':') { "./" } else { "" };
    escaped(&format!("{prefix}{encoded}"))
}

fn escaped(text: &str) -> String {
    let replaced = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    replaced.replace('"', "&#34;").replace('\'', "&#39;")
}

/// So many bytes of the file as it is now: one that grows meanwhile is not followed.
async fn file(opened: File, bytes: u64) -> Response<Body> {
    let mut file = tokio::fs::File::from_std(opened);
    let mut start = [0; 512];
    let begun = file.read(&mut start).await.unwrap_or_default();
    let kind = match start[..begun].contains(&0) {
        true => "application/octet-stream",
        false => "text/plain; charset=utf-8",
    };
    if file.seek(SeekFrom::Start(0)).await.is_err() {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error\n");
    }
    let (parts, body) = mpsc::channel(4);
    env::spawn_detached("log-file", async move {
        let mut rest = file.take(bytes);
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(n @ 1..) = rest.read(&mut buffer).await {
            if parts.send(Bytes::copy_from_slice(&buffer[..n])).await.is_err() {
                return;
            }
        }
    });
    streamed(kind, body)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn files_and_directories_are_shown_and_nothing_else() {
        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path().join("log");
        std::fs::create_dir_all(root.join("pods/a:b")).unwrap();
        std::fs::write(root.join("sys <log>"), "one\ntwo\n").unwrap();
        std::fs::write(tmp.path().join("secret"), "x").unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("../../../secret", root.join("pods/a:b/out")).unwrap();
        std::os::unix::fs::symlink("../../sys <log>", root.join("pods/a:b/in")).unwrap();
        let get = |asked: &'static str| {
            let root = root.clone();
            async move {
                let response = show(&root, asked, asked.strip_prefix("/logs").unwrap()).await;
                let place = response.headers().get(header::LOCATION).map(|v| v.to_str().unwrap().to_owned());
                let status = response.status().as_u16();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                (status, place.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned()))
            }
        };
        let top = "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n<a href=\"pipe\">pipe</a>\n<a href=\"pods/\">pods/</a>\n\
                   <a href=\"sys%20%3Clog%3E\">sys &lt;log&gt;</a>\n</pre>\n";
        for (asked, want) in [
            ("/logs/", (200, top)),
            ("/logs/sys <log>", (200, "one\ntwo\n")),
            ("/logs", (301, "logs/")),
            ("/logs/pods", (301, "pods/")),
            ("/logs/sys <log>/", (301, "../sys <log>")),
            ("/logs/pipe", (403, "403 Forbidden\n")),
            ("/logs/absent", (404, "404 page not found\n")),
            ("/logs/pods/a:b/in", (200, "one\ntwo\n")),
            ("/logs/pods/a:b/out", (404, "404 page not found\n")),
            ("/logs/../secret", (404, "404 page not found\n")),
            ("/logs/pods/../../secret", (404, "404 page not found\n")),
        ] {
            assert_eq!(get(asked).await, (want.0, want.1.to_owned()), "{asked}");
        }
        assert!(get("/logs/pods/").await.1.contains("<a href=\"./a:b/\">a:b/</a>"));
    }
}
