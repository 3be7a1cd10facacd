//! The group `flowcontrol.apiserver.k8s.io`: FlowSchema and PriorityLevelConfiguration.

use crate::check::{Errs, Raw, json_string, metadata, name_label, name_subdomain};
use crate::fill::{number, set};
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules};
use meta::{BadValue, List, Str};
use types::flowcontrol::v1::{
    ExemptPriorityLevelConfiguration, FlowSchema, LimitedPriorityLevelConfiguration, NonResourcePolicyRule,
    PolicyRulesWithSubjects, PriorityLevelConfiguration, QueuingConfiguration, ResourcePolicyRule, Subject,
};

const PRECEDENCE_MAX: i32 = 10000;
const QUEUES_MAX: i32 = 10 * 1000 * 1000;
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// Conditions have types, each once.
fn conditions<'a>(e: &mut Errs, types: impl Iterator<Item = &'a Str>) {
    let status = Path::root("status");
    let list = status.child("conditions");
    let mut seen = std::collections::BTreeSet::new();
    for (i, kind) in types.enumerate() {
        let item = list.index(i);
        let at = item.child("type");
        if !seen.insert(kind) {
            e.duplicate(&at, kind);
        }
        e.present(&at, kind);
    }
}

impl Rules for FlowSchema {
    const REVALIDATES_METADATA: u8 = 1;
    const RECHECKS_UPDATED_METADATA: bool = false;
    spec_and_status!(generation);

    fn prepare_status(&mut self, old: &Self, _cx: &Context) {
        self.keep_spec(old);
        metadata::keep(&mut self.metadata, &old.metadata);
    }

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        conditions(e, self.status.conditions.iter().map(|c| &c.type_));
    }

    fn default(&mut self) {
        number(&mut self.spec.matching_precedence, 1000);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("spec");
        let spec = &self.spec;
        let precedence = at.child("matchingPrecedence");
        if spec.matching_precedence <= 0 {
            e.invalid(&precedence, spec.matching_precedence, "must be a positive value");
        }
        if spec.matching_precedence > PRECEDENCE_MAX {
            e.invalid(
                &precedence,
                spec.matching_precedence,
                format!("must not be greater than {PRECEDENCE_MAX}"),
            );
        }
        if spec.matching_precedence == 1 && self.metadata.name != "exempt" {
            e.invalid(&precedence, 1, "only the schema named 'exempt' may have matchingPrecedence 1");
        }
        if let Some(method) = &spec.distinguisher_method {
            let at = at.child("distinguisherMethod");
            if method.type_ != "ByNamespace" && method.type_ != "ByUser" {
                let shown = format!(r#"{{"Type":{}}}"#, json_string(&method.type_));
                e.unsupported(&at.child("type"), Raw(shown), &["ByNamespace", "ByUser"]);
            }
        }
        let level_at = at.child("priorityLevelConfiguration");
        let level = &spec.priority_level_configuration.name;
        if level.is_empty() {
            e.required(&level_at.child("name"), "must reference a priority level");
        } else {
            e.each(&level_at.child("name"), level, name_subdomain(level, false));
        }
        let list = at.child("rules");
        for (i, rule) in spec.rules.iter().enumerate() {
            rules(e, &list.index(i), rule);
        }
    }
}

fn rules(e: &mut Errs, at: &Path<'_>, rule: &PolicyRulesWithSubjects) {
    let list = at.child("subjects");
    if rule.subjects.is_empty() {
        e.required(&list, "subjects must contain at least one value");
    }
    for (i, s) in rule.subjects.iter().enumerate() {
        subject(e, &list.index(i), s);
    }
    if rule.resource_rules.is_empty() && rule.non_resource_rules.is_empty() {
        e.required(at, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    let list = at.child("resourceRules");
    for (i, r) in rule.resource_rules.iter().enumerate() {
        resource_rule(e, &list.index(i), r);
    }
    let list = at.child("nonResourceRules");
    for (i, r) in rule.non_resource_rules.iter().enumerate() {
        other_rule(e, &list.index(i), r);
    }
}

fn subject(e: &mut Errs, at: &Path<'_>, s: &Subject) {
    let kinds = [
        ("ServiceAccount", "serviceAccount", s.service_account.is_some()),
        ("User", "user", s.user.is_some()),
        ("Group", "group", s.group.is_some()),
    ];
    if !kinds.iter().any(|(kind, ..)| *kind == s.kind) {
        return e.unsupported(&at.child("kind"), &s.kind, &["Group", "ServiceAccount", "User"]);
    }
    for (kind, field, set) in kinds {
        if kind == s.kind && !set {
            e.required(&at.child(field), format!("{field} is required when subject kind is '{kind}'"));
        } else if kind != s.kind && set {
            e.forbidden(&at.child(field), format!("{field} is forbidden when subject kind is not '{kind}'"));
        }
    }
    if let Some(account) = s.service_account.as_ref().filter(|_| s.kind == "ServiceAccount") {
        let at = at.child("serviceAccount");
        if e.present(&at.child("name"), &account.name) && account.name != "*" {
            e.each(&at.child("name"), &account.name, name_subdomain(&account.name, false));
        }
        if account.namespace.is_empty() {
            e.required(&at.child("namespace"), "must specify namespace for service account");
        } else {
            e.each(&at.child("namespace"), &account.namespace, name_label(&account.namespace, false));
        }
    }
    let name = match s.kind.as_str() {
        "User" => s.user.as_ref().map(|u| ("user", &u.name)),
        "Group" => s.group.as_ref().map(|g| ("group", &g.name)),
        _ => None,
    };
    if let Some((field, name)) = name {
        e.present(&at.child(field).child("name"), name);
    }
}

fn verbs(e: &mut Errs, at: &Path<'_>, verbs: &List<Str>) {
    if verbs.is_empty() {
        return e.required(at, "verbs must contain at least one value");
    }
    if verbs.iter().any(|v| v == "*") {
        if verbs.len() > 1 {
            e.invalid(at, BadValue::of(verbs), "if '*' is present, must not specify other verbs");
        }
    } else if !verbs.iter().all(|v| VERBS.contains(&v.as_str())) {
        let mut sorted = VERBS;
        sorted.sort_unstable();
        e.unsupported(at, BadValue::of(verbs), &sorted);
    }
}

fn resource_rule(e: &mut Errs, at: &Path<'_>, r: &ResourcePolicyRule) {
    verbs(e, &at.child("verbs"), &r.verbs);
    for (field, list, what, detail) in [
        ("apiGroups", &r.api_groups, "api groups", "resource rules must supply at least one api group"),
        ("resources", &r.resources, "resources", "resource rules must supply at least one resource"),
    ] {
        let at = at.child(field);
        if list.is_empty() {
            e.required(&at, detail);
        } else if list.len() > 1 && list.iter().any(|v| v == "*") {
            e.invalid(&at, BadValue::of(list), format!("if '*' is present, must not specify other {what}"));
        }
    }
    let namespaces = at.child("namespaces");
    if r.namespaces.is_empty() && !r.cluster_scope {
        e.required(
            &namespaces,
            "resource rules that are not cluster scoped must supply at least one namespace",
        );
    } else if r.namespaces.iter().any(|n| n == "*") {
        if r.namespaces.len() > 1 {
            e.invalid(
                &namespaces,
                BadValue::of(&r.namespaces),
                "if '*' is present, must not specify other namespaces",
            );
        }
    } else {
        for (i, n) in r.namespaces.iter().enumerate() {
            for problem in name_label(n, false) {
                let detail = format!("each member of this list must be '*' or a DNS-1123 label; {problem}");
                e.invalid(&namespaces.index(i), n, detail);
            }
        }
    }
}

fn other_rule(e: &mut Errs, at: &Path<'_>, r: &NonResourcePolicyRule) {
    verbs(e, &at.child("verbs"), &r.verbs);
    let urls = at.child("nonResourceURLs");
    if r.non_resource_urls.is_empty() {
        return e.required(&urls, "nonResourceURLs must contain at least one value");
    }
    if r.non_resource_urls.len() > 1 && r.non_resource_urls.iter().any(|u| u == "*") {
        return e.invalid(
            &urls,
            BadValue::of(&r.non_resource_urls),
            "if '*' is present, must not specify other non-resource URLs",
        );
    }
    for (i, url) in r.non_resource_urls.iter().enumerate().filter(|(_, u)| *u != "*") {
        let at = urls.index(i);
        let inner = url.strip_suffix('*').unwrap_or(url);
        let problem = if url.is_empty() {
            Some("must not be empty")
        } else if !url.starts_with('/') {
            Some("must start with slash")
        } else if url.contains(' ') {
            Some("must not contain white-space")
        } else if url.contains("//") {
            Some("must not contain double slash")
        } else if inner.contains('*') || (url.ends_with('*') && !inner.ends_with('/')) {
            Some("wildcard can only do suffix matching")
        } else {
            None
        };
        if let Some(problem) = problem {
            e.invalid(&at, url, problem);
        }
    }
}

impl Rules for PriorityLevelConfiguration {
    const REVALIDATES_METADATA: u8 = 1;
    const RECHECKS_UPDATED_METADATA: bool = false;
    spec_and_status!(generation);

    fn prepare_status(&mut self, old: &Self, _cx: &Context) {
        self.keep_spec(old);
        metadata::keep(&mut self.metadata, &old.metadata);
    }

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        conditions(e, self.status.conditions.iter().map(|c| &c.type_));
    }

    fn default(&mut self) {
        if let Some(limited) = &mut self.spec.limited {
            set(&mut limited.nominal_concurrency_shares, 30);
            set(&mut limited.lendable_percent, 0);
            if let Some(queuing) = &mut limited.limit_response.queuing {
                number(&mut queuing.queues, 64);
                number(&mut queuing.hand_size, 8);
                number(&mut queuing.queue_length_limit, 50);
            }
        }
        if let Some(exempt) = &mut self.spec.exempt {
            set(&mut exempt.nominal_concurrency_shares, 0);
            set(&mut exempt.lendable_percent, 0);
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("spec");
        let spec = &self.spec;
        let is_exempt = self.metadata.name == "exempt";
        if is_exempt != (spec.type_ == "Exempt") && ["Exempt", "Limited"].contains(&spec.type_.as_str()) {
            let detail = if is_exempt {
                "type must be 'Exempt' if name is 'exempt'"
            } else {
                "type must not be 'Exempt' if name is not 'exempt'"
            };
            e.invalid(&at.child("type"), &spec.type_, detail);
        }
        match spec.type_.as_str() {
            "Exempt" => {
                if spec.limited.is_some() {
                    e.forbidden(&at.child("limited"), "must be nil if the type is not Limited");
                }
                if let Some(x) = &spec.exempt {
                    exempt(e, &at.child("exempt"), x);
                }
            }
            "Limited" => {
                if spec.exempt.is_some() {
                    e.forbidden(&at.child("exempt"), "must be nil if the type is Limited");
                }
                match &spec.limited {
                    None => e.required(&at.child("limited"), "must not be empty when type is Limited"),
                    Some(l) => limited(e, &at.child("limited"), l),
                }
            }
            other => e.unsupported(&at.child("type"), other, &["Exempt", "Limited"]),
        }
    }
}

fn exempt(e: &mut Errs, at: &Path<'_>, x: &ExemptPriorityLevelConfiguration) {
    if let Some(shares) = x.nominal_concurrency_shares.filter(|s| *s < 0) {
        e.invalid(&at.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    percent(e, &at.child("lendablePercent"), x.lendable_percent);
}

fn percent(e: &mut Errs, at: &Path<'_>, value: Option<i32>) {
    if let Some(value) = value.filter(|v| !(0..=100).contains(v)) {
        e.invalid(at, value, "must be between 0 and 100, inclusive");
    }
}

fn limited(e: &mut Errs, at: &Path<'_>, l: &LimitedPriorityLevelConfiguration) {
    if let Some(shares) = l.nominal_concurrency_shares.filter(|s| *s < 0) {
        e.invalid(&at.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    let response = at.child("limitResponse");
    let queuing_at = response.child("queuing");
    match (l.limit_response.type_.as_str(), &l.limit_response.queuing) {
        ("Reject", Some(_)) => {
            e.forbidden(&queuing_at, "must be nil if limited.limitResponse.type is not Limited")
        }
        ("Reject", None) => {}
        ("Queue", None) => {
            e.required(&queuing_at, "must not be empty if limited.limitResponse.type is Limited")
        }
        ("Queue", Some(q)) => queuing(e, &queuing_at, q),
        (other, _) => e.unsupported(&response.child("type"), other, &["Queue", "Reject"]),
    }
    percent(e, &at.child("lendablePercent"), l.lendable_percent);
    if let Some(limit) = l.borrowing_limit_percent.filter(|v| *v < 0) {
        e.invalid(&at.child("borrowingLimitPercent"), limit, "if specified, must be a non-negative integer");
    }
}

fn queuing(e: &mut Errs, at: &Path<'_>, q: &QueuingConfiguration) {
    for (field, value) in [("queueLengthLimit", q.queue_length_limit), ("queues", q.queues)] {
        if value <= 0 {
            e.invalid(&at.child(field), value, "must be positive");
        } else if field == "queues" && value > QUEUES_MAX {
            e.invalid(&at.child(field), value, format!("must not be greater than {QUEUES_MAX}"));
        }
    }
    let hand_at = at.child("handSize");
    if q.hand_size <= 0 {
        e.invalid(&hand_at, q.hand_size, "must be positive");
    } else if q.hand_size > q.queues {
        e.invalid(&hand_at, q.hand_size, format!("should not be greater than queues ({})", q.queues));
    } else {
        // The entropy of a hand must fit into the 64-bit hash that deals it.
        let bits: f64 = (0..q.hand_size).map(|i| f64::from(q.queues - i).log2()).sum::<f64>();
        if bits.ceil() > 60.0 {
            let detail = format!(
                "required entropy bits of deckSize {} and handSize {} should not be greater than 60",
                q.queues, q.hand_size
            );
            e.invalid(&hand_at, q.hand_size, detail);
        }
    }
}
