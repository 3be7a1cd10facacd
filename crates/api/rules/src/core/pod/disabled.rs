//! What feature gates that are off in v1.36 take out of a pod spec before it is validated, wherever it occurs.
//!
//! Upstream keeps a field that is in use already; none can be here, since none is ever let in.

use types::core::v1::*;

/// Takes the fields of disabled features out of a pod spec.
pub(crate) fn drop_disabled(spec: &mut PodSpec) {
    // GenericWorkload.
    spec.scheduling_group = None;
    // ClusterTrustBundleProjection and PodCertificateRequest.
    let projected = spec.volumes.iter_mut().filter_map(|v| v.projected.as_mut());
    for source in projected.flat_map(|p| p.sources.iter_mut()) {
        source.cluster_trust_bundle = None;
        source.pod_certificate = None;
    }
    // ContainerStopSignals.
    for c in spec.containers.iter_mut().chain(spec.init_containers.iter_mut()) {
        stop_signal(&mut c.lifecycle);
    }
    for c in spec.ephemeral_containers.iter_mut() {
        stop_signal(&mut c.lifecycle);
    }
}

/// A lifecycle that said nothing else goes with its signal.
fn stop_signal<L: AsMut<Lifecycle>>(lifecycle: &mut Option<L>) {
    let Some(inner) = lifecycle.as_mut().map(AsMut::as_mut) else { return };
    if inner.stop_signal.take().is_some() && inner.post_start.is_none() && inner.pre_stop.is_none() {
        *lifecycle = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::Codec as _;

    #[test]
    fn disabled_fields_go() {
        for (spec, kept) in [
            (
                r#"{"containers":[{"name":"c","lifecycle":{"stopSignal":"SIGHUP"}}]}"#,
                r#"{"containers":[{"name":"c","resources":{}}]}"#,
            ),
            (r#"{"containers":null,"schedulingGroup":{"podGroupName":"g"}}"#, r#"{"containers":null}"#),
            (
                r#"{"containers":null,"volumes":[{"name":"v","projected":{"sources":[{"clusterTrustBundle":{"path":"p"}}]}}]}"#,
                r#"{"volumes":[{"name":"v","projected":{"sources":[{}]}}],"containers":null}"#,
            ),
        ] {
            let mut spec = PodSpec::from_json(spec.as_bytes()).expect("JSON");
            drop_disabled(&mut spec);
            assert_eq!(String::from_utf8_lossy(&spec.to_json()), kept);
        }
    }
}
