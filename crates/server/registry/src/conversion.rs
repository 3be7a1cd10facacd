//! Versions of custom resources between which only a webhook can convert.
//!
//! Objects come from the feed in the version in which they were stored. [`bring`] asks the webhook for all of a request's
//! objects at once, and only for those that are in another version than the request's.

use std::sync::Weak;
use std::time::Duration;

use admission::WebhookEndpoint;
use bytes::Bytes;
use custom::{Kind, review};
use meta::{Status, Str};
use scheme::Unstructured;
use types::admissionregistration::v1 as admissionregistration;
use types::apiextensions::v1::WebhookClientConfig;

use crate::definitions::Conversion;
use crate::errors;
use crate::registry::Registry;
use crate::served::Served;
use crate::stored::Stored;

/// How long a webhook may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The kind of what is asked and answered.
const REVIEW: &str = "ConversionReview";

/// A webhook that converts.
pub struct Webhook {
    endpoint: WebhookEndpoint,
    /// The version of the review that it takes.
    version: &'static str,
    /// Where Services are looked up.
    registry: Weak<Registry>,
}

impl Webhook {
    pub(crate) fn new(client: &WebhookClientConfig, versions: &[Str], registry: Weak<Registry>) -> Self {
        let service = client.service.as_deref().map(|service| admissionregistration::ServiceReference {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            path: service.path.clone(),
            port: service.port,
        });
        let client = admissionregistration::WebhookClientConfig {
            url: client.url.clone(),
            service: service.map(Into::into),
            ca_bundle: client.ca_bundle.clone(),
        };
        Webhook {
            endpoint: WebhookEndpoint::new(&client, None),
            version: review::version(versions),
            registry,
        }
    }

    /// The objects in the version of `kind`.
    pub(crate) async fn convert(
        &self,
        kind: &Kind,
        objects: &[&Unstructured],
    ) -> Result<Vec<Unstructured>, Status> {
        let Some(first) = objects.first() else { return Ok(Vec::new()) };
        let of = meta::GroupVersionKind::from_api_version(&first.api_version, &first.kind);
        let failed = |why: &str| errors::bare(format!("conversion webhook for {of} failed: {why}"));
        let Some(registry) = self.registry.upgrade() else { return Err(failed("the server is stopping")) };
        let uid = registry.env.random.uuid();
        let desired = kind.api_version();
        let question = review::request(self.version, &uid, desired, objects);
        let address = self.endpoint.address(&*registry);
        let body = Bytes::from(question.to_string());
        let answer = self.endpoint.post(address, body, TIMEOUT).await.map_err(|error| failed(&error.why))?;
        let expected = format!("apiextensions.k8s.io/{}", self.version);
        let known = |version: &str, kind: &str| {
            matches!(version, "apiextensions.k8s.io/v1" | "apiextensions.k8s.io/v1beta1") && kind == REVIEW
        };
        let document = answer.document((&expected, REVIEW), known).map_err(|error| failed(&error.why))?;
        let answer = serde_json::from_slice(&document.json).map_err(|error| failed(&error.to_string()))?;
        let mut converted = review::response(&answer, self.version, &uid, desired, objects)
            .map_err(|error| failed(&error.to_string()))?;
        converted.iter_mut().for_each(|object| kind.settle(object));
        Ok(converted)
    }
}

/// Brings stored objects into the version that is served, where only a webhook can.
pub(crate) async fn bring(served: &Served, mut stored: Vec<Stored>) -> Result<Vec<Stored>, Status> {
    let Some(custom) = served.custom() else { return Ok(stored) };
    let Conversion::Webhook(webhook) = &custom.definition.conversion else { return Ok(stored) };
    let object_of = |stored: &Stored| -> Option<Unstructured> {
        let object = meta::downcast_ref::<Unstructured>(&**stored.object())?;
        (!custom.kind.is_version_of(object)).then(|| object.clone())
    };
    let foreign: Vec<(usize, Unstructured)> =
        stored.iter().enumerate().filter_map(|(at, stored)| Some((at, object_of(stored)?))).collect();
    let objects: Vec<&Unstructured> = foreign.iter().map(|(_, object)| object).collect();
    let converted = webhook.convert(&custom.kind, &objects).await?;
    for ((at, _), object) in foreign.iter().zip(converted) {
        stored[*at] = stored[*at].converted(object);
    }
    Ok(stored)
}

/// As [`bring`], for one object.
pub(crate) async fn bring_one(served: &Served, stored: Stored) -> Result<Stored, Status> {
    if served.custom().is_none() {
        return Ok(stored);
    }
    let mut brought = bring(served, vec![stored]).await?;
    brought.pop().ok_or_else(|| errors::internal("a conversion lost its object"))
}

/// An object in the version that is stored, where only a webhook can bring it there; `None` when it is there already.
pub(crate) async fn to_storage(
    served: &Served,
    object: &dyn meta::Object,
) -> Result<Option<Unstructured>, Status> {
    let Some(custom) = served.custom() else { return Ok(None) };
    let Conversion::Webhook(webhook) = &custom.definition.conversion else { return Ok(None) };
    let Some(object) = meta::downcast_ref::<Unstructured>(object) else { return Ok(None) };
    let storage = &custom.definition.storage;
    if storage.is_version_of(object) {
        return Ok(None);
    }
    Ok(webhook.convert(storage, &[object]).await?.pop())
}
