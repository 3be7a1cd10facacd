//! Label and field selectors together: which objects of a collection a request is about.

use call::ListOptions;
use meta::{FieldSelector, Object, Selector, Status, Str};

use crate::errors;
use crate::served::Served;

/// Parsed selectors. The default selects everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    labels: Option<Selector>,
    fields: Option<FieldSelector>,
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
                let known = matches!(label.as_str(), "metadata.name" | "metadata.namespace")
                    || served.rules().has_field(label);
                if !known {
                    return Err(errors::bad_request(unknown_field(served, label)));
                }
            }
            selection.fields = Some(parsed);
        }
        Ok(selection)
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    /// Whether the object is selected.
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

/// Upstream's two texts: kinds with conversion functions of their own name the kind differently.
fn unknown_field(served: &Served, label: &str) -> String {
    if !served.rules().has_fields() {
        return format!(
            "{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }
    format!("field label not supported: {label}")
}
