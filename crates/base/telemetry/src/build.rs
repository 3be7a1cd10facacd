//! Which build this is: what `/version` tells and `kubernetes_build_info` shows.

use crate::exposition::Exposition;

/// The version of Kubernetes whose API this is, with this project's own.
pub const VERSION: &str = concat!("v1.36.0+ferrokube.", env!("CARGO_PKG_VERSION"));

/// The build, by upstream's names of the metric's labels (`version.Info` of apimachinery).
pub fn build() -> [(&'static str, String); 9] {
    let text = |text: &str| text.to_owned();
    [
        ("build_date", text(option_env!("FERROKUBE_BUILD_DATE").unwrap_or("1970-01-01T00:00:00Z"))),
        ("compiler", text("rustc")),
        ("git_commit", text(option_env!("FERROKUBE_COMMIT").unwrap_or("unknown"))),
        ("git_tree_state", text(option_env!("FERROKUBE_TREE_STATE").unwrap_or("unknown"))),
        ("git_version", text(VERSION)),
        ("go_version", text("none")),
        ("major", text("1")),
        ("minor", text("36")),
        ("platform", format!("{}/{}", std::env::consts::OS, architecture())),
    ]
}

/// The machine's architecture in Go's spelling.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub(crate) fn collect(page: &mut Exposition) {
    let labels = build().map(|(name, value)| (name, value.into_boxed_str()));
    page.header("kubernetes_build_info", "The build that runs, with the constant 1.", "gauge");
    page.sample("kubernetes_build_info", &labels, 1.0);
}
