//! Values that could not be read when the store was opened, such as for a KMS plugin that came later than the server.

use std::sync::Arc;

use bytes::Bytes;
use mvcc::{Embedded, KeyRange, KeyValue, Opened, Put, RangeOptions, Seal, Store, Unreadable};

use crate::Encryption;

/// What every object's JSON has before its revision; nothing before it can contain a quote.
const REVISION: &[u8] = b"\"resourceVersion\":\"";

/// Tries once more to read what could not be read when the store was opened, and stores it anew. To clients these are
/// changes: nobody has seen the objects since the server started.
pub async fn read_again(encryption: &Arc<Encryption>, store: &Arc<Embedded>) {
    let range = store.range_now(&KeyRange::all(), RangeOptions::default());
    let found = range.map(|found| found.kvs).unwrap_or_default().into_iter().filter(|kv| is_unreadable(kv));
    let (found, seal): (Vec<_>, _) = (found.collect(), encryption.clone());
    if found.is_empty() {
        return;
    }
    // A plugin may be asked for keys, which takes its time.
    let opened = tokio::task::spawn_blocking(move || {
        let opened = found.into_iter().filter_map(|kv| match seal.open(&kv.key, kv.value.clone()) {
            Opened::Fresh(value) | Opened::Stale(value) => Some((kv, value)),
            Opened::Unreadable { .. } => None,
        });
        opened.collect::<Vec<_>>()
    });
    let mut count = 0;
    for (kv, value) in opened.await.unwrap_or_default() {
        let (value, stamp_at) = unstamped(value);
        let put = Put { key: kv.key.clone(), value, stamp_at, lease: kv.lease, ..Put::default() };
        match store.replace(put, kv.mod_revision).await {
            Ok(_) => count += 1,
            Err(error) => {
                let key = String::from_utf8_lossy(&kv.key);
                tracing::error!(%key, %error, "a value that can be read again cannot be stored");
            }
        }
    }
    tracing::info!(count, "values that could not be read can be read again");
}

fn is_unreadable(kv: &KeyValue) -> bool {
    kv.payload.as_ref().is_some_and(|payload| payload.downcast_ref::<Unreadable>().is_some())
}

/// An object's JSON without its revision, and where the next one belongs.
fn unstamped(value: Bytes) -> (Bytes, Option<usize>) {
    let Some(at) = value.windows(REVISION.len()).position(|window| window == REVISION) else {
        return (value, None);
    };
    let at = at + REVISION.len();
    let digits = value[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    (Bytes::from([&value[..at], &value[at + digits..]].concat()), Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_taken_out() {
        let text =
            br#"{"metadata":{"name":"a","resourceVersion":"123","annotations":{"resourceVersion":"4"}}}"#;
        let (value, at) = unstamped(Bytes::from_static(text));
        let want = r#"{"metadata":{"name":"a","resourceVersion":"","annotations":{"resourceVersion":"4"}}}"#;
        assert_eq!((&value[..], at), (want.as_bytes(), want.find("\",\"annotations")));
        assert_eq!(unstamped(Bytes::from_static(b"x")), (Bytes::from_static(b"x"), None));
    }
}
