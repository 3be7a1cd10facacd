//! The way to a webhook: the server that its configuration names, with the authority that it gives.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use types::admissionregistration::v1::WebhookClientConfig;
use webhook::{Answer, Authorization, CallError, Client, ExchangeError, Trust, Users, client_config};

use super::resolve::resolve;
use crate::world::World;

/// How often a server that asks for patience is asked.
const TRIES_MAX: u32 = 11;

/// Host and port, or why there are none.
pub type Address = Result<(String, u16), String>;

/// A webhook's server.
pub struct Endpoint {
    place: Place,
    /// `https://host:port`, as messages show it.
    origin: String,
    path: String,
    client: Client,
    authorization: Authorization,
}

enum Place {
    Host(String, u16),
    Service { namespace: String, name: String, port: i32 },
}

impl Endpoint {
    /// The server that a configuration names; `users` tells who asks it.
    pub fn new(client: &WebhookClientConfig, users: Option<&Users>) -> Self {
        let trust = if client.ca_bundle.is_empty() {
            Trust::System
        } else {
            Trust::Bundle(client.ca_bundle.to_vec())
        };
        let (place, host, authority, path) = match &client.service {
            Some(service) => {
                let port = service.port.unwrap_or(443);
                let host = format!("{}.{}.svc", service.name, service.namespace);
                let path = service.path.as_deref().unwrap_or_default();
                let place = Place::Service {
                    namespace: service.namespace.to_string(),
                    name: service.name.to_string(),
                    port,
                };
                let authority = format!("{host}:{port}");
                (place, host, authority, format!("/{}", path.trim_start_matches('/')))
            }
            None => {
                let url = client.url.as_deref().unwrap_or_default();
                let rest = url.strip_prefix("https://").unwrap_or(url);
                let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
                let (host, port) = match authority.rsplit_once(':') {
                    Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(443)),
                    _ => (authority, 443),
                };
                let host = host.trim_matches(['[', ']']).to_owned();
                (Place::Host(host.clone(), port), host, authority.to_owned(), path.to_owned())
            }
        };
        let port = match &place {
            Place::Host(_, port) => *port,
            Place::Service { port, .. } => u16::try_from(*port).unwrap_or(0),
        };
        let user = users.map_or(Ok(Default::default()), |users| users.of(&host, port));
        let (tls, authorization) = match user {
            Ok((identity, authorization)) => (client_config(&trust, identity.as_ref()), authorization),
            Err(error) => (Err(error.to_string()), Authorization::None),
        };
        let client = Client::new(host, authority.clone(), Some(tls), "kube-apiserver-admission");
        Self { place, origin: format!("https://{authority}"), path, client, authorization }
    }

    /// Where the server is at the moment.
    pub fn address(&self, world: &dyn World) -> Address {
        match &self.place {
            Place::Host(host, port) => Ok((host.clone(), *port)),
            Place::Service { namespace, name, port } => resolve(world, namespace, name, *port),
        }
    }

    /// Sends a question and has its answer. A server that asks for patience is asked again for as long as there is time.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn post(&self, address: Address, body: Bytes, timeout: Duration) -> Result<Answer, CallError> {
        let deadline = Instant::now() + timeout;
        let query = if self.path.contains('?') { '&' } else { '?' };
        let target = format!("{}{query}timeout={}s", self.path, timeout.as_secs());
        let failed = |why: &str| CallError::unavailable(format!("Post \"{}{target}\": {why}", self.origin));
        let (host, port) = address.map_err(|why| failed(&why))?;
        let header = self.authorization.header();
        let mut tries = 0;
        loop {
            let exchange = self.client.post(&host, port, &target, header.as_deref(), body.clone(), deadline);
            let answer = exchange.await.map_err(|error| match &error {
                ExchangeError::Unanswered(why) => failed(why),
                ExchangeError::CutShort(_) => CallError::unavailable(error.to_string()),
            })?;
            tries += 1;
            // What it says the last time counts, whatever it is.
            let Some(pause_s) = answer.again_in_s().filter(|_| tries < TRIES_MAX) else { return Ok(answer) };
            let next = Instant::now().checked_add(Duration::from_secs(pause_s));
            let next = next.filter(|next| *next < deadline);
            tokio::time::sleep_until(next.unwrap_or(deadline)).await;
            if next.is_none() {
                return Err(failed("context deadline exceeded"));
            }
        }
    }
}
