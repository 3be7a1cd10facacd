//! Tokens that a kubelet asks for, on behalf of its pods.

use authz::Attributes;
use meta::{Str, go_quote};
use types::authentication::v1::TokenRequest;
use types::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use types::storage::v1::CSIDriver;

use super::{Case, Refusal};
use crate::review::{Review, as_ref};
use crate::world::{World, WorldExt};

pub(super) fn check(case: &Case<'_>) -> Result<(), Refusal> {
    let Some(request) = case.object.and_then(as_ref::<TokenRequest>) else { return Ok(()) };
    let bound = request.spec.bound_object_ref.as_ref();
    let bound = bound.filter(|b| b.kind == "Pod" && b.api_version == "v1" && !b.name.is_empty());
    let Some(bound) = bound else { return Err("node requested token not bound to a pod".into()) };
    if bound.uid.is_empty() {
        return Err("node requested token with a pod binding without a uid".into());
    }
    let Some(pod) = case.world.get::<Pod>(case.review.namespace(), &bound.name) else {
        return Err(Refusal::Missing { kind: "pod", name: bound.name.to_string() });
    };
    if pod.metadata.uid != bound.uid {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            bound.uid
        );
        return Err(why.into());
    }
    if pod.spec.node_name.as_str() != case.node {
        return Err("node requested token bound to a pod scheduled on a different node".into());
    }
    audience(case.review, &request.spec.audiences, &pod, case.world).map_or(Ok(()), |why| Err(why.into()))
}

/// A node gets tokens for the audiences that its pod's volumes ask for, and for those that its rights name
/// (ServiceAccountNodeAudienceRestriction).
fn audience(review: &Review<'_>, wanted: &[Str], pod: &Pod, world: &dyn World) -> Option<String> {
    let wanted = match wanted {
        [] => "",
        [one] => one.as_str(),
        _ => return Some("node may only request 0 or 1 audiences".into()),
    };
    if pod.spec.volumes.iter().any(|volume| asks_for(volume, wanted, pod, world)) {
        return None;
    }
    let verb = "request-serviceaccounts-token-audience";
    let mut question = Attributes::resource(verb, "", wanted, review.namespace(), &review.target.name);
    question.version = "v1".into();
    if world.allows(review.user, &question) {
        return None;
    }
    let user = review.user.name.as_str();
    Some(format!(
        "audience {} not found in pod spec volume, {user} is not authorized to request tokens for this audience",
        go_quote(wanted)
    ))
}

fn asks_for(volume: &Volume, wanted: &str, pod: &Pod, world: &dyn World) -> bool {
    let projected = volume.projected.iter().flat_map(|projected| &projected.sources);
    let mut tokens = projected.filter_map(|source| source.service_account_token.as_deref());
    if tokens.any(|token| token.audience == wanted) {
        return true;
    }
    let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.metadata.name, volume.name).into()),
        (None, None) => None,
    };
    let driver = match (&volume.csi, claim) {
        (Some(csi), _) => Some(csi.driver.clone()),
        (None, Some(claim)) => world
            .get::<PersistentVolumeClaim>(&pod.metadata.namespace, &claim)
            .and_then(|claim| world.get::<PersistentVolume>("", &claim.spec.volume_name))
            .and_then(|volume| Some(volume.spec.csi.as_ref()?.driver.clone())),
        (None, None) => None,
    };
    let driver = driver.and_then(|driver| world.get::<CSIDriver>("", &driver));
    driver.is_some_and(|driver| driver.spec.token_requests.iter().any(|token| token.audience == wanted))
}
