//! The declared edges between the workspace's crates, and the check of what `cargo metadata` says against them.
//!
//! Layers are the folders below `crates/`. A crate may import from layers above its own in [`LAYERS`], and within its
//! layer only what [`SAME_LAYER`] declares, so that the graph reads top-down and has no cycles.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The layers, lowest first.
pub const LAYERS: [&str; 10] =
    ["base", "api", "store", "server", "client", "control", "net", "node", "cli", "bin"];

/// Imports between crates of one layer, importer first.
pub const SAME_LAYER: &[(&str, &str)] = &[
    ("telemetry", "env"),
    ("outbound", "env"),
    ("outbound", "telemetry"),
    ("serving", "env"),
    ("types", "meta"),
    ("scheme", "meta"),
    ("scheme", "types"),
    ("schema", "cel"),
    ("schema", "descriptions"),
    ("schema", "meta"),
    ("schema", "scheme"),
    ("schema", "types"),
    ("rules", "meta"),
    ("rules", "types"),
    ("rules", "schema"),
    ("rules", "scheme"),
    ("rules", "cel"),
    ("call", "meta"),
    ("cel", "meta"),
    ("custom", "meta"),
    ("custom", "rules"),
    ("custom", "schema"),
    ("custom", "scheme"),
    ("custom", "types"),
    ("printers", "descriptions"),
    ("printers", "meta"),
    ("printers", "scheme"),
    ("printers", "types"),
    ("mvcc", "engine"),
    ("encryption", "mvcc"),
    ("feed", "mvcc"),
    ("aggregate", "authn"),
    ("aggregate", "webhook"),
    ("apiserver", "aggregate"),
    ("apiserver", "webhook"),
    ("authz", "authn"),
    ("flow", "authn"),
    ("admission", "authn"),
    ("admission", "authz"),
    ("admission", "webhook"),
    ("audit", "authn"),
    ("audit", "authz"),
    ("apiserver", "audit"),
    ("registry", "admission"),
    ("registry", "authn"),
    ("registry", "authz"),
    ("apiserver", "authn"),
    ("apiserver", "authz"),
    ("apiserver", "admission"),
    ("apiserver", "flow"),
    ("apiserver", "registry"),
    ("cni", "netlink"),
    ("proxy", "netlink"),
    ("delegated", "client"),
    ("informer", "client"),
    ("reconcile", "client"),
    ("reconcile", "informer"),
    ("runtime", "images"),
    ("kubelet", "images"),
    ("kubelet", "runtime"),
    ("kubelet", "volumes"),
];

/// Imports that skip a layer they must not know, whatever the order says: a client never sees a server's inside, and
/// control loops reach the cluster only through the client.
const FORBIDDEN: &[(&str, &str)] = &[
    ("client", "server"),
    ("client", "store"),
    ("control", "server"),
    ("control", "store"),
    ("net", "server"),
    ("net", "store"),
    ("net", "control"),
    ("node", "server"),
    ("node", "store"),
    ("node", "control"),
];

/// One crate of the workspace: its layer, short name and the workspace crates it imports (tests' imports left out).
struct Room {
    layer: String,
    name: String,
    imports: Vec<String>,
}

/// Every violation, one line each; empty when the graph is as declared.
pub fn violations(root: &Path) -> Result<Vec<String>> {
    let rooms = rooms(root)?;
    let layer_of: BTreeMap<&str, &str> =
        rooms.iter().map(|room| (room.name.as_str(), room.layer.as_str())).collect();
    let rank = |layer: &str| LAYERS.iter().position(|known| *known == layer);
    let mut found = Vec::new();
    for room in &rooms {
        let Some(own) = rank(&room.layer) else {
            found.push(format!("{}: unknown layer {}", room.name, room.layer));
            continue;
        };
        for import in &room.imports {
            let Some(layer) = layer_of.get(import.as_str()) else { continue };
            let edge = (room.layer.as_str(), *layer);
            let same = SAME_LAYER.contains(&(room.name.as_str(), import.as_str()));
            let fits = match rank(layer) {
                Some(other) if other == own => same,
                Some(other) => other < own && !FORBIDDEN.contains(&edge),
                None => false,
            };
            if !fits {
                found.push(format!("{}/{} imports {layer}/{import}", room.layer, room.name));
            }
        }
    }
    Ok(found)
}

fn rooms(root: &Path) -> Result<Vec<Room>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let short = |name: &str| name.strip_prefix("ferrokube-").unwrap_or(name).to_owned();
    Ok(packages
        .iter()
        .filter_map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str()?);
            let inside = manifest.strip_prefix(root.join("crates")).ok()?;
            let imports =
                package["dependencies"].as_array()?.iter().filter(|import| import["kind"].is_null());
            Some(Room {
                layer: inside.components().next()?.as_os_str().to_str()?.to_owned(),
                name: short(package["name"].as_str()?),
                imports: imports
                    .filter(|import| !import["path"].is_null())
                    .filter_map(|import| Some(short(import["name"].as_str()?)))
                    .collect(),
            })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_flow_downward() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let found = violations(root).unwrap();
        assert!(found.is_empty(), "undeclared imports:\n{}", found.join("\n"));
    }

    #[test]
    fn declared_edges_have_no_cycle() {
        let reaches = |from: &str, to: &str| {
            let mut open = vec![from];
            let mut seen = Vec::new();
            while let Some(here) = open.pop() {
                for (_, next) in SAME_LAYER.iter().filter(|(importer, _)| *importer == here) {
                    if *next == to {
                        return true;
                    }
                    if !seen.contains(next) {
                        seen.push(*next);
                        open.push(*next);
                    }
                }
            }
            false
        };
        for (importer, imported) in SAME_LAYER {
            assert!(!reaches(imported, importer), "{importer} and {imported} import each other");
        }
    }
}
