//! Scripted worlds: objects in YAML-like JSON, one look, and the plan as text.

use std::sync::Arc;

use informer::{Informers, Key};
use meta::{DecodeContext, Object};
use reconcile::{Plan, Reconciler, World};
use serde_json::Value;
use types::core::v1::Pod;

/// 2026-01-01T00:00:00Z in milliseconds.
pub(crate) const NOW_MS: i64 = 1_767_225_600_000;

/// An object out of its JSON form.
pub(crate) fn object(value: Value) -> Arc<dyn Object> {
    let json = value.to_string();
    Arc::from(
        scheme::decode_json(json.as_bytes(), &mut DecodeContext::lenient())
            .expect("the test's JSON is an object"),
    )
}

/// What `reconciler` wants done about `key` in a world of `objects`.
pub(crate) fn look(reconciler: &impl Reconciler, key: (&str, &str), objects: &[Value]) -> String {
    let objects: Vec<Arc<dyn Object>> = objects.iter().cloned().map(object).collect();
    let informers = Informers::fixed(objects);
    informers.cache::<Pod>().index("node", |pod| vec![pod.spec.node_name.clone()]);
    let world = World::new(informers, NOW_MS);
    let mut plan = Plan::new();
    let next = reconciler.reconcile(&Key::new(key.0, key.1), &world, &mut plan);
    format!("{}{next:?}\n", plan.render())
}
