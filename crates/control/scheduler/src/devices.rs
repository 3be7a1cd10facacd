//! Which devices claims have, and how much of the capacity of devices that several may share: followed claim by claim.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use meta::Str;
use types::resource::v1::ResourceClaim;

/// Driver, pool and name of a device.
pub type DeviceId = (Str, Str, Str);

/// Amounts by the capacity's short name ([`short_name`]), in thousand-millionths.
pub type Amounts = BTreeMap<Str, i128>;

/// The devices in use.
#[derive(Default)]
pub struct Devices {
    whole: HashMap<DeviceId, i64>,
    shared: HashMap<DeviceId, Shares>,
}

#[derive(Default)]
struct Shares {
    count: i64,
    consumed: Amounts,
}

/// A capacity's or attribute's name without the driver's own domain.
pub fn short_name(driver: &str, name: &str) -> Str {
    let own = name.split_once('/').filter(|(domain, _)| *domain == driver);
    own.map_or(name, |(_, short)| short).into()
}

impl Devices {
    /// Counts what a claim has (`by` 1), or does not any more (`by` -1). Administrators' access takes nothing away.
    pub fn count(&mut self, claim: &ResourceClaim, by: i64) {
        let Some(allocation) = &claim.status.allocation else { return };
        for result in allocation.devices.results.iter().filter(|result| result.admin_access != Some(true)) {
            let id = (result.driver.clone(), result.pool.clone(), result.device.clone());
            if result.share_id.is_none() {
                let uses = self.whole.entry(id.clone()).or_default();
                *uses += by;
                if *uses == 0 {
                    self.whole.remove(&id);
                }
                continue;
            }
            let shares = self.shared.entry(id.clone()).or_default();
            shares.count += by;
            for (name, amount) in &result.consumed_capacity {
                let consumed = shares.consumed.entry(short_name(&result.driver, name)).or_default();
                *consumed += amount.nanos() * i128::from(by);
            }
            if shares.count == 0 {
                self.shared.remove(&id);
            }
        }
    }

    /// Whether a claim has the whole device.
    pub fn is_taken(&self, id: &DeviceId) -> bool {
        self.whole.contains_key(id)
    }

    /// What claims that share the device consume of it; `None` when none does.
    pub fn shared(&self, id: &DeviceId) -> Option<&Amounts> {
        self.shared.get(id).map(|shares| &shares.consumed)
    }
}

#[cfg(test)]
mod tests {
    use meta::Codec;

    use super::*;

    #[test]
    fn shares_add_up_and_end() {
        let text = r#"{"status":{"allocation":{"devices":{"results":[
            {"request":"r","driver":"d","pool":"p","device":"x","shareID":"1","consumedCapacity":{"d/memory":"2","bandwidth":"500m"}},
            {"request":"r","driver":"d","pool":"p","device":"y"},
            {"request":"r","driver":"d","pool":"p","device":"z","adminAccess":true}]}}}}"#;
        let claim = ResourceClaim::from_json(text.as_bytes()).unwrap();
        let id = |name: &str| (Str::from("d"), Str::from("p"), Str::from(name));
        let mut devices = Devices::default();
        devices.count(&claim, 1);
        devices.count(&claim, 1);
        let consumed = devices.shared(&id("x")).unwrap();
        assert_eq!((consumed["memory"], consumed["bandwidth"]), (4_000_000_000, 1_000_000_000));
        assert_eq!((devices.is_taken(&id("y")), devices.is_taken(&id("z"))), (true, false));
        devices.count(&claim, -1);
        devices.count(&claim, -1);
        assert!(devices.shared(&id("x")).is_none() && !devices.is_taken(&id("y")));
    }
}
