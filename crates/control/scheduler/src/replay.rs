//! Replays recorded decisions of kube-scheduler against the core: objects and pods in, feasible sets, scores, messages and
//! victims compared. The form of the recordings is described beside them.

mod compare;
mod scenario;

use std::collections::BTreeMap;
use std::path::Path;

pub use scenario::Scenario;

/// Scenarios and attempts of one family: all of them, and those that came out equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Scenarios.
    pub scenarios: usize,
    /// Scenarios without any difference.
    pub scenarios_equal: usize,
    /// Steps with at least one attempt.
    pub steps: usize,
    /// Steps without any difference.
    pub steps_equal: usize,
}

/// What a replay found.
#[derive(Debug, Default)]
pub struct Report {
    /// By family.
    pub families: BTreeMap<String, Total>,
    /// Differences, one a line, the first of each step.
    pub differences: Vec<String>,
}

impl Report {
    /// Whether everything was equal.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sum = Total::default();
        for (family, total) in &self.families {
            let Total { scenarios, scenarios_equal, steps, steps_equal } = total;
            writeln!(
                f,
                "{family:36} {scenarios_equal:3} of {scenarios:3} scenarios  {steps_equal:4} of {steps:4} steps"
            )?;
            sum.scenarios += scenarios;
            sum.scenarios_equal += scenarios_equal;
            sum.steps += steps;
            sum.steps_equal += steps_equal;
        }
        let Total { scenarios, scenarios_equal, steps, steps_equal } = sum;
        write!(
            f,
            "{:36} {scenarios_equal:3} of {scenarios:3} scenarios  {steps_equal:4} of {steps:4} steps",
            "all"
        )
    }
}

/// Replays every scenario in `folder` whose name contains `only`.
///
/// # Errors
/// A file that cannot be read or is no scenario.
pub fn replay(folder: &Path, only: &str) -> Result<Report, String> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .map_err(|error| format!("{}: {error}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter(|path| path.to_string_lossy().contains(only))
        .collect();
    files.sort();
    let mut report = Report::default();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        let scenario = Scenario::new(value)?;
        let (family, total, differences) = scenario.run();
        let sum = report.families.entry(family).or_default();
        sum.scenarios += 1;
        sum.scenarios_equal += usize::from(differences.is_empty());
        sum.steps += total.steps;
        sum.steps_equal += total.steps_equal;
        report.differences.extend(differences);
    }
    Ok(report)
}
