//! Environments: order, references, errors.

use super::*;
use types::core::v1::{ConfigMapEnvSource, ConfigMapKeySelector, EnvFromSource, EnvVarSource, ServicePort};

fn var(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.into(), value: value.into(), ..Default::default() }
}

fn from_map(name: &str, map: &str, key: &str, optional: bool) -> EnvVar {
    let key = ConfigMapKeySelector { name: map.into(), key: key.into(), optional: Some(optional) };
    let from = EnvVarSource { config_map_key_ref: Some(Box::new(key)), ..Default::default() };
    EnvVar { name: name.into(), value_from: Some(Box::new(from)), ..Default::default() }
}

fn objects() -> Objects {
    let mut map = ConfigMap::default();
    map.data.insert("color", "blue".into());
    map.data.insert("A", "from-map".into());
    let mut objects = Objects::default();
    objects.config_maps.insert("cm".into(), Some(Arc::new(map)));
    let mut service = Service::default();
    service.metadata.name = "kubernetes".into();
    service.metadata.namespace = "default".into();
    service.spec.cluster_ip = "10.96.0.1".into();
    let port = ServicePort { name: "https".into(), protocol: "TCP".into(), port: 443, ..Default::default() };
    service.spec.ports.push(port);
    objects.services.push(Arc::new(service));
    objects
}

fn pod() -> Pod {
    let mut pod = Pod::default();
    pod.metadata.namespace = "shop".into();
    pod
}

#[test]
fn values_build_on_earlier_ones() {
    let mut container = Container::default();
    let source = ConfigMapEnvSource { name: "cm".into(), optional: None };
    container.env_from.push(EnvFromSource {
        prefix: "P_".into(),
        config_map_ref: Some(Box::new(source)),
        ..Default::default()
    });
    for v in [var("A", "1"), var("B", "$(A)-$(C)-$(P_color)"), var("C", "$(KUBERNETES_SERVICE_HOST)")] {
        container.env.push(v);
    }
    container.env.push(from_map("D", "cm", "color", false));
    container.env.push(from_map("E", "cm", "none", true));
    container.env.push(from_map("F", "none", "none", true));
    let env = environment(&pod(), &container, &Host::default(), &objects()).unwrap();
    assert_eq!(env["P_color"], "blue");
    assert_eq!(env["B"], "1-$(C)-blue");
    assert_eq!(env["C"], "10.96.0.1");
    assert_eq!(env["D"], "blue");
    assert!(!env.contains_key("E") && !env.contains_key("F"));
    assert_eq!(env["KUBERNETES_PORT_443_TCP"], "tcp://10.96.0.1:443");
    assert_eq!(env["KUBERNETES_SERVICE_PORT_HTTPS"], "443");
    assert_eq!(references(&container).0.into_iter().collect::<Vec<_>>(), ["cm", "none"]);
}

#[test]
fn missing_objects_are_named() {
    for (v, want) in [
        (from_map("A", "nope", "k", false), "configmap \"nope\" not found"),
        (from_map("A", "cm", "k", false), "couldn't find key k in ConfigMap shop/cm"),
    ] {
        let mut container = Container::default();
        container.env.push(v);
        assert_eq!(environment(&pod(), &container, &Host::default(), &objects()).unwrap_err(), want);
    }
}

#[test]
fn files_and_service_links() {
    assert_eq!(file_key("# c\nA='x y'\nB=2\n", "A").as_deref(), Some("x y"));
    assert_eq!(file_key("A=1", "Z"), None);
    let objects = objects();
    assert!(service_env("shop", false, &objects.services).contains_key("KUBERNETES_SERVICE_HOST"));
}
