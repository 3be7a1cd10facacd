//! What one request takes of addresses and ports: for real, or in a dry run only as it would. A dry run holds nothing, not
//! even for a moment, and answers with upstream's stand-ins.

use std::net::IpAddr;

use super::addresses::{AddressError, Addresses};
use super::numbers::Lease;
use super::ports::{PortError, Ports};

/// The number before the first port that a dry run makes up.
const MADE_UP_AFTER: u16 = 32768;

/// The takings of one request.
pub struct Taking<'a> {
    ports: &'a Ports,
    dry_run: bool,
    /// Ports of a dry run.
    planned: Vec<u16>,
    leases: Vec<Lease>,
}

impl<'a> Taking<'a> {
    /// Nothing taken yet.
    pub fn new(ports: &'a Ports, dry_run: bool) -> Self {
        Taking { ports, dry_run, planned: Vec::new(), leases: Vec::new() }
    }

    /// What was taken, to be kept or to be given back.
    pub fn into_leases(self) -> Vec<Lease> {
        self.leases
    }

    /// Takes a certain port.
    pub fn port(&mut self, port: u16) -> Result<(), PortError> {
        if !self.dry_run {
            self.leases.push(self.ports.take(port)?);
        } else if self.ports.has(port) || self.planned.contains(&port) {
            return Err(PortError::Taken);
        } else {
            self.planned.push(port);
        }
        Ok(())
    }

    /// Takes any port.
    pub fn any_port(&mut self, random: u64) -> Result<u16, PortError> {
        if self.dry_run {
            let port = self.planned.iter().max().copied().unwrap_or(MADE_UP_AFTER).saturating_add(1);
            self.planned.push(port);
            return Ok(port);
        }
        let lease = self.ports.take_any(random)?;
        let port = self.ports.port(&lease);
        self.leases.push(lease);
        Ok(port)
    }

    /// Takes a certain address. A dry run does not look whether it is free.
    pub fn address(&mut self, range: &Addresses, ip: IpAddr) -> Result<(), AddressError> {
        if self.dry_run {
            return range.check(ip);
        }
        self.leases.push(range.take(ip)?);
        Ok(())
    }

    /// Takes any address; in a dry run that of the network itself.
    pub fn any_address(&mut self, range: &Addresses, random: u64) -> Result<IpAddr, AddressError> {
        if self.dry_run {
            return Ok(range.range().network());
        }
        let lease = range.take_any(random)?;
        let ip = range.address(&lease);
        self.leases.push(lease);
        Ok(ip)
    }

    /// Gives the address back that was taken last.
    pub fn give_back(&mut self) {
        if !self.dry_run {
            self.leases.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dry_runs_hold_nothing() {
        let ports = Ports::new(30000..=32767);
        let range = Addresses::new("10.96.0.0/16".parse().unwrap());
        let held = ports.take(30001).unwrap();
        let mut dry = Taking::new(&ports, true);
        assert_eq!(dry.any_port(0), Ok(32769));
        assert_eq!(dry.any_port(0), Ok(32770));
        assert_eq!(dry.port(30001), Err(PortError::Taken));
        assert_eq!(dry.port(30002), Ok(()));
        assert_eq!(dry.port(30002), Err(PortError::Taken), "its own");
        assert_eq!(dry.port(1), Ok(()), "the range is not looked at");
        assert_eq!(dry.any_address(&range, 0).unwrap().to_string(), "10.96.0.0");
        assert!(dry.address(&range, "10.97.0.1".parse().unwrap()).is_err());
        assert!(!ports.has(30002));
        let mut real = Taking::new(&ports, false);
        assert_eq!(real.port(30002), Ok(()));
        assert_eq!(real.port(30001), Err(PortError::Taken));
        assert!(ports.has(30002));
        drop(real);
        assert!(!ports.has(30002), "what was not kept is given back");
        drop(held);
    }
}
