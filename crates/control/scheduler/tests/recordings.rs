//! Decisions recorded from kube-scheduler, replayed over the core. They lie beside the repository; where they do not, the
//! test says `skipped`.

use std::path::PathBuf;

/// `FERROKUBE_SCHEDULER_ORACLE`, or the nearest `shared/scheduler-oracle` beside the workspace or above it.
fn recordings() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("FERROKUBE_SCHEDULER_ORACLE") {
        return Some(folder.into());
    }
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().map(|folder| folder.join("shared/scheduler-oracle")).find(|folder| folder.is_dir())
}

#[test]
fn decisions_equal_those_recorded() {
    let Some(folder) = recordings() else {
        println!("skipped: no recordings beside the repository");
        return;
    };
    let only = std::env::var("ONLY").unwrap_or_default();
    let report = scheduler::replay::replay(&folder.join("scenarios"), &only).unwrap();
    println!("{report}");
    assert!(report.is_equal(), "{}", report.differences.join("\n"));
}
