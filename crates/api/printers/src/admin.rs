//! What administrators look at: RBAC, leases, priorities, budgets, autoscalers, certificates, policies, API services.

use std::cmp::Ordering;

use meta::{IntOrString, Object, Time};
use serde_json::{Value, json};
use types::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingWebhookConfiguration,
};
use types::apiregistration::v1::APIService;
use types::certificates::v1::CertificateSigningRequest;
use types::coordination::v1::Lease;
use types::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use types::node::v1::RuntimeClass;
use types::policy::v1::PodDisruptionBudget;
use types::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use types::scheduling::v1::PriorityClass;

use crate::human::{age, age_cell, name};
use crate::{Column, Printer, flag, named, number, printer, text, wide};

pub const TABLE: &[Printer] = &[
    printer!(RoleBinding, BINDING, |binding, now| {
        let mut cells = vec![name(binding), role(&binding.role_ref), age_cell(binding, now)];
        cells.extend(subjects(&binding.subjects));
        cells
    }),
    printer!(ClusterRoleBinding, BINDING, |binding, now| {
        let mut cells = vec![name(binding), role(&binding.role_ref), age_cell(binding, now)];
        cells.extend(subjects(&binding.subjects));
        cells
    }),
    printer!(Lease, &[named("Name"), text("Holder"), text("Age")], |lease, now| vec![
        name(lease),
        json!(lease.spec.holder_identity.as_deref().unwrap_or_default()),
        age_cell(lease, now)
    ]),
    printer!(
        PriorityClass,
        &[named("Name"), number("Value"), flag("Global-Default"), text("Age"), text("PreemptionPolicy")],
        |class, now| vec![
            name(class),
            json!(class.value),
            json!(class.global_default),
            age_cell(class, now),
            json!(class.preemption_policy.as_deref().unwrap_or_default())
        ]
    ),
    printer!(RuntimeClass, &[named("Name"), text("Handler"), text("Age")], |class, now| vec![
        name(class),
        json!(class.handler.as_str()),
        age_cell(class, now)
    ]),
    printer!(PodDisruptionBudget, BUDGET, budget),
    printer!(CertificateSigningRequest, REQUEST, request),
    printer!(APIService, &[named("Name"), text("Service"), text("Available"), text("Age")], api_service),
    printer!(FlowSchema, FLOW, flow).in_order(flow_order),
    printer!(PriorityLevelConfiguration, LEVEL, level),
    printer!(
        ValidatingWebhookConfiguration,
        &[named("Name"), number("Webhooks"), text("Age")],
        |webhooks, now| vec![name(webhooks), json!(webhooks.webhooks.len()), age_cell(webhooks, now)]
    ),
    printer!(
        MutatingWebhookConfiguration,
        &[named("Name"), number("Webhooks"), text("Age")],
        |webhooks, now| vec![name(webhooks), json!(webhooks.webhooks.len()), age_cell(webhooks, now)]
    ),
    printer!(
        ValidatingAdmissionPolicy,
        &[named("Name"), number("Validations"), text("ParamKind"), text("Age")],
        |policy, now| {
            let kind = policy.spec.param_kind.as_ref();
            let kind = kind
                .map_or_else(|| "<unset>".to_owned(), |kind| format!("{}/{}", kind.api_version, kind.kind));
            vec![name(policy), json!(policy.spec.validations.len()), json!(kind), age_cell(policy, now)]
        }
    ),
];

const BINDING: &[Column] =
    &[named("Name"), text("Role"), text("Age"), wide("Users"), wide("Groups"), wide("ServiceAccounts")];
const BUDGET: &[Column] = &[
    named("Name"),
    text("Min Available"),
    text("Max Unavailable"),
    number("Allowed Disruptions"),
    text("Age"),
];
const REQUEST: &[Column] = &[
    named("Name"),
    text("Age"),
    text("SignerName"),
    text("Requestor"),
    text("RequestedDuration"),
    text("Condition"),
];
const FLOW: &[Column] = &[
    named("Name"),
    text("PriorityLevel"),
    text("MatchingPrecedence"),
    text("DistinguisherMethod"),
    text("Age"),
    text("MissingPL"),
];
const LEVEL: &[Column] = &[
    named("Name"),
    text("Type"),
    text("NominalConcurrencyShares"),
    text("Queues"),
    text("HandSize"),
    text("QueueLengthLimit"),
    text("Age"),
];

fn role(reference: &RoleRef) -> Value {
    json!(format!("{}/{}", reference.kind, reference.name))
}

fn subjects(subjects: &[Subject]) -> [Value; 3] {
    let of = |kind: &str| {
        let texts: Vec<String> = subjects
            .iter()
            .filter(|subject| subject.kind == kind)
            .map(|subject| match kind {
                "ServiceAccount" => format!("{}/{}", subject.namespace, subject.name),
                _ => subject.name.to_string(),
            })
            .collect();
        json!(texts.join(", "))
    };
    [of("User"), of("Group"), of("ServiceAccount")]
}

fn budget(budget: &PodDisruptionBudget, now: Time) -> Vec<Value> {
    let amount =
        |amount: Option<&IntOrString>| json!(amount.map_or_else(|| "N/A".to_owned(), ToString::to_string));
    vec![
        name(budget),
        amount(budget.spec.min_available.as_ref()),
        amount(budget.spec.max_unavailable.as_ref()),
        json!(budget.status.disruptions_allowed),
        age_cell(budget, now),
    ]
}

fn request(request: &CertificateSigningRequest, now: Time) -> Vec<Value> {
    let has = |wanted: &str| request.status.conditions.iter().any(|condition| condition.type_ == wanted);
    let mut state = if has("Approved") {
        "Approved"
    } else if has("Denied") {
        "Denied"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !request.status.certificate.0.is_empty() {
        state.push_str(",Issued");
    }
    let duration =
        request.spec.expiration_seconds.map_or_else(|| "<none>".to_owned(), |span| age(i64::from(span)));
    vec![
        name(request),
        age_cell(request, now),
        json!(request.spec.signer_name.as_str()),
        json!(request.spec.username.as_str()),
        json!(duration),
        json!(state),
    ]
}

fn api_service(service: &APIService, now: Time) -> Vec<Value> {
    let backend = service.spec.service.as_ref();
    let backend = backend
        .map_or_else(|| "Local".to_owned(), |service| format!("{}/{}", service.namespace, service.name));
    let available = service.status.conditions.iter().find(|condition| condition.type_ == "Available");
    let available = match available {
        None => "Unknown".to_owned(),
        Some(condition) if condition.status == "True" || condition.reason.is_empty() => {
            condition.status.to_string()
        }
        Some(condition) => format!("{} ({})", condition.status, condition.reason),
    };
    vec![name(service), json!(backend), json!(available), age_cell(service, now)]
}

/// In the order in which requests are held against them.
fn flow_order(one: &dyn Object, other: &dyn Object) -> Ordering {
    let place = |object: &dyn Object| {
        let schema = meta::downcast_ref::<FlowSchema>(object)?;
        Some((schema.spec.matching_precedence, schema.metadata.name.clone()))
    };
    place(one).cmp(&place(other))
}

fn flow(schema: &FlowSchema, now: Time) -> Vec<Value> {
    let method = schema.spec.distinguisher_method.as_ref().map_or("<none>", |method| method.type_.as_str());
    let dangling = schema.status.conditions.iter().find(|condition| condition.type_ == "Dangling");
    vec![
        name(schema),
        json!(schema.spec.priority_level_configuration.name.as_str()),
        json!(schema.spec.matching_precedence),
        json!(method),
        age_cell(schema, now),
        json!(dangling.map_or("?", |condition| condition.status.as_str())),
    ]
}

fn level(level: &PriorityLevelConfiguration, now: Time) -> Vec<Value> {
    let none = || json!("<none>");
    let limited = level.spec.limited.as_ref();
    // Those of exempt levels are not told.
    let shares = limited.and_then(|limited| limited.nominal_concurrency_shares);
    let queuing = limited.and_then(|limited| limited.limit_response.queuing.as_ref());
    let number = |pick: fn(&types::flowcontrol::v1::QueuingConfiguration) -> i32| {
        queuing.map_or_else(none, |queuing| json!(pick(queuing)))
    };
    vec![
        name(level),
        json!(level.spec.type_.as_str()),
        shares.map_or_else(none, |shares| json!(shares)),
        number(|queuing| queuing.queues),
        number(|queuing| queuing.hand_size),
        number(|queuing| queuing.queue_length_limit),
        age_cell(level, now),
    ]
}
