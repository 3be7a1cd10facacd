//! The registry itself, and the dispatch of a call to its verb.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use admission::{Chain, Notes, Operation, Options, Review};
use arc_swap::ArcSwap;
use authn::Tokens;
use authz::{Authorized, Authorizer};
use call::{Action, Call, DryRun, Target, WriteOptions};
use env::Env;
use ipnet::IpNet;
use meta::Status;
use mvcc::Store;

use crate::definitions::Definitions;
use crate::errors;
use crate::feeds::Feeds;
use crate::managed::Endpoint;
use crate::outcome::Outcome;
use crate::served::Served;
use crate::services::Services;
use crate::update::Source;

/// What a registry is built from.
pub struct Config {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Clock and randomness.
    pub env: Env,
    /// Secondary authorization: escalation, approval, impersonated questions.
    pub authorizer: Arc<Authorizer>,
    /// Issues ServiceAccount tokens.
    pub tokens: Arc<Tokens>,
    /// The admission plugins.
    pub chain: Chain,
    /// Ranges of cluster IPs, the first is the default family; one or two.
    pub service_ranges: Vec<IpNet>,
    /// Node ports.
    pub node_ports: RangeInclusive<u16>,
}

/// What is stored of a resource.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount {
    /// The resource's group.
    pub group: meta::Str,
    /// Its plural.
    pub plural: meta::Str,
    /// Its objects.
    pub objects: usize,
    /// The bytes that they take in the store.
    pub stored_bytes: u64,
}

/// See the crate.
pub struct Registry {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) env: Env,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) chain: Chain,
    pub(crate) services: Services,
    pub(crate) event_leases: mvcc::LeasePool,
    pub(crate) feeds: Feeds,
    pub(crate) definitions: ArcSwap<Definitions>,
}

/// A request that passed authorization, with everything that the verbs need of it.
pub struct Request<'a> {
    /// The proof.
    pub authorized: &'a Authorized,
    /// What is meant.
    pub target: &'a Target,
    /// Its kind.
    pub served: &'a Served,
    /// Texts for Warning headers.
    pub warnings: &'a mut Vec<String>,
    /// What admission says besides yes and no.
    pub notes: &'a Notes,
    /// Whether the object of a create came without labels, so that those it has are defaults.
    pub unlabelled: bool,
}

impl Request<'_> {
    /// The 404 of the target.
    pub(crate) fn not_found(&self) -> Status {
        errors::target_not_found(self.target)
    }
}

impl Registry {
    /// Builds the registry and reads what it must know before it serves: the taken addresses and ports.
    pub async fn open(config: Config) -> Result<Arc<Self>, Status> {
        let services = Services::new(&config.service_ranges, config.node_ports, config.env.random.clone());
        let event_leases = mvcc::LeasePool::new(config.env.clone());
        let feeds = Feeds::open(&config.store, &config.env).await.map_err(errors::from_store)?;
        let registry = Arc::new(Registry {
            store: config.store,
            env: config.env,
            authorizer: config.authorizer,
            tokens: config.tokens,
            chain: config.chain,
            services,
            event_leases,
            feeds,
            definitions: ArcSwap::default(),
        });
        registry.load_services().await?;
        Ok(registry)
    }

    /// The address of the `kubernetes` service: the first one of the first range.
    pub fn api_service_address(&self) -> Option<IpAddr> {
        self.services.first_address()
    }

    /// The ranges of cluster IPs.
    pub fn service_ranges(&self) -> Vec<IpNet> {
        self.services.ranges()
    }

    /// The feed of a kind, for those who follow it inside this process.
    pub fn feed<'a>(&'a self, served: &'a Served) -> Result<&'a Arc<crate::feeds::ObjectFeed>, Status> {
        self.feeds.of(served)
    }

    /// How many objects are stored of each resource, and how large they are.
    pub fn amounts(&self) -> Vec<Amount> {
        let amount = |resource: &scheme::Resource, snapshot: &feed::Snapshot<dyn meta::Object>| Amount {
            group: (*resource.group).into(),
            plural: (*resource.plural).into(),
            objects: snapshot.len(),
            stored_bytes: snapshot.stored_bytes(),
        };
        let built_in =
            scheme::RESOURCES.iter().filter(|r| !r.key_prefix.is_empty() && r.is_storage_version());
        let known: std::collections::HashMap<&str, _> = self.feeds.all_now().collect();
        let built_in =
            built_in.filter_map(|resource| Some(amount(resource, known.get(&*resource.key_prefix)?)));
        let definitions = self.definitions();
        let custom = definitions.all().filter_map(|served| {
            let (resource, definition) = (served.resource(), &served.custom()?.definition);
            resource.is_storage_version().then(|| amount(resource, &definition.feed.snapshot_now()))
        });
        built_in.chain(custom).collect()
    }

    /// The policies and webhooks that apply, for whoever follows their objects.
    pub fn dynamic(&self) -> &Arc<admission::Dynamic> {
        self.chain.dynamic()
    }

    /// Randomness and time.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Seconds since 1970.
    pub(crate) fn now_s(&self) -> i64 {
        self.env.unix_ms().div_euclid(1000)
    }

    /// The resource behind a path.
    pub fn served(&self, group: &str, version: &str, plural: &str) -> Option<Served> {
        Served::find(group, version, plural)
            .or_else(|| self.definitions.load().find(group, version, plural).cloned())
    }

    /// Performs a call on a stored resource or one of its subresources.
    pub async fn perform(
        &self,
        authorized: &Authorized,
        call: Call,
        warnings: &mut Vec<String>,
    ) -> Result<Outcome, Status> {
        self.perform_noting(authorized, call, warnings, &Notes::default()).await
    }

    /// Like [`Registry::perform`]; `notes` takes what admission says for the audit log.
    pub async fn perform_noting(
        &self,
        authorized: &Authorized,
        call: Call,
        warnings: &mut Vec<String>,
        notes: &Notes,
    ) -> Result<Outcome, Status> {
        let outcome = self.dispatch(authorized, call, warnings, notes).await;
        warnings.extend(notes.take_warnings());
        outcome
    }

    /// Writes have large futures. Each is made where it stays: as part of its callers' futures it would be moved with
    /// them, whatever the verb.
    async fn dispatch(
        &self,
        authorized: &Authorized,
        call: Call,
        warnings: &mut Vec<String>,
        notes: &Notes,
    ) -> Result<Outcome, Status> {
        let Call { target, action } = call;
        let served = self
            .served(&target.group, &target.version, &target.resource)
            .ok_or_else(errors::no_such_resource)?;
        let mut request =
            Request { authorized, target: &target, served: &served, warnings, notes, unlabelled: false };
        if !target.subresource.is_empty() {
            return Box::pin(self.subresource(&mut request, action)).await;
        }
        match action {
            Action::Get { resource_version } => {
                self.get(&request, &resource_version).await.map(Outcome::Stored)
            }
            Action::List(options) => self.list(&request, &options).await.map(Outcome::List),
            Action::Watch(options) => self.watch(&request, &options).await.map(Box::new).map(Outcome::Watch),
            Action::Create(object, options) if served.resource().plural == "bindings" => {
                Box::pin(self.create_binding(&mut request, object, &options)).await
            }
            Action::Create(object, options) => Box::pin(self.create(&mut request, object, &options)).await,
            Action::Update(object, options) => {
                Box::pin(self.update(&mut request, Source::Replace(object), &options)).await
            }
            Action::Patch(kind, body, options) => {
                Box::pin(self.update(&mut request, Source::Patch(kind, body), &options)).await
            }
            Action::Delete(options) => Box::pin(self.delete(&mut request, options)).await,
            Action::DeleteCollection(list, options) => {
                Box::pin(self.delete_collection(&mut request, &list, options)).await
            }
        }
    }

    /// What admission makes of a review, which is answered but never stored. With `own` its managers are recorded.
    ///
    /// # Errors
    /// When admission refuses it.
    pub async fn admit_review(
        &self,
        authorized: &Authorized,
        asked: (&Target, &Served, &WriteOptions),
        mut object: Box<dyn meta::Object>,
        own: bool,
        warnings: &mut Vec<String>,
        notes: &Notes,
    ) -> Result<Box<dyn meta::Object>, Status> {
        let (target, served, options) = asked;
        if object.meta().namespace.is_empty() {
            object.meta_mut().namespace = target.namespace.clone();
        }
        if own {
            Endpoint { served, subresource: "", options, now_s: self.now_s() }.record(&mut *object, None);
        }
        let review = Review {
            operation: Operation::Create,
            target,
            user: authorized.user(),
            old: None,
            dry_run: options.dry_run == DryRun::All,
            notes,
            options: Options::Write(options),
            codec: served,
        };
        let mutated = self.chain.mutate(authorized, &review, object, self, warnings).await?;
        let admitted = self.chain.validate(&review, mutated, self, warnings, |_| Ok(())).await;
        warnings.extend(notes.take_warnings());
        admitted.map(|admitted| admitted.into_parts().0)
    }

    /// What the kind's rules may know of the request.
    pub(crate) fn context(&self, request: &Request<'_>) -> rules::Context {
        let user = request.authorized.user();
        rules::Context {
            username: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.iter().cloned().collect(),
            extra: user.extra.iter().map(|(k, v)| (k.clone(), v.iter().cloned().collect())).collect(),
            allow_privileged: true,
            unlabelled: request.unlabelled,
            now: Some(meta::Time::from_unix(self.now_s())),
        }
    }
}
