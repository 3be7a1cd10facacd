//! Flow control at the pipeline's door: what of a request it looks at, and how it sends one away.

use authn::Identified;
use flow::{Digest, Rejection, Seat};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, StatusCode};
use meta::Status;

use crate::metrics::Routed;
use crate::pipeline::Decoded;
use crate::server::Server;

/// Seats of the server: upstream's 400 requests that read and 200 that write.
pub(crate) const SEATS: u32 = 600;

const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

impl Server {
    /// Waits for a seat, or refuses with 429. Streams that last as long as the client likes need none, but the start of
    /// a watch does.
    pub(crate) async fn enter(&self, user: &Identified, request: &Decoded) -> Result<Option<Seat>, Status> {
        let info = &request.info;
        if info.long_running(&request.path) && info.verb != "watch" {
            return Ok(None);
        }
        let resource = match info.subresource.as_str() {
            "" => info.resource.to_string(),
            sub => format!("{}/{sub}", info.resource),
        };
        let digest = Digest {
            user: user.user(),
            verb: info.verb,
            path: (!info.is_resource).then_some(request.path.as_str()),
            group: &info.group,
            resource: &resource,
            namespace: &info.namespace,
        };
        let seat = self.flow.enter(&digest, 1).await.map_err(|rejection| {
            // Whoever is refused here has proved no right yet: words of a path that nothing serves must not stay in memory.
            let served =
                info.is_resource.then(|| self.registry.served(&info.group, &info.version, &info.resource));
            let known = served.flatten().is_some_and(|served| {
                info.subresource.is_empty() || served.subresource(&info.subresource).is_some()
            });
            if known {
                request.routed.get_or_init(|| Routed::Resource);
            }
            self.metrics.terminated(request, StatusCode::TOO_MANY_REQUESTS);
            let wait_s = if rejection == Rejection::TimeOut { 5 } else { 1 };
            Status::too_many_requests("Too many requests, please try again later.", wait_s)
        })?;
        if let Some(seat) = &seat {
            request.elsewhere.add(seat.waited);
        }
        Ok(seat)
    }
}

/// Tells the client which schema and level its request had.
pub(crate) fn tell(seat: &Seat, headers: &mut HeaderMap) {
    for (name, uid) in [(SCHEMA_UID, &seat.schema_uid), (LEVEL_UID, &seat.level_uid)] {
        if let Ok(value) = HeaderValue::from_str(uid) {
            headers.insert(name, value);
        }
    }
}
