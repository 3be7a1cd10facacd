//! Nodes that are only supposed.

use anyhow::{Context, Result};
use meta::Quantity;
use types::core::v1::Node;

/// A node of a shape such as `cpu=8,memory=32Gi,disk=ssd`.
pub(super) fn shaped(shape: &str, name: &str) -> Result<Node> {
    let mut node = Node::default();
    node.metadata.name = name.into();
    node.metadata.labels.insert("kubernetes.io/hostname", name.into());
    node.status.allocatable.insert("pods", quantity("110")?);
    for item in shape.split(',').filter(|item| !item.is_empty()) {
        let (key, value) = item.split_once('=').with_context(|| format!("{item:?} is not KEY=VALUE"))?;
        let native =
            matches!(key, "cpu" | "memory" | "ephemeral-storage" | "pods") || key.starts_with("hugepages-");
        if native || ::scheduler::plugins::fit::is_extended(key) && value.parse::<u64>().is_ok() {
            node.status.allocatable.insert(key, quantity(value)?);
        } else {
            node.metadata.labels.insert(key, value.into());
        }
    }
    Ok(node)
}

fn quantity(text: &str) -> Result<Quantity> {
    text.parse().map_err(|error| anyhow::anyhow!("{text:?} is no quantity: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_resources_and_labels() {
        let node = shaped("cpu=8,memory=1Gi,example.com/gpu=2,disk=ssd", "x").unwrap();
        assert_eq!(node.status.allocatable.get("cpu").unwrap().milli_value(), 8000);
        assert_eq!(node.status.allocatable.get("example.com/gpu").unwrap().value(), 2);
        assert_eq!(node.metadata.label("disk"), "ssd");
        assert!(shaped("cpu", "x").is_err() && shaped("cpu=lots", "x").is_err());
    }
}
