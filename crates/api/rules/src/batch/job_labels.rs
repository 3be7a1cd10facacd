//! The selector and labels that tie pods to a job when the user does not choose them.

use crate::check::{Errs, labels};
use crate::{Context, Path};
use meta::v1::LabelSelector;
use meta::{BadValue, Map, Str};
use types::batch::v1::Job;

const UID: &str = "batch.kubernetes.io/controller-uid";
const NAME: &str = "batch.kubernetes.io/job-name";
const OLD_UID: &str = "controller-uid";
const OLD_NAME: &str = "job-name";

/// Gives a new job its selector and its pods their labels, unless the user manages them.
///
/// A job that got its labels from its pods' has the generated ones too: upstream's defaulting lets both share one map.
pub(super) fn generate(job: &mut Job, cx: &Context) {
    if job.spec.manual_selector == Some(true) {
        return;
    }
    let shared = cx.unlabelled
        && !job.metadata.labels.is_empty()
        && job.metadata.labels == job.spec.template.metadata.labels;
    let (uid, name) = (job.metadata.uid.clone(), job.metadata.name.clone());
    let of_pods = &mut job.spec.template.metadata.labels;
    for (key, value) in [(OLD_UID, &uid), (UID, &uid), (OLD_NAME, &name), (NAME, &name)] {
        // A label that the user set is left for validation to refuse.
        if !of_pods.contains_key(key) {
            of_pods.insert(key, value.clone());
        }
    }
    if shared {
        job.metadata.labels = of_pods.clone();
    }
    let selector = job.spec.selector.get_or_insert_default();
    if !selector.match_labels.contains_key(UID) {
        selector.match_labels.insert(UID, uid);
    }
}

/// The labels of the pods must be those that were generated.
pub(super) fn check(e: &mut Errs, job: &Job) {
    if job.spec.manual_selector == Some(true) {
        return;
    }
    let Some(selector) = &job.spec.selector else { return };
    if job.metadata.uid.is_empty() {
        e.required(&Path::root("metadata").child("uid"), "");
    }
    let spec = Path::root("spec");
    let template = spec.child("template");
    let metadata = template.child("metadata");
    let of_pods = &job.spec.template.metadata.labels;
    let expected = [
        (OLD_UID, &job.metadata.uid),
        (OLD_NAME, &job.metadata.name),
        (UID, &job.metadata.uid),
        (NAME, &job.metadata.name),
    ];
    for (key, value) in expected {
        let labels = metadata.child("labels");
        match of_pods.get(key) {
            None => e.required(&labels.key(key), format!("must be '{value}'")),
            Some(found) if found != value => {
                e.invalid(&labels.key(key), BadValue::of(of_pods), format!("must be '{value}'"));
            }
            Some(_) => {}
        }
    }
    let generated: Map<Str> = expected.into_iter().map(|(k, v)| (k, v.clone())).collect();
    if labels::usable_selector(&mut Errs::new(), &spec, selector) && !labels::matches(selector, &generated) {
        e.invalid(
            &spec.child("selector"),
            BadValue::json::<LabelSelector>(selector),
            "`selector` not auto-generated",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_a_job_that_came_without_any() {
        // labels of the job, labels of its pods, whether it manages its selector; then whether it has the generated ones
        let table = [
            (&[][..], &[("a", "b")][..], false, true),
            (&[("a", "b")], &[("a", "b")], false, false),
            (&[], &[("a", "b")], true, false),
            (&[], &[], false, false),
        ];
        let labels =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (Str::from(*k), Str::from(*v))).collect();
        for (of_job, of_pods, manual, expected) in table {
            let mut job = Job::default();
            job.metadata.name = "j".into();
            job.metadata.uid = "u".into();
            job.metadata.labels = labels(of_job);
            job.spec.template.metadata.labels = labels(of_pods);
            job.spec.manual_selector = manual.then_some(true);
            let cx = Context { unlabelled: of_job.is_empty(), ..Context::default() };
            crate::Rules::default(&mut job);
            crate::Rules::prepare_create(&mut job, &cx);
            let found = job.metadata.labels.get(NAME).map(Str::as_str) == Some("j");
            assert_eq!(found, expected, "{of_job:?} {of_pods:?} {manual}");
        }
    }
}
