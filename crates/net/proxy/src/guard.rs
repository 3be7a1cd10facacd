//! Hears when somebody else takes the proxy's table away (`nft flush ruleset`, a firewall that starts over), so that it is put back at
//! once and not at the next change of a service.

use netlink::{Error, Socket, nft};
use tokio::io::unix::AsyncFd;

/// Watches over one table.
pub struct Guard {
    events: AsyncFd<Socket>,
    table: String,
}

impl Guard {
    /// Starts to watch. Must be called inside the runtime, in the network namespace of the table.
    pub fn new(table: &str) -> Result<Guard, Error> {
        let socket = nft::monitor()?;
        // SAFETY: the socket owns its descriptor, always gives the same one, and closes it only when it is dropped.
        let events = unsafe { AsyncFd::register(socket) }
            .map_err(|source| Error::Io { action: "watch nftables", source: source.into() })?;
        Ok(Guard { events, table: table.to_owned() })
    }

    /// Resolves when the table is gone. May be dropped and called again without missing anything.
    pub async fn gone(&self) {
        loop {
            let Ok(mut ready) = self.events.readable().await else {
                // Only when the runtime ends.
                return std::future::pending().await;
            };
            let suspicious = match self.events.get_ref().try_receive() {
                Ok(Some(datagram)) => nft::tells_of_removal(&datagram, &self.table),
                Ok(None) => {
                    ready.clear_ready();
                    false
                }
                // Events were lost: one of them may have been it.
                Err(_) => true,
            };
            if suspicious && matches!(self.exists(), Ok(false)) {
                return;
            }
        }
    }

    /// One short question; what it costs is below what handing it to another thread would.
    fn exists(&self) -> Result<bool, Error> {
        nft::table_exists(&mut Socket::netfilter()?, &self.table)
    }
}
