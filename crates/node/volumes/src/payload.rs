//! Which files a ConfigMap, Secret or downward API volume holds. Pure: objects in, names and bytes out.

use std::collections::BTreeMap;

use meta::List;
use types::core::v1::{ConfigMap, KeyToPath, Secret};

use crate::error::{Error, Result};

/// Files by their path inside the volume.
pub type Payload = BTreeMap<String, File>;

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub data: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
    /// Its owner, where that differs from the volume's (tokens belong to the container's user).
    pub uid: Option<u32>,
}

impl File {
    /// A file of the volume's owner.
    pub fn new(data: Vec<u8>, mode: u32) -> File {
        File { data, mode, uid: None }
    }
}

/// The mode from the API, or Kubernetes' default for `None`.
pub fn mode_or(mode: Option<i32>, default: Option<i32>) -> u32 {
    mode.or(default).and_then(|m| u32::try_from(m).ok()).unwrap_or(0o644) & 0o7777
}

/// Files of a ConfigMap. `None` for the map means that it does not exist and is optional.
pub fn config_map(
    map: Option<&ConfigMap>,
    items: &List<KeyToPath>,
    default_mode: Option<i32>,
    optional: bool,
) -> Result<Payload> {
    let Some(map) = map else { return Ok(Payload::new()) };
    let text = map.data.iter().map(|(k, v)| (k.to_string(), v.as_bytes().to_vec()));
    let bytes = map.binary_data.iter().map(|(k, v)| (k.to_string(), v.0.clone()));
    select(text.chain(bytes).collect(), items, default_mode, optional, "configmap", "config")
}

/// Files of a Secret. `None` for the secret means that it does not exist and is optional.
pub fn secret(
    secret: Option<&Secret>,
    items: &List<KeyToPath>,
    default_mode: Option<i32>,
    optional: bool,
) -> Result<Payload> {
    let Some(secret) = secret else { return Ok(Payload::new()) };
    let data = secret.data.iter().map(|(k, v)| (k.to_string(), v.0.clone())).collect();
    select(data, items, default_mode, optional, "secret", "secret")
}

fn select(
    mut data: BTreeMap<String, Vec<u8>>,
    items: &List<KeyToPath>,
    default_mode: Option<i32>,
    optional: bool,
    kind: &'static str,
    what: &'static str,
) -> Result<Payload> {
    let mode = mode_or(None, default_mode);
    if items.is_empty() {
        return Ok(data.into_iter().map(|(k, v)| (k, File::new(v, mode))).collect());
    }
    let mut out = Payload::new();
    for item in items {
        // The same key may be wanted under several paths, so it is not taken out.
        match data.get_mut(item.key.as_str()) {
            Some(bytes) => {
                out.insert(item.path.to_string(), File::new(bytes.clone(), mode_or(item.mode, default_mode)));
            }
            None if optional => {}
            None => return Err(Error::MissingKey { kind, what, key: item.key.to_string() }),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::ByteString;

    fn map() -> ConfigMap {
        let mut map = ConfigMap::default();
        map.data.insert("a", "1".into());
        map.binary_data.insert("b", ByteString(vec![0, 255]));
        map
    }

    fn item(key: &str, path: &str, mode: Option<i32>) -> KeyToPath {
        KeyToPath { key: key.into(), path: path.into(), mode }
    }

    #[test]
    fn whole_maps_and_items() {
        let all = config_map(Some(&map()), &List::new(), Some(0o400), false).unwrap();
        assert_eq!(all["a"], File::new(b"1".to_vec(), 0o400));
        assert_eq!(all["b"].data, vec![0, 255]);

        let items: List<_> = [item("a", "x/y", Some(0o600)), item("a", "z", None)].into_iter().collect();
        let some = config_map(Some(&map()), &items, None, false).unwrap();
        assert_eq!(some.keys().collect::<Vec<_>>(), ["x/y", "z"]);
        assert_eq!((some["x/y"].mode, some["z"].mode), (0o600, 0o644));
    }

    #[test]
    fn a_missing_key_is_an_error_unless_optional() {
        let items: List<_> = [item("nope", "x", None)].into_iter().collect();
        let err = config_map(Some(&map()), &items, None, false).unwrap_err();
        assert_eq!(err.to_string(), "configmap references non-existent config key: nope");
        assert!(config_map(Some(&map()), &items, None, true).unwrap().is_empty());
        assert!(secret(None, &items, None, true).unwrap().is_empty());
    }
}
