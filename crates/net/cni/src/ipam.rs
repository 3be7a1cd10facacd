//! Addresses of pods: handed out from the node's ranges, one file for each sandbox in a directory, so that a restart knows
//! them all and a crash in the middle loses nothing. The choice of the next address is pure ([`next_free`]).

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::HostPort;

/// Why an address could not be given or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// All addresses are in use. Helps: fewer pods on this node, or a larger range for nodes.
    #[error("no free address in {range}: all {in_use} are in use by pods of this node")]
    Exhausted {
        /// The range.
        range: IpNet,
        /// Addresses in use.
        in_use: usize,
    },
    /// The directory cannot be read or written. Retrying helps once the disk has room.
    #[error("address file {}: {source}", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a sandbox holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The sandbox.
    pub sandbox_id: String,
    /// Namespace of its pod.
    pub namespace: String,
    /// Name of its pod.
    pub name: String,
    /// Its addresses, one of each family at most.
    pub ips: Vec<IpAddr>,
    /// Link on the node's side.
    pub link: String,
    /// Its host ports.
    pub host_ports: Vec<HostPort>,
    /// Counts up, so that a restart goes on after the newest address instead of reusing one that clients may remember.
    pub serial: u64,
}

/// All leases of a node, in memory and on disk.
#[derive(Debug)]
pub struct Ipam {
    dir: PathBuf,
    ranges: Vec<IpNet>,
    leases: BTreeMap<String, Lease>,
    serial: u64,
    /// The address given last in each range.
    last: Vec<Option<IpAddr>>,
}

impl Ipam {
    /// Reads the directory (made if absent). Files that cannot be understood, such as those cut off by a power failure (after
    /// which no sandbox exists anyway), are removed.
    pub fn open(dir: &Path, ranges: &[IpNet]) -> Result<Ipam, Error> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        fs::create_dir_all(dir).map_err(fail(dir))?;
        let mut ipam = Ipam {
            dir: dir.to_owned(),
            ranges: ranges.to_vec(),
            leases: BTreeMap::new(),
            serial: 0,
            last: vec![None; ranges.len()],
        };
        for entry in fs::read_dir(dir).map_err(fail(dir))? {
            let path = entry.map_err(fail(dir))?.path();
            let bytes = fs::read(&path).map_err(fail(&path))?;
            match serde_json::from_slice::<Lease>(&bytes) {
                Ok(lease) if path == ipam.file(&lease.sandbox_id) => {
                    if lease.serial > ipam.serial {
                        ipam.serial = lease.serial;
                        ipam.remember(&lease);
                    }
                    ipam.leases.insert(lease.sandbox_id.clone(), lease);
                }
                _ => {
                    tracing::warn!(file = %path.display(), "removing an unreadable address file");
                    fs::remove_file(&path).map_err(fail(&path))?;
                }
            }
        }
        Ok(ipam)
    }

    /// The lease of a sandbox.
    pub fn get(&self, sandbox_id: &str) -> Option<&Lease> {
        self.leases.get(sandbox_id)
    }

    /// All leases in order of sandbox.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// The leases that a sandbox asking for these host ports would collide with.
    pub fn host_port_holder(&self, sandbox_id: &str, wanted: &HostPort) -> Option<&Lease> {
        let unspecified = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
        self.leases.values().filter(|lease| lease.sandbox_id != sandbox_id).find(|lease| {
            lease.host_ports.iter().any(|held| {
                (held.protocol, held.host_port) == (wanted.protocol, wanted.host_port)
                    && (held.host_ip == wanted.host_ip
                        || unspecified(held.host_ip)
                        || unspecified(wanted.host_ip))
            })
        })
    }

    /// Gives a sandbox one address of each range and records it durably before returning.
    pub fn allocate(
        &mut self,
        sandbox_id: &str,
        pod: (&str, &str),
        link: &str,
        host_ports: &[HostPort],
    ) -> Result<Lease, Error> {
        let used: HashSet<IpAddr> =
            self.leases.values().flat_map(|lease| lease.ips.iter().copied()).collect();
        let mut ips = Vec::new();
        for (range, last) in self.ranges.iter().zip(&self.last) {
            let free = next_free(*range, *last, &used);
            let in_use = || used.iter().filter(|ip| range.contains(*ip)).count();
            ips.push(free.ok_or_else(|| Error::Exhausted { range: *range, in_use: in_use() })?);
        }
        let lease = Lease {
            sandbox_id: sandbox_id.to_owned(),
            namespace: pod.0.to_owned(),
            name: pod.1.to_owned(),
            ips,
            link: link.to_owned(),
            host_ports: host_ports.to_vec(),
            serial: self.serial + 1,
        };
        self.write(&lease)?;
        self.serial += 1;
        self.remember(&lease);
        self.leases.insert(lease.sandbox_id.clone(), lease.clone());
        Ok(lease)
    }

    /// Frees what a sandbox holds; nothing to free is fine.
    pub fn release(&mut self, sandbox_id: &str) -> Result<Option<Lease>, Error> {
        let path = self.file(sandbox_id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Io { path, source: error }),
            _ => Ok(self.leases.remove(sandbox_id)),
        }
    }

    fn remember(&mut self, lease: &Lease) {
        for (range, last) in self.ranges.iter().zip(&mut self.last) {
            *last = lease.ips.iter().find(|ip| range.contains(*ip)).copied().or(*last);
        }
    }

    fn file(&self, sandbox_id: &str) -> PathBuf {
        let safe = sandbox_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !sandbox_id.is_empty();
        let name = if safe { sandbox_id.to_owned() } else { format!("x{}", hex::encode(sandbox_id)) };
        self.dir.join(name)
    }

    fn write(&self, lease: &Lease) -> Result<(), Error> {
        let path = self.file(&lease.sandbox_id);
        let put = || -> io::Result<()> {
            let bytes = serde_json::to_vec(lease)?;
            let mut temporary = path.clone().into_os_string();
            temporary.push(".new");
            let mut file = fs::File::create(&temporary)?;
            file.write_all(&bytes)?;
            fs::rename(&temporary, &path)
        };
        put().map_err(|source| Error::Io { path: path.clone(), source })
    }
}

/// The first address for pods and the last one, as numbers: the first two of a range (its name and the node's own address)
/// and the last of an IPv4 range (broadcast) are left out.
fn bounds(range: IpNet) -> (u128, u128) {
    match range {
        IpNet::V4(net) => {
            let (first, last) =
                (u128::from(u32::from(net.network())), u128::from(u32::from(net.broadcast())));
            (first + 2, last.saturating_sub(1))
        }
        IpNet::V6(net) => (u128::from(net.network()).saturating_add(2), u128::from(net.broadcast())),
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The node's own address in a range: the first one after the range's name.
pub fn gateway(range: IpNet) -> IpAddr {
    like(range, bounds(range).0 - 1)
}

fn like(range: IpNet, value: u128) -> IpAddr {
    match range {
        IpNet::V4(_) => IpAddr::V4((value as u32).into()),
        IpNet::V6(_) => IpAddr::V6(value.into()),
    }
}

/// The next free address of `range` after `last`, starting over at the end; `None` when all are used.
pub fn next_free(range: IpNet, last: Option<IpAddr>, used: &HashSet<IpAddr>) -> Option<IpAddr> {
    let (first, end) = bounds(range);
    if first > end {
        return None;
    }
    let start = last.map(number).filter(|last| (first..end).contains(last)).map_or(first, |last| last + 1);
    // Among `used + 1` candidates in a row at least one is free, so this never walks a whole IPv6 range.
    (start..=end)
        .chain(first..start)
        .take(used.len() + 1)
        .map(|value| like(range, value))
        .find(|ip| !used.contains(ip))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_go_round() {
        let range: IpNet = "10.1.0.0/29".parse().unwrap();
        let used = |list: &[&str]| list.iter().map(|text| ip(text)).collect::<HashSet<_>>();
        let cases: &[(Option<&str>, &[&str], Option<&str>)] = &[
            (None, &[], Some("10.1.0.2")),
            (Some("10.1.0.2"), &["10.1.0.2"], Some("10.1.0.3")),
            (Some("10.1.0.6"), &["10.1.0.6"], Some("10.1.0.2")),
            (Some("10.1.0.4"), &["10.1.0.5", "10.1.0.6", "10.1.0.2"], Some("10.1.0.3")),
            (Some("10.9.9.9"), &[], Some("10.1.0.2")),
            (None, &["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"], None),
        ];
        for (last, taken, expected) in cases {
            assert_eq!(next_free(range, last.map(ip), &used(taken)), expected.map(ip), "{last:?} {taken:?}");
        }
        assert_eq!(next_free("10.1.0.0/31".parse().unwrap(), None, &used(&[])), None);
        assert_eq!(
            next_free("fd00:1::/64".parse().unwrap(), None, &used(&["fd00:1::2"])),
            Some(ip("fd00:1::3"))
        );
        assert_eq!(
            (gateway(range), gateway("fd00:1::/64".parse().unwrap())),
            (ip("10.1.0.1"), ip("fd00:1::1"))
        );
    }

    #[test]
    fn leases_survive_a_restart_and_full_ranges_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let ranges = ["10.1.0.0/29".parse().unwrap(), "fd00::/120".parse().unwrap()];
        let mut ipam = Ipam::open(dir.path(), &ranges).unwrap();
        let first = ipam.allocate("a", ("ns", "pod-a"), "fk1", &[]).unwrap();
        assert_eq!(first.ips, [ip("10.1.0.2"), ip("fd00::2")]);
        ipam.allocate("../b", ("ns", "pod-b"), "fk2", &[]).unwrap();
        ipam.release("a").unwrap();
        fs::write(dir.path().join("torn"), b"{\"sandbox_id\":\"to").unwrap();

        let mut ipam = Ipam::open(dir.path(), &ranges).unwrap();
        assert_eq!(ipam.leases().map(|lease| lease.sandbox_id.as_str()).collect::<Vec<_>>(), ["../b"]);
        assert!(!dir.path().join("torn").exists());
        // A freed address is the last choice: connections to the pod that had it may still be dying.
        let got: Vec<_> =
            (0..4).map(|i| ipam.allocate(&format!("c{i}"), ("ns", "p"), "fk", &[]).unwrap().ips[0]).collect();
        assert_eq!(got, [ip("10.1.0.4"), ip("10.1.0.5"), ip("10.1.0.6"), ip("10.1.0.2")]);
        let error = ipam.allocate("d", ("ns", "p"), "fk", &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no free address in 10.1.0.0/29: all 5 are in use by pods of this node"
        );
    }
}
