//! EventRateLimit: so many Events a second and no more, for the server, each namespace, each user, or each source and
//! object.
//!
//! A limit is a bucket of tokens per key. Buckets are kept for the keys seen last; a key that was forgotten begins with a
//! full bucket.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use env::{Bucket, Env};
use meta::{Object, Status};
use parking_lot::Mutex;
use serde::Deserialize;
use types::core::v1::Event;

use super::{Plugin, Setup};
use crate::configuration::versioned;
use crate::review::{Operation, Review, as_ref};
use crate::world::World;

/// Keys that are kept unless the configuration says otherwise.
const KEYS_DEFAULT: usize = 4096;

/// See the module.
pub struct EventRateLimit {
    limits: Vec<Limit>,
    env: Env,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    limits: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    #[serde(rename = "type")]
    per: String,
    #[serde(default)]
    qps: i32,
    #[serde(default)]
    burst: i32,
    #[serde(default)]
    cache_size: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Per {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

struct Limit {
    per: Per,
    qps: u32,
    burst: u32,
    buckets: Mutex<Buckets>,
}

impl EventRateLimit {
    /// As the plugin's document says.
    pub(super) fn configured(setup: &Setup<'_>) -> Result<Self, String> {
        let entries = match setup.document("EventRateLimit") {
            Some(document) => {
                let versions = ["eventratelimit.admission.k8s.io/v1alpha1"];
                versioned::<Document>(document, "Configuration", &versions)?.limits
            }
            None => Vec::new(),
        };
        if entries.is_empty() {
            return Err("limits: Invalid value: null: must not be empty".to_owned());
        }
        let limits = entries.iter().enumerate().map(|(index, entry)| limit(index, entry));
        Ok(Self { limits: limits.collect::<Result<_, _>>()?, env: setup.env.clone() })
    }
}

fn limit(index: usize, entry: &Entry) -> Result<Limit, String> {
    let per = match entry.per.as_str() {
        "Server" => Per::Server,
        "Namespace" => Per::Namespace,
        "User" => Per::User,
        "SourceAndObject" => Per::SourceAndObject,
        other => {
            return Err(format!(
                "limits[{index}].type: Unsupported value: {other:?}: supported values: \"Namespace\", \"Server\", \"SourceAndObject\", \"User\""
            ));
        }
    };
    let positive = |field: &str, value: i32| {
        let wrong = || format!("limits[{index}].{field}: Invalid value: {value}: must be positive");
        u32::try_from(value).ok().filter(|value| *value > 0).ok_or_else(wrong)
    };
    let (burst, qps) = (positive("burst", entry.burst)?, positive("qps", entry.qps)?);
    let keys = match usize::try_from(entry.cache_size) {
        _ if per == Per::Server => 1,
        Ok(0) => KEYS_DEFAULT,
        Ok(keys) => keys,
        Err(_) => {
            let size = entry.cache_size;
            return Err(format!("limits[{index}].cacheSize: Invalid value: {size}: must not be negative"));
        }
    };
    Ok(Limit { per, qps, burst, buckets: Mutex::new(Buckets::new(keys)) })
}

impl Plugin for EventRateLimit {
    fn name(&self) -> &'static str {
        "EventRateLimit"
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        _: &dyn World,
    ) -> Result<(), Status> {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        if !writes || review.dry_run || !review.on("", "events") {
            return Ok(());
        }
        let now = self.env.clock.monotonic();
        let mut refusal = Ok(());
        // Every limit counts every event, also one that another limit refuses.
        for limit in &self.limits {
            let key = limit.key(review, object);
            if !limit.take(&key, now) {
                let message =
                    format!("Too many requests: limit reached on type {:?} for key {key}", limit.per);
                refusal = Err(Status::failure(429, "TooManyRequests", message));
            }
        }
        refusal
    }
}

impl Limit {
    fn key(&self, review: &Review<'_>, object: Option<&dyn Object>) -> String {
        match self.per {
            Per::Server => String::new(),
            Per::Namespace => review.namespace().to_string(),
            Per::User => review.user.name.to_string(),
            Per::SourceAndObject => {
                let Some(event) = object.and_then(as_ref::<Event>) else { return String::new() };
                let (source, about) = (&event.source, &event.involved_object);
                [
                    source.component.as_str(),
                    source.host.as_str(),
                    about.kind.as_str(),
                    about.namespace.as_str(),
                    about.name.as_str(),
                    about.uid.as_str(),
                    about.api_version.as_str(),
                ]
                .concat()
            }
        }
    }

    fn take(&self, key: &str, now: Duration) -> bool {
        let fresh = Bucket::full(f64::from(self.qps), self.burst, now);
        self.buckets.lock().of(key, fresh).take(now)
    }
}

/// The buckets of the keys used last.
struct Buckets {
    keys_max: usize,
    by_key: HashMap<String, (u64, Bucket)>,
    by_use: BTreeMap<u64, String>,
    uses: u64,
}

impl Buckets {
    fn new(keys_max: usize) -> Self {
        Self { keys_max, by_key: HashMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    /// The bucket of a key, which counts as used; `fresh` for a new key, for which the one used longest ago goes.
    fn of(&mut self, key: &str, fresh: Bucket) -> &mut Bucket {
        self.uses += 1;
        if let Some((used, _)) = self.by_key.get(key) {
            self.by_use.remove(used);
        } else if self.by_key.len() >= self.keys_max
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_key.remove(&oldest);
        }
        self.by_use.insert(self.uses, key.to_owned());
        let entry = self.by_key.entry(key.to_owned()).or_insert((self.uses, fresh));
        entry.0 = self.uses;
        &mut entry.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(per: &str, qps: i32, burst: i32, cache_size: i32) -> Entry {
        Entry { per: per.into(), qps, burst, cache_size }
    }

    #[test]
    fn a_limit_is_a_burst_and_then_so_many_a_second() {
        let limit = limit(0, &entry("Server", 2, 3, 0)).expect("a limit");
        let taken = |times: usize, s| (0..times).filter(|_| limit.take("", Duration::from_secs(s))).count();
        assert_eq!((taken(5, 0), taken(5, 1), taken(5, 60)), (3, 2, 3));
    }

    #[test]
    fn the_key_used_longest_ago_is_forgotten() {
        let limit = limit(0, &entry("User", 1, 1, 2)).expect("a limit");
        let take = |key| limit.take(key, Duration::ZERO);
        assert!(take("a") && take("b"));
        assert!(!take("a"), "a is used again and stays");
        assert!(take("c"), "c comes, b goes");
        assert!(!take("a"));
        assert!(take("b"));
        assert_eq!(limit.buckets.lock().by_key.len(), 2);
        assert_eq!(limit.buckets.lock().by_use.len(), 2);
    }

    #[test]
    fn unusable_limits_are_refused() {
        for (given, says) in [
            (entry("Pod", 1, 1, 0), "limits[0].type: Unsupported value: \"Pod\""),
            (entry("User", 0, 1, 0), "limits[0].qps: Invalid value: 0: must be positive"),
            (entry("User", 1, -1, 0), "limits[0].burst: Invalid value: -1: must be positive"),
            (entry("User", 1, 1, -1), "limits[0].cacheSize: Invalid value: -1: must not be negative"),
        ] {
            let error = limit(0, &given).err().expect("refused");
            assert!(error.starts_with(says), "{error}");
        }
    }
}
