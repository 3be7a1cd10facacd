//! Facts about structs by OpenAPI model name (`io.k8s.api.core.v1.PodSpec`): what schemas and patches are built from.

use std::collections::HashMap;
use std::sync::LazyLock;

use meta::TypeInfo;

static BY_MODEL: LazyLock<HashMap<&'static str, &'static TypeInfo>> =
    LazyLock::new(|| all().map(|info| (info.model, info)).collect());

/// The facts about a struct; its fields lead on to the structs inside it.
pub fn of(model: &str) -> Option<&'static TypeInfo> {
    BY_MODEL.get(model).copied()
}

/// The facts about every struct of the API.
pub fn all() -> impl Iterator<Item = &'static TypeInfo> {
    types::ALL.iter().chain(meta::v1::ALL).copied()
}
