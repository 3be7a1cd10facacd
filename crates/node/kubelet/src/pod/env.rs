//! The environment of a container: `envFrom`, `env` with its references, and the variables of services.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use types::core::v1::{ConfigMap, Container, EnvVar, Pod, Secret, Service};
use volumes::{Host, downward};

use super::expand::expand;

/// Objects that environments may refer to, fetched beforehand. `None` means that there is none of that name.
#[derive(Default)]
pub struct Objects {
    /// By name.
    pub config_maps: HashMap<String, Option<Arc<ConfigMap>>>,
    /// By name.
    pub secrets: HashMap<String, Option<Arc<Secret>>>,
    /// Services of the pod's namespace, and the API server's own.
    pub services: Vec<Arc<Service>>,
    /// Content of files that `fileKeyRef` names, by volume and path.
    pub files: HashMap<(String, String), Option<String>>,
}

/// Names of the ConfigMaps and Secrets that the container's environment needs.
pub fn references(container: &Container) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for from in &container.env_from {
        maps.extend(from.config_map_ref.iter().map(|r| r.name.to_string()));
        secrets.extend(from.secret_ref.iter().map(|r| r.name.to_string()));
    }
    for from in container.env.iter().filter_map(|e| e.value_from.as_deref()) {
        maps.extend(from.config_map_key_ref.iter().map(|r| r.name.to_string()));
        secrets.extend(from.secret_key_ref.iter().map(|r| r.name.to_string()));
    }
    (maps, secrets)
}

/// Variables in no particular order, each name once.
///
/// # Errors
/// The message of `CreateContainerConfigError`.
pub fn environment(
    pod: &Pod,
    container: &Container,
    host: &Host,
    objects: &Objects,
) -> Result<BTreeMap<String, String>, String> {
    let links = pod.spec.enable_service_links.unwrap_or(true);
    let services = service_env(&pod.metadata.namespace, links, &objects.services);
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    for from in &container.env_from {
        let mut put = |key: &str, value: String| {
            let name = format!("{}{key}", from.prefix);
            // Keys that are no variable names are skipped, as is documented for envFrom.
            if !name.is_empty() && !name.contains('=') && !name.contains('\0') {
                out.insert(name, value);
            }
        };
        if let Some(r) = &from.config_map_ref
            && let Some(map) = config_map(objects, &r.name, r.optional.unwrap_or(false))?
        {
            map.data.iter().for_each(|(k, v)| put(k, v.to_string()));
        }
        if let Some(r) = &from.secret_ref
            && let Some(secret) = secret(objects, &r.name, r.optional.unwrap_or(false))?
        {
            secret.data.iter().for_each(|(k, v)| put(k, String::from_utf8_lossy(&v.0).into_owned()));
        }
    }
    for var in &container.env {
        if let Some(value) = value(pod, container, host, objects, var, &out, &services)? {
            out.insert(var.name.to_string(), value);
        }
    }
    for (name, value) in services {
        out.entry(name).or_insert(value);
    }
    Ok(out)
}

fn config_map<'a>(
    objects: &'a Objects,
    name: &str,
    optional: bool,
) -> Result<Option<&'a Arc<ConfigMap>>, String> {
    match objects.config_maps.get(name).and_then(Option::as_ref) {
        None if !optional => Err(format!("configmap \"{name}\" not found")),
        found => Ok(found),
    }
}

fn secret<'a>(objects: &'a Objects, name: &str, optional: bool) -> Result<Option<&'a Arc<Secret>>, String> {
    match objects.secrets.get(name).and_then(Option::as_ref) {
        None if !optional => Err(format!("secret \"{name}\" not found")),
        found => Ok(found),
    }
}

/// The value of one `env` entry; `None` when it is optional and not there.
fn value(
    pod: &Pod,
    container: &Container,
    host: &Host,
    objects: &Objects,
    var: &EnvVar,
    before: &BTreeMap<String, String>,
    services: &BTreeMap<String, String>,
) -> Result<Option<String>, String> {
    let namespace = &pod.metadata.namespace;
    let Some(from) = var.value_from.as_deref().filter(|_| var.value.is_empty()) else {
        let lookup = |name: &str| before.get(name).or_else(|| services.get(name)).map(String::as_str);
        return Ok(Some(expand(&var.value, lookup)));
    };
    if let Some(r) = &from.field_ref {
        return downward::field(pod, host, r).map(Some).map_err(|e| e.to_string());
    }
    if let Some(r) = &from.resource_field_ref {
        let named = pod.spec.containers.iter().chain(pod.spec.init_containers.iter());
        let target = match r.container_name.as_str() {
            "" => container,
            name => named
                .into_iter()
                .find(|c| c.name == name)
                .ok_or_else(|| format!("container {name} not found"))?,
        };
        return downward::resource(target, host, r).map(Some).map_err(|e| e.to_string());
    }
    if let Some(r) = &from.config_map_key_ref {
        let optional = r.optional.unwrap_or(false);
        let Some(map) = config_map(objects, &r.name, optional)? else { return Ok(None) };
        return match map.data.get(r.key.as_str()) {
            Some(value) => Ok(Some(value.to_string())),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {} in ConfigMap {namespace}/{}", r.key, r.name)),
        };
    }
    if let Some(r) = &from.secret_key_ref {
        let optional = r.optional.unwrap_or(false);
        let Some(secret) = secret(objects, &r.name, optional)? else { return Ok(None) };
        return match secret.data.get(r.key.as_str()) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {} in Secret {namespace}/{}", r.key, r.name)),
        };
    }
    if let Some(r) = &from.file_key_ref {
        let optional = r.optional.unwrap_or(false);
        let content =
            objects.files.get(&(r.volume_name.to_string(), r.path.to_string())).and_then(Option::as_ref);
        let found = content.and_then(|text| file_key(text, &r.key));
        return match found {
            Some(value) => Ok(Some(value)),
            None if optional => Ok(None),
            None => Err(format!("environment variable key \"{}\" not found in file \"{}\"", r.key, r.path)),
        };
    }
    Ok(Some(String::new()))
}

/// One `KEY='value'` (or unquoted) line of an environment file.
fn file_key(text: &str, key: &str) -> Option<String> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let mut pairs = lines.filter_map(|l| l.split_once('='));
    let (_, value) = pairs.find(|(k, _)| k.trim() == key)?;
    let value = value.trim();
    let quoted = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\''));
    Some(quoted.unwrap_or(value).to_owned())
}

/// The variables that every service with an address gives to pods of its namespace (all of them with `links`), and the
/// API server's service to every pod.
pub fn service_env(namespace: &str, links: bool, services: &[Arc<Service>]) -> BTreeMap<String, String> {
    let is_api = |s: &Service| s.metadata.namespace == "default" && s.metadata.name == "kubernetes";
    // The API server's own service comes first, so that one of the same name in the pod's namespace wins.
    let api = services.iter().filter(|s| is_api(s));
    let own = services.iter().filter(|s| links && s.metadata.namespace == namespace);
    let mut out = BTreeMap::new();
    for service in api.chain(own) {
        let address = service.spec.cluster_ip.as_str();
        if address.is_empty() || address == "None" || service.spec.ports.is_empty() {
            continue;
        }
        one_service(service, address, &mut out);
    }
    out
}

fn one_service(service: &Service, address: &str, out: &mut BTreeMap<String, String>) {
    let name = service.metadata.name.as_str().to_uppercase().replace('-', "_");
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    out.insert(format!("{name}_SERVICE_HOST"), address.to_owned());
    out.insert(format!("{name}_SERVICE_PORT"), service.spec.ports[0].port.to_string());
    for (i, port) in service.spec.ports.iter().enumerate() {
        if !port.name.is_empty() {
            let label = port.name.as_str().to_uppercase().replace('-', "_");
            out.insert(format!("{name}_SERVICE_PORT_{label}"), port.port.to_string());
        }
        let protocol = if port.protocol.is_empty() { "TCP" } else { port.protocol.as_str() };
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
        if i == 0 {
            out.insert(format!("{name}_PORT"), url.clone());
        }
        out.insert(format!("{prefix}_PROTO"), protocol.to_lowercase());
        out.insert(format!("{prefix}_PORT"), port.port.to_string());
        out.insert(format!("{prefix}_ADDR"), address.to_owned());
        out.insert(prefix, url);
    }
}

#[cfg(test)]
#[path = "env_tests.rs"]
mod tests;
