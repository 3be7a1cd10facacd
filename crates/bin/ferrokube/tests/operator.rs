//! An operator made with kube-rs, against a server: its derived CRD, watcher, controller, finalizer, server-side apply,
//! status and scale.

mod machine;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, CustomResource, CustomResourceExt, Resource, ResourceExt};
use machine::Machine;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A greeting that becomes a ConfigMap of its own.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(group = "operator.example.com", version = "v1", kind = "Greeting", namespaced, shortname = "gr")]
#[kube(status = "GreetingStatus")]
#[kube(scale(spec_replicas_path = ".spec.times", status_replicas_path = ".status.said"))]
#[kube(printcolumn(name = "Text", type_ = "string", json_path = ".spec.text"))]
#[kube(validation = Rule::new("self.spec.text != 'bye'").message("greet, do not leave"))]
struct GreetingSpec {
    text: String,
    #[serde(default)]
    times: i32,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
struct GreetingStatus {
    said: i32,
}

const MANAGER: &str = "greeter";
const FINALIZER: &str = "operator.example.com/say-bye";
const SOON: Duration = Duration::from_secs(30);

/// Makes the ConfigMap of a greeting and tells of it in the greeting's status; at its end leaves a farewell.
async fn reconcile(greeting: Arc<Greeting>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let namespace = greeting.namespace().unwrap_or_default();
    let greetings: Api<Greeting> = Api::namespaced((*client).clone(), &namespace);
    let maps: Api<ConfigMap> = Api::namespaced((*client).clone(), &namespace);
    let ended = finalizer(&greetings, FINALIZER, greeting, |event| async {
        match event {
            Event::Apply(greeting) => {
                let mut map = ConfigMap::default();
                map.metadata.name = Some(greeting.name_any());
                map.metadata.owner_references = greeting.controller_owner_ref(&()).map(|owner| vec![owner]);
                map.data = Some(BTreeMap::from([("text".to_owned(), greeting.spec.text.clone())]));
                let apply = PatchParams::apply(MANAGER).force();
                maps.patch(&greeting.name_any(), &apply, &Patch::Apply(&map)).await?;
                let status = serde_json::json!({ "status": { "said": greeting.spec.times } });
                let (name, params) = (greeting.name_any(), PatchParams::default());
                greetings.patch_status(&name, &params, &Patch::Merge(&status)).await?;
            }
            Event::Cleanup(greeting) => {
                let mut farewell = ConfigMap::default();
                farewell.metadata.name = Some(format!("{}-bye", greeting.name_any()));
                maps.create(&PostParams::default(), &farewell).await?;
            }
        }
        Ok(Action::await_change())
    });
    ended.await.map_err(|error| match error {
        kube::runtime::finalizer::Error::ApplyFailed(error)
        | kube::runtime::finalizer::Error::CleanupFailed(error)
        | kube::runtime::finalizer::Error::AddFinalizer(error)
        | kube::runtime::finalizer::Error::RemoveFinalizer(error) => error,
        other => panic!("{other}"),
    })
}

async fn connect(machine: &Machine) -> Client {
    let config = kube::config::Kubeconfig::from_yaml(&machine.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// The refusal's code and message.
fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> (u16, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.message),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn an_operator_keeps_its_objects() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let machine = Machine::new("operator");
    let tokens = machine.token_file();
    let _server = machine.start(&["--no-node", "--bind-address", "127.0.0.1", &tokens]);
    let client = connect(&machine).await;

    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let apply = PatchParams::apply(MANAGER);
    definitions.patch(Greeting::crd_name(), &apply, &Patch::Apply(Greeting::crd())).await.unwrap();
    let established = await_condition(definitions, Greeting::crd_name(), conditions::is_crd_established());
    tokio::time::timeout(SOON, established).await.unwrap().unwrap();

    let greetings: Api<Greeting> = Api::default_namespaced(client.clone());
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let controller = Controller::new(greetings.clone(), watcher::Config::default())
        .owns(maps.clone(), watcher::Config::default())
        .run(reconcile, |_, error, _| panic!("{error}"), Arc::new(client.clone()))
        .for_each(|_| async {});
    let controller = tokio::spawn(controller);
    // Bookmarks and the initial list come over the watch itself.
    let streaming = watcher(maps.clone(), watcher::Config::default().streaming_lists());
    let mut seen = Box::pin(streaming.applied_objects());

    let (code, message) = refusal(greetings.create(&PostParams::default(), &greeting("rude", "bye")).await);
    assert_eq!(code, 422, "{message}");
    assert!(message.contains("greet, do not leave"), "{message}");

    greetings.create(&PostParams::default(), &greeting("hello", "hi")).await.unwrap();
    wait_for(&mut seen, "hello", |map| map.data.as_ref().is_some_and(|data| data["text"] == "hi")).await;

    // What somebody else changes is put right, since the controller watches what it owns.
    let other = serde_json::json!({ "data": { "text": "spoilt" } });
    maps.patch("hello", &PatchParams::default(), &Patch::Merge(&other)).await.unwrap();
    wait_for(&mut seen, "hello", |map| map.data.as_ref().is_some_and(|data| data["text"] == "spoilt")).await;
    wait_for(&mut seen, "hello", |map| map.data.as_ref().is_some_and(|data| data["text"] == "hi")).await;
    let conflict = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": { "text": "mine" },
    });
    let stranger = PatchParams::apply("stranger");
    let (code, message) = refusal(maps.patch("hello", &stranger, &Patch::Apply(&conflict)).await);
    assert_eq!((code, message.contains("conflict with \"greeter\"")), (409, true), "{message}");

    // The scale subresource, and the status that answers it.
    let scale = serde_json::json!({ "spec": { "replicas": 3 } });
    let scaled =
        greetings.patch_scale("hello", &PatchParams::default(), &Patch::Merge(&scale)).await.unwrap();
    assert_eq!(scaled.spec.and_then(|spec| spec.replicas), Some(3));
    let said = await_condition(greetings.clone(), "hello", |greeting: Option<&Greeting>| {
        greeting.and_then(|greeting| greeting.status.as_ref()).is_some_and(|status| status.said == 3)
    });
    tokio::time::timeout(SOON, said).await.unwrap().unwrap();

    // The finalizer holds the greeting until the operator has said farewell; then the collector takes what it owned.
    let uid = greetings.get("hello").await.unwrap().uid().unwrap();
    greetings.delete("hello", &DeleteParams::foreground()).await.unwrap();
    let gone = await_condition(greetings.clone(), "hello", conditions::is_deleted(&uid));
    tokio::time::timeout(SOON, gone).await.unwrap().unwrap();
    wait_for(&mut seen, "hello-bye", |_| true).await;
    let left = maps.list(&ListParams::default()).await.unwrap();
    assert!(left.items.iter().all(|map| map.name_any() != "hello"), "the owned object outlived its owner");
    controller.abort();
}

fn greeting(name: &str, text: &str) -> Greeting {
    Greeting::new(name, GreetingSpec { text: text.to_owned(), times: 1 })
}

/// Reads the watch until it shows the named object in the wanted state.
async fn wait_for<S>(seen: &mut S, name: &str, wanted: impl Fn(&ConfigMap) -> bool)
where
    S: futures::Stream<Item = Result<ConfigMap, watcher::Error>> + Unpin,
{
    let found = async {
        while let Some(map) = seen.try_next().await.unwrap() {
            if map.name_any() == name && wanted(&map) {
                return;
            }
        }
        panic!("the watch ended");
    };
    tokio::time::timeout(SOON, found).await.unwrap_or_else(|_| panic!("{name} did not come to be"));
}
