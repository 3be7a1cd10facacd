//! Custom resources beside the built-in ones: which definitions are served now.
//!
//! The table is replaced as a whole when a definition comes, changes or goes; a request keeps the row that it found. All
//! versions of a definition share one feed, whose objects are in the storage version. When a definition changes, its
//! feed is opened anew and the watches of the old one end, as clients must read by the new schema.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use admission::Notes;
use authz::Authorized;
use call::{DeleteOptions, ListOptions, Target};
use custom::Kind;
use feed::{FeedOptions, ReadAt, Scope, Start, WatchOptions};
use meta::{Status, Str};
use tokio::sync::watch;
use types::apiextensions::v1::{CustomResourceDefinition, CustomResourceDefinitionSpec};

use crate::conversion::Webhook;
use crate::errors;
use crate::feeds::{CustomCodec, ObjectFeed};
use crate::registry::{Registry, Request};
use crate::served::Served;

/// The numbers of definitions; 0 is that of built-in kinds.
static FORMS: AtomicU64 = AtomicU64::new(1);

/// How objects get from one version to another.
pub enum Conversion {
    /// Only the name of the version changes.
    None,
    /// A webhook knows.
    Webhook(Box<Webhook>),
}

/// What all versions of a definition have in common.
pub struct Definition {
    /// `widgets.example.com`
    pub name: Str,
    /// The spec that is served.
    pub spec: CustomResourceDefinitionSpec,
    pub(crate) feed: Arc<ObjectFeed>,
    pub(crate) storage: Arc<Kind>,
    /// Every version by its name.
    pub(crate) kinds: HashMap<Str, Arc<Kind>>,
    pub(crate) conversion: Conversion,
    /// A number that no other definition has, nor this one in another state.
    pub(crate) form: u64,
    terminating: AtomicBool,
    over: watch::Sender<bool>,
}

impl Definition {
    /// Whether the definition is being deleted: nothing new may come into being.
    pub fn is_terminating(&self) -> bool {
        self.terminating.load(Ordering::Acquire)
    }

    /// Turns true when another definition takes this one's place.
    pub(crate) fn over(&self) -> watch::Receiver<bool> {
        self.over.subscribe()
    }
}

/// One version of a definition as it is served.
pub struct Custom {
    /// Its names, codec and rules.
    pub kind: Arc<Kind>,
    /// What it shares with the other versions.
    pub definition: Arc<Definition>,
}

/// Everything that definitions add to the built-in resources.
#[derive(Default)]
pub struct Definitions {
    /// By the name of the definition.
    rows: BTreeMap<Str, Row>,
    /// By group, the names of its definitions.
    groups: HashMap<Str, Vec<Str>>,
}

#[derive(Clone)]
struct Row {
    /// The version in which objects are stored, which need not be served.
    storage: Served,
    /// The served versions in the order of the definition.
    served: Vec<Served>,
}

impl Definitions {
    /// A version of a resource.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Served> {
        if self.rows.is_empty() {
            return None;
        }
        let row = self.rows.get(format!("{plural}.{group}").as_str())?;
        row.served.iter().find(|served| served.resource().version == version)
    }

    /// Everything that is served.
    pub fn all(&self) -> impl Iterator<Item = &Served> {
        self.rows.values().flat_map(|row| &row.served)
    }

    /// What is served of a group.
    pub fn of_group(&self, group: &str) -> impl Iterator<Item = &Served> {
        let names = self.groups.get(group).map(Vec::as_slice).unwrap_or_default();
        names.iter().filter_map(|name| self.rows.get(name)).flat_map(|row| &row.served)
    }

    /// The stored version of a definition, by the definition's name.
    pub fn stored(&self, name: &str) -> Option<&Served> {
        self.rows.get(name).map(|row| &row.storage)
    }

    /// Whether a definition of the group is served.
    pub fn has_group(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// The groups, by name.
    pub fn groups(&self) -> Vec<&Str> {
        let mut groups: Vec<&Str> = self.groups.keys().collect();
        groups.sort();
        groups
    }

    fn with(&self, name: &Str, row: Option<Row>) -> Self {
        let mut all = self.rows.clone();
        match row {
            Some(row) => drop(all.insert(name.clone(), row)),
            None => drop(all.remove(name)),
        }
        let mut groups: HashMap<Str, Vec<Str>> = HashMap::new();
        for (name, row) in all.iter().filter(|(_, row)| !row.served.is_empty()) {
            groups.entry(Str::from(&*row.storage.resource().group)).or_default().push(name.clone());
        }
        Definitions { rows: all, groups }
    }
}

impl Registry {
    /// What definitions add, as it is now.
    pub fn definitions(&self) -> Arc<Definitions> {
        self.definitions.load_full()
    }

    /// Serves a definition, or what it has become.
    pub async fn define(self: &Arc<Self>, crd: &CustomResourceDefinition) -> Result<(), Status> {
        let name = &crd.metadata.name;
        let now = self.definitions();
        let known = now.stored(name).and_then(Served::custom);
        let terminating = custom::definition::is_true(crd, "Terminating");
        let same_names = known.is_some_and(|known| {
            let resource = known.kind.resource();
            let accepted = &crd.status.accepted_names;
            resource.kind == accepted.kind.as_str() && resource.singular == accepted.singular.as_str()
        });
        if let Some(known) = known.filter(|known| known.definition.spec == crd.spec && same_names) {
            known.definition.terminating.store(terminating, Ordering::Release);
            return Ok(());
        }
        let mut kinds = HashMap::new();
        for version in &crd.spec.versions {
            let kind = Kind::read(crd, &version.name).map_err(errors::internal)?;
            kinds.insert(version.name.clone(), Arc::new(kind));
        }
        let storage = crd.spec.versions.iter().find(|v| v.storage).and_then(|v| kinds.get(&v.name));
        let storage = storage.ok_or_else(|| errors::internal("no version is stored"))?.clone();
        let conversion = match &crd.spec.conversion {
            Some(conversion) if conversion.strategy == "Webhook" => {
                let webhook = conversion.webhook.as_ref();
                let client = webhook.and_then(|w| w.client_config.clone()).unwrap_or_default();
                let versions = webhook.map(|w| w.conversion_review_versions.clone()).unwrap_or_default();
                let webhook = Webhook::new(&client, &versions, Arc::downgrade(self));
                Conversion::Webhook(Box::new(webhook))
            }
            _ => Conversion::None,
        };
        let resource = storage.resource();
        let options = FeedOptions::new(&*resource.key_prefix, &resource.group, &resource.plural);
        let converts = matches!(conversion, Conversion::None);
        let form = FORMS.fetch_add(1, Ordering::Relaxed);
        let codec = Arc::new(CustomCodec { storage: storage.clone(), converts, form });
        let feed = ObjectFeed::open(self.store.clone(), codec, &self.env, options).await;
        let served = crd.spec.versions.iter().filter(|v| v.served);
        let served: Vec<Arc<Kind>> = served.filter_map(|v| kinds.get(&v.name).cloned()).collect();
        let definition = Arc::new(Definition {
            kinds,
            name: name.clone(),
            spec: crd.spec.clone(),
            feed: Arc::new(feed.map_err(errors::from_store)?),
            storage,
            conversion,
            form,
            terminating: AtomicBool::new(terminating),
            over: watch::channel(false).0,
        });
        let served = served
            .into_iter()
            .map(|kind| Served::of_definition(Custom { kind, definition: definition.clone() }));
        let served = served.collect();
        let kind = definition.storage.clone();
        let storage = Served::of_definition(Custom { kind, definition: definition.clone() });
        self.replace(name, Some(Row { storage, served }));
        Ok(())
    }

    /// Stops serving a definition.
    pub fn undefine(&self, name: &Str) {
        if self.definitions.load().rows.contains_key(name) {
            self.replace(name, None);
        }
    }

    /// Deletes every object of a definition, and answers when the last one is gone.
    pub async fn delete_instances(&self, authorized: &Authorized, name: &str) -> Result<(), Status> {
        let definitions = self.definitions();
        let Some(served) = definitions.stored(name) else { return Ok(()) };
        let resource = served.resource();
        let target = Target {
            group: Str::from(&*resource.group),
            version: Str::from(&*resource.version),
            resource: Str::from(&*resource.plural),
            namespace: Str::new(),
            name: Str::new(),
            subresource: Str::new(),
        };
        let feed = self.feeds.of(served)?;
        let start = Start::State { at: ReadAt::Latest, end_bookmark: true };
        let watching = feed.watch(WatchOptions::new(Scope::All, start)).await;
        let mut watcher = watching.map_err(crate::read::from_feed)?;
        let (mut warnings, mut notes) = (Vec::new(), Notes::default());
        let mut request = Request {
            authorized,
            target: &target,
            served,
            warnings: &mut warnings,
            notes: &mut notes,
            unlabelled: false,
        };
        loop {
            self.delete_collection(&mut request, &ListOptions::default(), DeleteOptions::default()).await?;
            loop {
                let left = self.newest(served).await?;
                if left.is_empty() {
                    return Ok(());
                }
                // A write that was under way when the definition began to end may have made another one.
                if left.iter().any(|entry| !entry.object().meta().is_deleting()) {
                    break;
                }
                // Whoever holds the rest back by a finalizer will let it go, which is an event.
                watcher.next().await.map_err(crate::read::from_feed)?;
            }
        }
    }

    fn replace(&self, name: &Str, row: Option<Row>) {
        let before = self.definitions.load_full();
        self.definitions.store(Arc::new(before.with(name, row)));
        let gone = before.stored(name).and_then(Served::custom);
        if let Some(gone) = gone {
            gone.definition.over.send_replace(true);
        }
    }
}
