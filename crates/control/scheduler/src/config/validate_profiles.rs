//! What only shows when a profile is made of its configuration: plugins that do not exist or do not take part where they
//! are asked to, and points that nobody fills. The first finding ends it, as upstream.

use serde_json::Value;

use super::validate::{Findings, list};
use super::{Enabled, POINTS, ProfileConfig, SchedulerConfig, validate_args};
use crate::plugins::{self, Point};

/// The first reason why a profile cannot be made.
pub(super) fn first_finding(value: &Value, config: &SchedulerConfig) -> Option<String> {
    let given = list(&value["profiles"]);
    config.profiles.iter().enumerate().find_map(|(at, profile)| {
        let document = given.get(at).unwrap_or(&Value::Null);
        let why = finding(document, profile)?;
        let name = &profile.scheduler_name;
        Some(format!("initializing profiles: creating profile for scheduler name {name}: {why}"))
    })
}

fn finding(document: &Value, profile: &ProfileConfig) -> Option<String> {
    let enabled = profile.plugins.expand();
    unusable_args(document, &enabled)
        .or_else(|| misplaced(&profile.plugins))
        .or_else(|| missing(profile, &enabled))
}

fn unusable_args(document: &Value, enabled: &Enabled) -> Option<String> {
    let fit = plugins::fit::NAME;
    if !POINTS.iter().any(|(_, point)| enabled.at(*point).iter().any(|(name, _)| name == fit)) {
        return None;
    }
    let args = &list(&document["pluginConfig"]).iter().find(|one| one["name"] == fit)?["args"];
    let mut found = Findings::default();
    validate_args::fit(args, &mut found);
    if found.0.is_empty() {
        return None;
    }
    Some(format!("initializing plugin {}: {}", meta::go_quote(fit), meta::aggregate_message(&found.0)))
}

/// The order in which upstream fills the points.
const ORDER: [Point; 12] = [
    Point::PreFilter,
    Point::Filter,
    Point::PostFilter,
    Point::Reserve,
    Point::PreScore,
    Point::Score,
    Point::PreBind,
    Point::Bind,
    Point::PostBind,
    Point::Permit,
    Point::PreEnqueue,
    Point::QueueSort,
];

/// A plugin that is none, does not take part where it is listed, or is listed twice.
fn misplaced(plugins: &super::Plugins) -> Option<String> {
    let listed = |wanted: &str| -> Vec<&meta::Str> {
        let sets = plugins.sets().filter(|(name, _)| *name == wanted);
        sets.flat_map(|(_, set)| &set.enabled).map(|(name, _)| name).collect()
    };
    for point in ORDER {
        let name = POINTS.iter().find(|(_, other)| *other == point).map_or("", |(name, _)| name);
        let interface = format!("{}Plugin", point.name());
        let mut seen: Vec<&str> = Vec::new();
        for plugin in listed(name) {
            let quoted = meta::go_quote(plugin);
            match plugins::find(plugin) {
                None => return Some(format!("{interface} {quoted} does not exist")),
                Some(entry) if !entry.points.contains(&point) => {
                    return Some(format!("plugin {quoted} does not extend {interface} plugin"));
                }
                Some(_) if seen.contains(&plugin.as_str()) => {
                    return Some(format!(
                        "plugin {quoted} already registered as {}",
                        meta::go_quote(&interface)
                    ));
                }
                Some(_) => seen.push(plugin),
            }
        }
    }
    for point in ORDER {
        let interface = format!("{}Plugin", point.name());
        let mut seen: Vec<&str> = Vec::new();
        for plugin in listed("multiPoint") {
            let quoted = meta::go_quote(plugin);
            let Some(entry) = plugins::find(plugin) else {
                return Some(format!("{interface} {quoted} does not exist"));
            };
            if !entry.points.contains(&point) {
                continue;
            }
            if seen.contains(&plugin.as_str()) {
                return Some(format!("plugin {quoted} already registered as {}", meta::go_quote(&interface)));
            }
            seen.push(plugin);
        }
    }
    None
}

fn missing(profile: &ProfileConfig, enabled: &Enabled) -> Option<String> {
    let name = meta::go_quote(&profile.scheduler_name);
    let sorts = enabled.at(Point::QueueSort).len();
    if sorts != 1 {
        return Some(format!(
            "only one queue sort plugin required for profile with scheduler name {name}, but got {sorts}"
        ));
    }
    if enabled.at(Point::Bind).is_empty() {
        return Some(format!("at least one bind plugin is needed for profile with scheduler name {name}"));
    }
    None
}
