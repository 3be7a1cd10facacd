//! Label and field selectors together: which objects of a collection a request is about.

use call::ListOptions;
use meta::{FieldSelector, Object, Selector, Status, Str};

use crate::definitions::Conversion;
use crate::errors;
use crate::served::Served;

/// Parsed selectors. The default selects everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    labels: Option<Selector>,
    fields: Option<FieldSelector>,
    /// Fields of the version that is served, where only a webhook can tell them of an object in another version.
    converted: Option<FieldSelector>,
}

impl Selection {
    /// Parses the selectors of a request and checks that the kind has the fields.
    pub fn parse(served: &Served, options: &ListOptions) -> Result<Self, Status> {
        let mut selection = Selection::default();
        if !options.label_selector.is_empty() {
            let parsed =
                Selector::parse(&options.label_selector).map_err(|e| errors::bad_request(e.to_string()))?;
            selection.labels = Some(parsed);
        }
        if !options.field_selector.is_empty() {
            let parsed = FieldSelector::parse(&options.field_selector)
                .map_err(|e| errors::bad_request(e.to_string()))?;
            for term in &parsed.terms {
                let label: &Str = &term.field;
                let of_any = match label.as_str() {
                    "metadata.name" => true,
                    "metadata.namespace" => !unplaced(served),
                    _ => false,
                };
                if !of_any && !served.rules().has_field(label) {
                    return Err(errors::bad_request(unknown_field(served, label)));
                }
            }
            let by_webhook = served
                .custom()
                .is_some_and(|custom| matches!(custom.definition.conversion, Conversion::Webhook(_)));
            let (at_once, later): (Vec<_>, Vec<_>) =
                parsed.terms.into_iter().partition(|t| !by_webhook || t.field.starts_with("metadata."));
            selection.fields = (!at_once.is_empty()).then_some(FieldSelector { terms: at_once });
            selection.converted = (!later.is_empty()).then_some(FieldSelector { terms: later });
        }
        Ok(selection)
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_none() && self.converted.is_none()
    }

    /// Whether [`Selection::matches`] says no more than "perhaps", and [`Selection::matches_converted`] the rest.
    pub(crate) fn waits_for_conversion(&self) -> bool {
        self.converted.is_some()
    }

    /// Whether an object that was brought into the served version has the fields that only that version tells.
    pub(crate) fn matches_converted(&self, served: &Served, object: &dyn Object) -> bool {
        self.converted
            .as_ref()
            .is_none_or(|fields| fields.matches(|label| served.rules().field(object, label)))
    }

    /// Whether the object is selected, as far as it can be told without a webhook.
    pub fn matches(&self, served: &Served, object: &dyn Object) -> bool {
        if !self.labels.as_ref().is_none_or(|labels| labels.matches(&object.meta().labels)) {
            return false;
        }
        // Field labels are those of the version that is served.
        let converted = self.fields.as_ref().and_then(|_| crate::convert::to_served(served, object));
        let object = converted.as_deref().unwrap_or(object);
        self.fields.as_ref().is_none_or(|fields| fields.matches(|label| served.rules().field(object, label)))
    }

    /// The one name that the field selector pins, if it does.
    pub fn name(&self) -> Option<Str> {
        self.exact("metadata.name")
    }

    /// The value that the field selector pins a field to, if it does.
    pub fn exact(&self, field: &str) -> Option<Str> {
        self.fields.as_ref()?.exact_value(field).map(Str::from)
    }
}

/// Kinds without namespace that convert field labels themselves, and know no namespace there either.
fn unplaced(served: &Served) -> bool {
    !served.resource().namespaced && served.custom().is_none() && served.rules().has_fields()
}

/// Upstream's texts: kinds with conversion functions of their own name the kind differently.
fn unknown_field(served: &Served, label: &str) -> String {
    if !served.rules().has_fields() {
        return format!(
            "{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }
    match &*served.resource().kind {
        "Job" => format!("field label {label:?} not supported for Job"),
        "ResourceSlice" => {
            format!("field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {label}")
        }
        _ => format!("field label not supported: {label}"),
    }
}
