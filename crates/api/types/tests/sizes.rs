//! Memory: a cluster holds tens of thousands of these, so their sizes are part of the contract.

use std::mem::size_of;

use types::core::v1::{Container, Pod, PodSpec, PodStatus, Volume};

#[test]
fn structs_stay_small() {
    let cases = [
        ("Str", size_of::<meta::Str>(), 16),
        ("Quantity", size_of::<meta::Quantity>(), 16),
        ("Option<Time>", size_of::<Option<meta::Time>>(), 16),
        ("Map", size_of::<meta::Map<meta::Str>>(), 8),
        ("List", size_of::<meta::List<Pod>>(), 8),
        ("ObjectMeta", size_of::<meta::ObjectMeta>(), 208),
        ("Pod", size_of::<Pod>(), 224),
        ("PodSpec", size_of::<PodSpec>(), 520),
        ("PodStatus", size_of::<PodStatus>(), 264),
        ("Container", size_of::<Container>(), 264),
        ("Volume", size_of::<Volume>(), 264),
    ];
    for (name, size, limit) in cases {
        println!("{name}: {size} bytes");
        assert!(size <= limit, "{name} grew to {size} bytes, {limit} are allowed");
    }
}
