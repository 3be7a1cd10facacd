//! Who a container runs as: the image's and the pod's wishes, resolved against `/etc/passwd` and `/etc/group` of the
//! container's own files.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::config::SecurityContext;
use crate::error::{Error, Result};
use crate::status::User;

/// Larger files are no user databases.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A resolved user, and where its home is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub user: User,
    pub home: String,
}

struct Passwd {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// The files of one root file system.
#[derive(Default)]
pub(crate) struct Database {
    users: Vec<Passwd>,
    groups: Vec<Group>,
}

/// Opens a path as a process inside `root` would: symlinks never lead out.
pub(crate) fn open_in_root(root: &Path, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let dir = nix::fcntl::open(
        root,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )?;
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    openat2(&dir, relative, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve))
}

/// The real path on the host of a path inside `root`.
pub(crate) fn path_in_root(root: &Path, path: &Path) -> nix::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    let fd = open_in_root(root, path, OFlag::O_PATH)?;
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
        .map_err(|e| nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(0)))
}

fn read_in_root(root: &Path, path: &str) -> String {
    let read = || {
        // Without O_NONBLOCK a FIFO in the image would hang the server.
        let fd = open_in_root(root, Path::new(path), OFlag::O_RDONLY | OFlag::O_NONBLOCK).ok()?;
        let file = File::from(fd);
        file.metadata().ok().filter(|m| m.is_file())?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

impl Database {
    pub(crate) fn load(root: &Path) -> Database {
        Database::parse(&read_in_root(root, "/etc/passwd"), &read_in_root(root, "/etc/group"))
    }

    fn parse(passwd: &str, group: &str) -> Database {
        let users = passwd.lines().filter_map(|line| {
            let f: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, _, home, ..] = f.as_slice() else { return None };
            Some(Passwd {
                name: (*name).into(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                home: (*home).into(),
            })
        });
        let groups = group.lines().filter_map(|line| {
            let f: Vec<&str> = line.split(':').collect();
            let [name, _, gid, members, ..] = f.as_slice() else { return None };
            let members = members.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect();
            Some(Group { name: (*name).into(), gid: gid.parse().ok()?, members })
        });
        Database { users: users.collect(), groups: groups.collect() }
    }

    /// Resolves `user`, `uid`, `user:group` or `uid:gid` (empty means root).
    pub(crate) fn resolve(&self, spec: &str) -> Result<Resolved> {
        let (user, group) = match spec.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
            None => (spec, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let entry = match user.parse::<u32>() {
            Ok(uid) => self.users.iter().find(|u| u.uid == uid),
            Err(_) => Some(self.users.iter().find(|u| u.name == user).ok_or_else(|| {
                Error::InvalidConfig(format!(
                    "unable to find user {user}: no matching entries in passwd file"
                ))
            })?),
        };
        let uid = match entry {
            Some(entry) => entry.uid,
            None => user.parse().map_err(|_| Error::InvalidConfig(format!("invalid user {user:?}")))?,
        };
        let gid = match group.map(|g| (g, g.parse::<u32>())) {
            Some((_, Ok(gid))) => gid,
            Some((name, Err(_))) => {
                self.groups.iter().find(|g| g.name == name).map(|g| g.gid).ok_or_else(|| {
                    Error::InvalidConfig(format!(
                        "unable to find group {name}: no matching entries in group file"
                    ))
                })?
            }
            None => entry.map_or(0, |e| e.gid),
        };
        let mut supplemental_groups = Vec::new();
        if let Some(entry) = entry.filter(|_| group.is_none()) {
            let member = |g: &&Group| g.members.contains(&entry.name);
            supplemental_groups = self.groups.iter().filter(member).map(|g| g.gid).collect();
        }
        let home = entry.map(|e| e.home.clone()).filter(|h| !h.is_empty()).unwrap_or_else(|| "/".into());
        Ok(Resolved { user: User { uid, gid, supplemental_groups }, home })
    }

    /// Applies a pod's security context over the image's user.
    pub(crate) fn for_container(&self, image_user: &str, security: &SecurityContext) -> Result<Resolved> {
        let id = |v: i64, what: &str| {
            u32::try_from(v).map_err(|_| Error::InvalidConfig(format!("invalid {what}: {v} is out of range")))
        };
        let mut resolved = match (security.run_as_user, &security.run_as_username) {
            (Some(uid), _) => self.resolve(&id(uid, "runAsUser")?.to_string())?,
            (None, Some(name)) => self.resolve(name)?,
            (None, None) => self.resolve(image_user)?,
        };
        if let Some(gid) = security.run_as_group {
            resolved.user.gid = id(gid, "runAsGroup")?;
        }
        if security.strict_groups {
            resolved.user.supplemental_groups.clear();
        }
        for gid in &security.supplemental_groups {
            resolved.user.supplemental_groups.push(id(*gid, "supplementalGroups")?);
        }
        // The primary group is shown among the supplemental ones, as CRI implementations do.
        resolved.user.supplemental_groups.push(resolved.user.gid);
        resolved.user.supplemental_groups.sort_unstable();
        resolved.user.supplemental_groups.dedup();
        Ok(resolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Database {
        Database::parse(
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nbroken\n",
            "root:x:0:\napp:x:1001:\nextra:x:50:app,other\n",
        )
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        let db = database();
        for (spec, uid, gid, groups, home) in [
            ("", 0, 0, vec![], "/root"),
            ("app", 1000, 1001, vec![50], "/home/app"),
            ("1000", 1000, 1001, vec![50], "/home/app"),
            ("app:extra", 1000, 50, vec![], "/home/app"),
            ("7:8", 7, 8, vec![], "/"),
            ("7", 7, 0, vec![], "/"),
        ] {
            let r = db.resolve(spec).unwrap();
            assert_eq!(
                (r.user.uid, r.user.gid, r.user.supplemental_groups, r.home.as_str()),
                (uid, gid, groups, home),
                "{spec}"
            );
        }
        assert!(db.resolve("nobody").unwrap_err().to_string().contains("no matching entries in passwd file"));
        assert!(db.resolve("app:none").is_err());
    }

    #[test]
    fn the_pod_overrides_the_image() {
        let security = SecurityContext {
            run_as_user: Some(5),
            run_as_group: Some(6),
            supplemental_groups: vec![9],
            ..Default::default()
        };
        let user = database().for_container("app", &security).unwrap().user;
        assert_eq!(user, User { uid: 5, gid: 6, supplemental_groups: vec![6, 9] });
        let strict = SecurityContext { strict_groups: true, ..Default::default() };
        assert_eq!(database().for_container("app", &strict).unwrap().user.supplemental_groups, [1001]);
        let bad = SecurityContext { run_as_user: Some(-1), ..Default::default() };
        assert!(database().for_container("", &bad).is_err());
    }
}
