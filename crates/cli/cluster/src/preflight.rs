//! What must be true before a server starts, checked while it is still cheap to say so: root, kernel features, ports.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::{Result, bail};

/// A port that the server is about to listen on, with the option that moves it.
pub struct Port {
    /// What listens there, as in "the API server".
    pub purpose: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// The command line option that chooses another port.
    pub option: &'static str,
}

/// Refuses to go on without the rights that namespaces, mounts and nftables need.
pub fn require_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    bail!(
        "ferrokube runs containers and needs root for their namespaces, mounts and network.\n\
         Run it again as root, for example: sudo ferrokube up"
    )
}

/// Refuses when a port is taken, and names the process that has it.
pub fn require_free(ports: &[Port]) -> Result<()> {
    for port in ports {
        let Err(error) = TcpListener::bind(port.address) else { continue };
        let holder = listener(port.address.port())
            .map_or_else(|| "another process".to_owned(), |(pid, name)| format!("{name} (process {pid})"));
        bail!(
            "{} cannot listen on {}: {} ({error}).\nEnd that process, or choose another port with {}.",
            port.purpose,
            port.address,
            format_args!("the port is held by {holder}"),
            port.option
        );
    }
    Ok(())
}

/// The process that listens on a TCP port: its id and command name. `None` when it cannot be seen.
pub fn listener(port: u16) -> Option<(u32, String)> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().skip(1).find_map(|line| listening_inode(line, port))
    })?;
    let wanted = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(entry.path().join("fd"))
            .ok()?
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()));
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        holds.then(|| (pid, name.trim().to_owned()))
    })
}

/// The socket inode of a `/proc/net/tcp` line that is in the state LISTEN (0A) on `port`.
fn listening_inode(line: &str, port: u16) -> Option<u64> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let local = u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()?;
    (local == port && *fields.get(3)? == "0A").then(|| fields.get(9)?.parse().ok()).flatten()
}

/// The address by which other machines reach this one: that of the interface which has the default route, else
/// loopback. No packet is sent.
pub fn machine_address() -> IpAddr {
    let probe = || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect("192.0.2.1:9").ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    probe().filter(|address| !address.is_unspecified()).unwrap_or(IpAddr::from([127, 0, 0, 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder_and_the_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let refused =
            require_free(&[Port { purpose: "the API server", address, option: "--port" }]).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        assert!(text.contains("--port") && text.contains(&address.to_string()), "{text}");
        drop(taken);
        require_free(&[Port { purpose: "the API server", address, option: "--port" }]).unwrap();
    }

    #[test]
    fn only_listening_sockets_count() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1";
        assert_eq!(listening_inode(line, 8080), Some(4711));
        assert_eq!(listening_inode(&line.replace(" 0A ", " 01 "), 8080), None);
        assert_eq!(listening_inode("", 8080), None);
    }
}
