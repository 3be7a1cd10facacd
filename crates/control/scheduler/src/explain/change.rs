//! Changes that would make a pod fit.

use meta::Str;

/// A change of a pod or a node that ends a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The pod asks for so much less of a resource: thousandths of a core, bytes or pieces.
    Less {
        /// Which one.
        resource: Str,
        /// How much less.
        amount: i64,
    },
    /// The pod tolerates this taint.
    Tolerate {
        /// Its key.
        key: Str,
        /// Its value, empty for none.
        value: Str,
        /// Its effect.
        effect: Str,
    },
    /// The node is uncordoned.
    Uncordon,
    /// The node is labelled so.
    Label(Vec<(Str, Str)>),
    /// Nobody has this port of the node.
    FreePort {
        /// Its number.
        port: i32,
        /// Its protocol.
        protocol: Str,
    },
    /// So many pods less run on the node.
    FewerPods(i64),
    /// These pods, `namespace/name`, are gone.
    Without(Vec<Str>),
    /// A pod like this runs in the node's domain.
    Near {
        /// Its namespace.
        namespace: Str,
        /// What is asked of its labels.
        selector: Str,
        /// The label of nodes that says what a domain is.
        key: Str,
    },
    /// The node has this label, with a value that no other node has.
    OwnDomain(Str),
    /// The pod may be spread so unevenly.
    MaxSkew {
        /// `topologyKey` of the constraint.
        key: Str,
        /// Its `maxSkew`.
        skew: i64,
    },
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Less { resource, amount } => match resource.as_str() {
                "cpu" => write!(f, "{amount}m less cpu is asked"),
                "memory" | "ephemeral-storage" if amount % (1 << 20) == 0 => {
                    write!(f, "{}Mi less {resource} is asked", amount >> 20)
                }
                _ => write!(f, "{amount} less {resource} is asked"),
            },
            Change::Tolerate { key, value, effect } => {
                let equal = if value.is_empty() { "" } else { "=" };
                write!(f, "it tolerates {key}{equal}{value}:{effect}")
            }
            Change::Uncordon => f.write_str("the node is uncordoned"),
            Change::Label(labels) => {
                let each: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "the node is labelled {}", each.join(","))
            }
            Change::FreePort { port, protocol } => write!(f, "host port {port}/{protocol} is free"),
            Change::FewerPods(1) => f.write_str("one pod less runs there"),
            Change::FewerPods(pods) => write!(f, "{pods} pods less run there"),
            Change::Without(pods) => {
                let are = if pods.len() == 1 { "is" } else { "are" };
                write!(f, "{} {are} gone", pods.join(", "))
            }
            Change::Near { namespace, selector, key } => {
                write!(f, "a pod of namespace {namespace} with {selector} runs in its {key}")
            }
            Change::OwnDomain(key) => write!(f, "the node has a label {key} with a value of its own"),
            Change::MaxSkew { key, skew } => write!(f, "maxSkew over {key} is {skew}"),
        }
    }
}
