//! Events, in the core group and in their own.

use crate::check::{Errs, NameCheck, dns_subdomain, path_segment, qualified_name};
use crate::diff::{shown, shown_option};
use crate::{Context, Path, Rules};
use meta::{BadValue, MicroTime, Str};
use types::core::v1::{Event, ObjectReference};
use types::events::v1 as new;

const REASON_CHARS_MAX: usize = 128;
const NOTE_CHARS_MAX: usize = 1024;

/// What both forms of an event hold.
struct View<'a> {
    namespace: &'a Str,
    subject: &'a ObjectReference,
    time: Option<&'a MicroTime>,
    controller: &'a Str,
    instance: &'a Str,
    action: &'a Str,
    reason: &'a Str,
    message: &'a Str,
    kind: &'a Str,
}

const FIELD_LABELS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

fn subject_field(subject: &ObjectReference, label: &str) -> Option<Str> {
    Some(match label {
        "kind" => subject.kind.clone(),
        "namespace" => subject.namespace.clone(),
        "name" => subject.name.clone(),
        "uid" => subject.uid.clone(),
        "apiVersion" => subject.api_version.clone(),
        "resourceVersion" => subject.resource_version.clone(),
        "fieldPath" => subject.field_path.clone(),
        _ => return None,
    })
}

impl Rules for Event {
    // Older events are judged by what every object is judged by.
    const NAME: NameCheck = path_segment;
    const KNOWN_FINALIZERS: bool = false;
    const RECHECKS_UPDATED_METADATA: bool = false;
    const CREATE_ON_UPDATE: bool = true;
    const FIELD_LABELS: &'static [&'static str] = FIELD_LABELS;

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let view = View {
            namespace: &self.metadata.namespace,
            subject: &self.involved_object,
            time: self.event_time.as_ref(),
            controller: &self.reporting_component,
            instance: &self.reporting_instance,
            action: &self.action,
            reason: &self.reason,
            message: &self.message,
            kind: &self.type_,
        };
        common(e, &view, "reportingComponent");
    }

    fn check_update(&self, _old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
    }

    fn field(&self, label: &str) -> Option<Str> {
        if let Some(rest) = label.strip_prefix("involvedObject.") {
            return subject_field(&self.involved_object, rest);
        }
        Some(match label {
            "reason" => self.reason.clone(),
            "reportingComponent" => self.reporting_component.clone(),
            "source" if self.source.component.is_empty() => self.reporting_component.clone(),
            "source" => self.source.component.clone(),
            "type" => self.type_.clone(),
            _ => return None,
        })
    }
}

/// The newer form as both are looked at.
fn view(event: &new::Event) -> View<'_> {
    View {
        namespace: &event.metadata.namespace,
        subject: &event.regarding,
        time: event.event_time.as_ref(),
        controller: &event.reporting_controller,
        instance: &event.reporting_instance,
        action: &event.action,
        reason: &event.reason,
        message: &event.note,
        kind: &event.type_,
    }
}

impl Rules for new::Event {
    const CREATE_ON_UPDATE: bool = true;
    const FIELD_LABELS: &'static [&'static str] = &[
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reason",
        "reportingController",
        "type",
    ];

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let view = view(self);
        common(e, &view, "reportingController");
        strict(e, &view, self);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        common(e, &view(self), "reportingController");
        if self.series != old.series {
            series(e, self);
        }
        let at = |field| Path::root(field);
        let text = |e: &mut Errs, field: &'static str, now: &Str, then: &Str| {
            e.immutable(&at(field), now, then, || now.into());
        };
        e.immutable(&at("involvedObject"), &self.regarding, &old.regarding, || shown(&self.regarding));
        text(e, "reason", &self.reason, &old.reason);
        text(e, "message", &self.note, &old.note);
        let (source, was) = (&self.deprecated_source, &old.deprecated_source);
        e.immutable(&at("source"), source, was, || shown(source));
        let (first, was) = (&self.deprecated_first_timestamp, &old.deprecated_first_timestamp);
        e.immutable(&at("firstTimestamp"), first, was, || BadValue::of(first));
        let (last, was) = (&self.deprecated_last_timestamp, &old.deprecated_last_timestamp);
        e.immutable(&at("lastTimestamp"), last, was, || BadValue::of(last));
        let count = self.deprecated_count;
        e.immutable(&at("count"), &count, &old.deprecated_count, || count.into());
        text(e, "reason", &self.reason, &old.reason);
        text(e, "type", &self.type_, &old.type_);
        e.immutable(&at("eventTime"), &self.event_time, &old.event_time, || BadValue::of(&self.event_time));
        text(e, "action", &self.action, &old.action);
        let related = self.related.as_deref();
        e.immutable(&at("related"), &related, &old.related.as_deref(), || shown_option(related));
        text(e, "reportingController", &self.reporting_controller, &old.reporting_controller);
        text(e, "reportingInstance", &self.reporting_instance, &old.reporting_instance);
    }

    fn field(&self, label: &str) -> Option<Str> {
        if let Some(rest) = label.strip_prefix("regarding.") {
            return subject_field(&self.regarding, rest);
        }
        Some(match label {
            "reason" => self.reason.clone(),
            "reportingController" => self.reporting_controller.clone(),
            "type" => self.type_.clone(),
            _ => return None,
        })
    }
}

/// What both forms are held to: an event with a time is a new one, and new ones say more.
fn common(e: &mut Errs, v: &View<'_>, controller_field: &str) {
    let subject = Path::root("involvedObject");
    let at = subject.child("namespace");
    let (home, of_subject) = (v.namespace.as_str(), v.subject.namespace.as_str());
    let fits = match (v.time.is_some(), of_subject) {
        (false, "") => home.is_empty() || home == "default",
        (false, of_subject) => of_subject == home,
        (true, "") => home == "default" || home == "kube-system",
        (true, _) => true,
    };
    if !fits {
        e.invalid(&at, of_subject, "does not match event.namespace");
    }
    if v.time.is_some() {
        let controller = Path::root(controller_field);
        e.present(&controller, v.controller);
        e.each(&controller, v.controller, qualified_name(v.controller));
        let texts: [(&str, &Str, bool, usize); 4] = [
            ("reportingInstance", v.instance, true, REASON_CHARS_MAX),
            ("action", v.action, true, REASON_CHARS_MAX),
            ("reason", v.reason, true, REASON_CHARS_MAX),
            ("message", v.message, false, NOTE_CHARS_MAX),
        ];
        for (field, text, required, max) in texts {
            let at = Path::root(field);
            if required {
                e.present(&at, text);
            }
            if text.len() > max {
                e.invalid(&at, "", format!("can have at most {max} characters"));
            }
        }
    }
    e.each(&Path::root("namespace"), home, dns_subdomain(home));
}

/// What the newer API asks of a series.
fn series(e: &mut Errs, event: &new::Event) {
    if let Some(series) = &event.series {
        let at = Path::root("series");
        if series.count < 2 {
            e.invalid(&at.child("count"), "", "should be at least 2");
        }
        if series.last_observed_time.is_none() {
            e.required(&at.child("lastObservedTime"), "");
        }
    }
}

/// What only the newer API asks for.
fn strict(e: &mut Errs, v: &View<'_>, event: &new::Event) {
    series(e, event);
    if v.time.is_none() {
        e.required(&Path::root("eventTime"), "");
    }
    if v.kind != "Normal" && v.kind != "Warning" {
        e.invalid(&Path::root("type"), "", format!("has invalid value: {}", v.kind));
    }
    for (field, set) in [
        ("firstTimestamp", event.deprecated_first_timestamp.is_some()),
        ("lastTimestamp", event.deprecated_last_timestamp.is_some()),
        ("count", event.deprecated_count != 0),
        ("source", event.deprecated_source != Default::default()),
    ] {
        if set {
            e.invalid(&Path::root(field), "", "needs to be unset");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::Codec as _;

    #[test]
    fn newer_events_keep_what_they_say() {
        let event = |changes: &str| {
            let json = format!(
                r#"{{"metadata":{{"name":"e","namespace":"default"}},"regarding":{{"kind":"Pod"}},"reason":"R","note":"n"{changes}}}"#
            );
            new::Event::from_json(json.as_bytes()).expect("JSON")
        };
        let table = [
            ("", vec![]),
            (r#","deprecatedCount":3"#, vec!["count: Invalid value: 3: field is immutable"]),
            (
                r#","reason":"Other","action":"a""#,
                // Upstream looks at the reason twice.
                vec![
                    r#"reason: Invalid value: "Other": field is immutable"#,
                    r#"reason: Invalid value: "Other": field is immutable"#,
                    r#"action: Invalid value: "a": field is immutable"#,
                ],
            ),
            (
                r#","regarding":{"kind":"Node"}"#,
                vec![
                    r#"involvedObject: Invalid value: {"Kind":"Node","Namespace":"","Name":"","UID":"","APIVersion":"","ResourceVersion":"","FieldPath":""}: field is immutable"#,
                ],
            ),
            (
                r#","series":{"count":1}"#,
                vec![
                    r#"series.count: Invalid value: "": should be at least 2"#,
                    "series.lastObservedTime: Required value",
                ],
            ),
        ];
        for (changes, expected) in table {
            let mut e = Errs::new();
            event(changes).check_update(&event(""), &mut e, &Context::default());
            let found: Vec<String> = e.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{changes}");
        }
    }
}
